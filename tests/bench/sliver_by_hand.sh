#!/bin/sh
# A container of an image with a page that it serves, as one makes it by hand: `sliver_by_hand.sh up IMAGE|down`.
set -eu
folder=/var/lib/machines/by-hand
tree=$folder/root

if [ "$1" = down ]; then
    machinectl terminate by-hand
    while mountpoint -q "$tree"; do umount "$tree" 2>/dev/null || sleep 0.2; done
    ip link delete hand0 2>/dev/null || true
    rm -rf --one-file-system "$folder"
    exit
fi

mkdir -p "$folder/upper" "$folder/work" "$tree"
mount -t overlay -o "lowerdir=$2,upperdir=$folder/upper,workdir=$folder/work" overlay "$tree"
echo by-hand >"$tree/etc/hostname"
mkdir -p "$tree/srv/web" "$tree/etc/systemd/system/multi-user.target.wants"
echo 'it answers' >"$tree/srv/web/index.html"
cat >"$tree/etc/systemd/system/web.service" <<UNIT
[Unit]
After=network.target
[Service]
ExecStart=busybox httpd -f -p 80 -h /srv/web
UNIT
ln -s ../web.service "$tree/etc/systemd/system/multi-user.target.wants/web.service"
cat >"$tree/etc/systemd/network/10-host0.network" <<NETWORK
[Match]
Name=host0
[Network]
Address=198.51.100.2/30
Gateway=198.51.100.1
NETWORK
ip link add hand0 type veth peer name hand0i
ip address add 198.51.100.1/30 dev hand0
ip link set hand0 up
udevadm wait --timeout=30 --initialized=true /sys/class/net/hand0i
exec systemd-nspawn --quiet --boot --console=read-only --machine=by-hand --directory="$tree" \
    --network-interface=hand0i:host0
