#!/usr/bin/env bash
# Install the hub, its proxy and the students' environment in one folder:
#     sudo classroom/hub/install.sh /opt/xai-course
# Run it again after an update of the course. PYTHON names another Python 3.11 to 3.13;
# PIP_NO_INDEX and PIP_FIND_LINKS take the packages from a folder. With --without-hub
# only what students use is installed (The Littlest JupyterHub has a hub of its own).
set -euo pipefail
umask 022  # students read all of it, whatever root's own mask is
project=$(cd "$(dirname "$0")/../.." && pwd)
target=${1:?"usage: $0 FOLDER [--without-hub]"}
with_hub=${2:-yes}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "error: the course needs Python 3.11 to 3.13: PYTHON=python3.12 $0 $*" >&2
    exit 1
}
if [ "$with_hub" != --without-hub ] && ! command -v npm >/dev/null; then
    echo "error: the proxy needs Node.js 18 or newer, with npm (apt install npm)" >&2
    exit 1
fi
mkdir -p "$target"
target=$(cd "$target" && pwd)

install_packages() { # into an environment, each checked against its hash
    local environment=$1 file
    shift
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    for file; do
        if command -v uv >/dev/null && [ -z "${PIP_NO_INDEX:-}" ]; then
            # Students cannot write compiled files there: without them every start is slow.
            uv pip install --quiet --compile-bytecode --python "$environment/bin/python" --require-hashes -r "$file"
        else
            "$environment/bin/python" -m pip install --disable-pip-version-check --quiet \
                --require-hashes -r "$file"
        fi
    done
}

echo "The students' environment ..."
install_packages "$target/students" "$project/requirements.lock" \
    "$project/classroom/hub/requirements.txt"
"$target/students/bin/python" -m pip install --disable-pip-version-check --quiet \
    --no-deps --no-build-isolation --force-reinstall "$project"

echo "The weights ..."
XAI_CACHE="$target/weights" "$target/students/bin/python" -m xai_helpers weights fetch
chmod -R a+rX,go-w "$target/weights"

echo "The files of the course and the settings ..."
rm -rf "$target/course" "$target/config"
mkdir -p "$target/course" "$target/config"
cp -R "$project/notebooks" "$project/docs" "$target/course/"
find "$target/course" -name .ipynb_checkpoints -prune -exec rm -rf {} +
cp "$project"/classroom/hub/*.py "$target/config/"
chmod -R a+rX,go-w "$target/course" "$target/config"

if [ "$with_hub" != --without-hub ]; then
    echo "The hub and its proxy ..."
    install_packages "$target/hub" "$project/classroom/hub/requirements.txt"
    mkdir -p "$target/proxy" "$target/state"
    chmod 700 "$target/state"
    cp "$project"/classroom/hub/package*.json "$target/proxy/"
    npm ci --prefix "$target/proxy" --silent --no-fund --no-audit
    if [ ! -s "$target/state/token" ]; then # the hub's key to its proxy
        (umask 077 && echo "CONFIGPROXY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$target/state/token")
    fi
fi
echo "Ready in $target."
