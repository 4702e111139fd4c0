# The node's network is systemd's; who it is and what it runs is written when it is installed.
in_tree systemctl --quiet enable systemd-networkd.service systemd-resolved.service ssh.service lvm2-monitor.service
in_tree systemctl --quiet set-default multi-user.target
ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
mkdir -p "$tree/var/lib/machines"
chmod 0700 "$tree/var/lib/machines"

# The programs of the initramfs, made once here and not by each node, which adds the modules of its hardware.
printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=15\n' >"$tree/etc/initramfs-tools/conf.d/userland"
# So that it holds the root's fsck; the node gets its own.
echo '/dev/bmnode/root / ext4 defaults 0 1' >"$tree/etc/fstab"
mkdir -p "$tree/usr/lib/bootmanager"
in_tree mkinitramfs -o /usr/lib/bootmanager/userland.img "$(ls "$tree/usr/lib/modules")"
rm "$tree/etc/initramfs-tools/conf.d/userland" "$tree/etc/fstab"

# A node is updated by images; it has no package manager's daily work and no snapshots to scrub.
in_tree systemctl --quiet mask dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service systemd-pstore.service \
    systemd-networkd-wait-online.service

# A node keeps them where their packages put them.
loaders=$(mktemp -d)
signed_loaders "$loaders"
for file in usr/lib/shim/shimx64.efi.signed usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed; do
    install -D -m 0644 "$loaders/$file" "$tree/$file"
done
rm -rf "$loaders"
up_to_date
