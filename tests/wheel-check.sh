#!/bin/sh
# Does what the Dockerfile does, by hand: installs a wheel and what it needs into a new virtual
# environment, takes pip out of it, and runs the demo as a script from there, away from the source
# tree; where it may, as a user without any right.
#     wheel-check.sh PYTHON WHEEL
set -eu

python=$1
constraints=$(realpath constraints.txt)
wheel=$(realpath "$2")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT INT TERM

"$python" -m venv "$directory/venv"
"$directory/venv/bin/pip" install -q --disable-pip-version-check -c "$constraints" "$wheel"
"$directory/venv/bin/pip" uninstall -q -y pip
mkdir "$directory/home"
as=""
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 "$directory"
    chown 10001:10001 "$directory/home"
    as="setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set -all --no-new-privs"
    # An interpreter in somebody's home is nobody else's.
    # shellcheck disable=SC2086
    $as sh -c "'$directory/venv/bin/python' -c pass" 2>/dev/null || as=""
fi
cd "$directory/home"
export HOME="$directory/home" PYTHONDONTWRITEBYTECODE=1
# shellcheck disable=SC2086 # words of a command
$as "$directory/venv/bin/nplb" --version
# shellcheck disable=SC2086
$as "$directory/venv/bin/nplb" demo --check
