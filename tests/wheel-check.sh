#!/bin/sh
# Installs a wheel and what it needs into a new virtual environment, and runs the demo as a script
# from there, away from the source tree:
#     wheel-check.sh PYTHON WHEEL
set -eu

python=$1
here=$(pwd)
wheel=$(realpath "$2")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT INT TERM

"$python" -m venv "$directory/venv"
"$directory/venv/bin/pip" install -q --disable-pip-version-check -c "$here/constraints.txt" "$wheel"
cd "$directory"
"$directory/venv/bin/nplb" --version
"$directory/venv/bin/nplb" demo --check
