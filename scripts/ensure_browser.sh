#!/bin/sh
# Installs Chromium for the tests of /docs where there is no browser yet, apt-get is there and the
# user is root. Elsewhere it only says what is missing; the test itself then fails and says it again.
set -eu

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "no browser for the tests of /docs: install Chromium (as root: apt-get install chromium)" >&2
    exit 0
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends chromium; } >"$log" 2>&1; then
    echo "installing Chromium for the tests of /docs failed:" >&2
    tail -n 20 "$log" >&2
fi
rm -f "$log"
