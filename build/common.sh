#!/bin/bash
# What every recipe does to its tree, around its own script.
#   common.sh prepare RECIPE TREE   before the packages: the recipe's own files
#   common.sh finish RECIPE TREE    after them: the recipe's script, then nothing that belongs to one machine
set -euo pipefail
phase=$1 recipe=$2 tree=$3

if [ "$phase" = prepare ]; then
    if [ -d "$recipe/rootfs" ]; then
        cp -a --no-preserve=ownership "$recipe/rootfs/." "$tree/"
    fi
    exit
fi

in_tree() {
    chroot "$tree" env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"
}

# Tell systemd that the caches in /etc and /var (ldconfig, hwdb, catalog, users) belong to this very /usr: else the
# first boot makes them anew, and on the medium every boot is the first.
up_to_date() {
    in_tree ldconfig
    touch -d '+1 minute' "$tree/etc/.updated" "$tree/var/.updated"
}

# Unpack into the folder $1 what UEFI firmware starts a system by, with Secure Boot too: shim, signed by Microsoft, and
# GRUB, signed by Debian. Of their packages only files are needed, and nothing that they depend on.
signed_loaders() {
    (cd "$1" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq download shim-signed grub-efi-amd64-signed)
    for package in "$1"/*.deb; do
        dpkg-deb --extract "$package" "$1"
    done
}

# shellcheck source=/dev/null
. "$recipe/finish.sh"

# A tree becomes many machines: no identity, no secret, no trace of the machine that built it.
rm -f "$tree"/etc/ssh/ssh_host_* "$tree"/etc/hostname "$tree"/var/lib/dbus/machine-id "$tree"/var/lib/systemd/random-seed
: >"$tree/etc/machine-id"
chmod 0444 "$tree/etc/machine-id"
accounts=$tree/etc/shadow
[ -e "$accounts" ] || accounts=$tree/etc/passwd
sed -i 's/^root:[^:]*:/root:*:/' "$accounts"
rm -rf "$tree"/etc/apt/sources.list* "$tree"/etc/apt/apt.conf.d/99mmdebstrap
rm -rf "$tree"/var/cache/ldconfig "$tree"/var/cache/debconf/*-old "$tree"/var/lib/dpkg/*-old "$tree"/etc/*-
find "$tree/var/log" -type f -delete
