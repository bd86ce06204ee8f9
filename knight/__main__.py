"""``python -m knight`` is the command line."""

from knight.cli import main

if __name__ == "__main__":
    main()
