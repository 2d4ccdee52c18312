#!/bin/sh
# Linux and macOS: sh install.sh [FOLDER]. PYTHON names a Python of your choice.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
for python in $PYTHON python3.13 python3.12 python3.11 python3 python; do
    if command -v "$python" >/dev/null 2>&1; then
        found=$python
        if "$python" "$here/install.py" --suits 2>/dev/null; then
            exec "$python" "$here/install.py" "$@"
        fi
    fi
done
if [ -z "$found" ]; then
    echo "error: no Python on this computer; README.txt says which one is needed" >&2
    exit 1
fi
exec "$found" "$here/install.py" "$@" # it says why that one will not do
