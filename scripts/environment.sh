# Sourced by scripts/test and scripts/demo: finds a Python and makes a virtual environment once.
# shellcheck shell=bash

# The first of python3.11, python3.12, ... and python3 that is 3.11 or newer. PYTHON overrides.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer with venv was found" >&2
    echo "  install one (Debian: apt install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $0" >&2
    exit 2
}

# make_environment DIR EXTRAS [PACKAGE...]: a virtual environment with this project installed in place; made anew
# only when what it is made from changed.
make_environment() {
    local directory=$1 extras=$2 python wanted
    shift 2
    python=$(find_python)
    wanted=$("$python" -VV; echo "$PWD $extras $*"; cat pyproject.toml constraints.txt)
    if [ -f "$directory/made-from" ] && [ "$(cat "$directory/made-from")" = "$wanted" ]; then
        return
    fi
    echo "making $directory with $("$python" -V) (once)" >&2
    rm -rf "$directory"
    "$python" -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[$extras]" "$@" 2> >(grep -v '^WARNING: Location' >&2)
    printf '%s\n' "$wanted" > "$directory/made-from"
}
