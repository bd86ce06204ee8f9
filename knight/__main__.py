"""``python -m knight`` and the scripts ``knight`` and ``Knight``: the command line."""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Loads the command line and runs it; a Ctrl-C meanwhile ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a command handles it (`knight.stopping`)
    from knight import cli

    cli.main()


if __name__ == "__main__":
    main()
