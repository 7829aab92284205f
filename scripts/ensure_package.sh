#!/bin/sh
# ensure_package.sh PACKAGE COMMAND...: installs a package of Debian's where none of the commands is
# there yet, apt-get is, and the user is root. Elsewhere it only says what is missing; what needs it
# then fails and says it again.
set -eu

package=$1
shift
for name in "$@"; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "$package is missing: install it (as root: apt-get install $package)" >&2
    exit 0
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "$package"; } >"$log" 2>&1; then
    echo "installing $package failed:" >&2
    tail -n 20 "$log" >&2
fi
rm -f "$log"
