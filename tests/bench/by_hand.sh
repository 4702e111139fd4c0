#!/bin/sh
# What a person would type to install this node: the yardstick of the install phase. Prints the seconds taken.
#   by_hand.sh SYSTEM_DISK DATA_DISK URL LAYER...
set -eu
system=$1 data=$2 url=$3
shift 3
begin=$(cut -d' ' -f1 /proc/uptime)

sgdisk --clear -n 1:0:+1M -t 1:ef02 -n 2:0:+260M -t 2:ef00 -n 3:0:+512M -t 3:8300 -n 4:0:0 -t 4:8e00 "$system"
sgdisk --clear -n 1:0:0 -t 1:8e00 "$data"
udevadm settle
esp=$(lsblk -nrpo NAME "$system" | sed -n 3p)
boot=$(lsblk -nrpo NAME "$system" | sed -n 4p)
physical=$(lsblk -nrpo NAME "$system" | sed -n 5p)
more=$(lsblk -nrpo NAME "$data" | sed -n 2p)
vgcreate -y -s 32M hand "$physical" "$more"
lvcreate -y -n swap -L 256M hand
lvcreate -y -n root -L 3G hand
lvcreate -y -n slivers -l 100%FREE hand
udevadm settle
mkswap /dev/hand/swap
mkfs.vfat -F 32 "$esp"
mkfs.ext4 -q -L hand-boot "$boot"
mkfs.ext4 -q /dev/hand/root
mkfs.ext4 -q /dev/hand/slivers

root=/run/hand
mkdir -p $root
mount /dev/hand/root $root
mkdir -p $root/boot
mount "$boot" $root/boot
# The medium has no curl; its wget does the same here.
for layer; do
    busybox wget -q -O - "$url/$layer" | zstd -dcq | tar --extract --directory $root --numeric-owner --xattrs --acls
done
sync -f $root

echo node1 > $root/etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 node1\n' > $root/etc/hosts
printf '%s\n' '/dev/hand/root / ext4 defaults 0 1' 'LABEL=hand-boot /boot ext4 defaults 0 2' \
    '/dev/hand/slivers /var/lib/machines ext4 defaults 0 2' '/dev/hand/swap none swap sw 0 0' > $root/etc/fstab
printf '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n' > $root/etc/systemd/network/10-node.network
printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n' > $root/etc/initramfs-tools/conf.d/hand
printf '%s\n' ext4 dm_mod $(lsmod | sed 1d | cut -d' ' -f1) > $root/etc/initramfs-tools/modules
ssh-keygen -q -A -f $root

for folder in dev proc sys; do mount --bind /$folder $root/$folder; done
kernel=$(ls $root/usr/lib/modules)
chroot $root update-initramfs -c -k "$kernel"
chroot $root grub-install --target=i386-pc --no-floppy "$system"
printf 'linux /vmlinuz-%s root=/dev/hand/root ro\ninitrd /initrd.img-%s\nboot\n' "$kernel" "$kernel" \
    > $root/boot/grub/grub.cfg
mkdir -p $root/boot/efi
mount "$esp" $root/boot/efi
mkdir -p $root/boot/efi/EFI/BOOT $root/boot/efi/EFI/debian
cp $root/usr/lib/shim/shimx64.efi.signed $root/boot/efi/EFI/BOOT/BOOTX64.EFI
cp $root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed $root/boot/efi/EFI/BOOT/grubx64.efi
printf 'search --label hand-boot --set=root\nconfigfile ($root)/grub/grub.cfg\n' > $root/boot/efi/EFI/debian/grub.cfg
umount $root/boot/efi
for folder in sys proc dev boot; do umount $root/$folder; done
umount $root
sync

echo "$begin $(cut -d' ' -f1 /proc/uptime)" | awk '{ print "seconds:", $2 - $1 }'

# As blank as before, for who comes next; not part of the time.
vgchange -q -an hand
wipefs -qa "$physical" "$more" "$boot" "$esp"
for disk in "$system" "$data"; do
    wipefs -qa "$disk"
    blkdiscard -f "$disk"
done
udevadm settle
