# Sourced by the scripts beside it: make_environment FOLDER [EXTRA] makes a virtual environment in the
# repository root with Knight (editable) and the versions of constraints.txt in it, or keeps the one that
# is there while nothing that it was made from has changed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

make_environment() {
    local folder=$root/$1 project=$root${2:+[$2]} wanted
    wanted=$(cd "$root" && echo "$folder $project $(python3 --version)" | cat - pyproject.toml scripts/constraints.txt | sha256sum)
    if [ "$(cat "$folder/installed-from" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "Setting up $folder (once; takes a few minutes with all frameworks)"
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "Knight needs Python 3.10 or newer; python3 is $(python3 --version)" >&2
        return 1
    fi
    rm -rf "$folder"
    if ! python3 -m venv "$folder" >/dev/null 2>&1; then
        # Debian's python3 without python3-venv has no ensurepip; its pip can fill an environment from outside.
        python3 -m venv --clear --without-pip "$folder"
        python3 -m pip --python "$folder/bin/python" install --quiet --disable-pip-version-check pip
    fi
    local constraints=(--constraint "$root/scripts/constraints.txt")
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        constraints=()  # pinned for 3.11 and newer
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" --editable "$project"
    echo "$wanted" >"$folder/installed-from"
}
