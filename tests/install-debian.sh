#!/bin/sh
# Installs the Debian packages whose commands (or files) are missing:
#     install-debian.sh PACKAGE:COMMAND... PACKAGE:/FILE...
# A package's service is neither started nor left to start: only its commands are wanted.
set -eu

missing=""
for pair in "$@"; do
    wanted=${pair#*:}
    PATH="$PATH:/usr/sbin:/sbin" command -v "$wanted" >/dev/null || [ -e "$wanted" ] ||
        missing="$missing ${pair%:*}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "note: without root, what needs$missing is skipped" >&2
    exit 0
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
if command -v systemctl >/dev/null; then
    # shellcheck disable=SC2086
    systemctl disable --quiet $missing 2>/dev/null || true
fi
