#!/bin/bash
# Install what build/apt-packages.txt lists and this machine lacks. A second run asks dpkg once and leaves.
set -euo pipefail
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

mapfile -t wanted < <(grep -v '^#' apt-packages.txt)
# Virtual and unknown names make dpkg-query exit 1; what matters is which names it lists as installed.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p' || true)
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(sort -u <<<"$installed"))

# A keyring older than Debian 13 cannot verify Debian 13; installing it again brings the newest one.
if [ ! -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ] &&
   [ ! -e /usr/share/keyrings/debian-archive-trixie-stable.pgp ]; then
    missing+=(debian-archive-keyring)
fi

if [ "${#missing[@]}" = 0 ] || [ -z "${missing[*]}" ]; then
    echo "setup: every Debian package is installed"
    exit 0
fi
echo "setup: installing ${missing[*]}"
as_root apt-get update -qq
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
