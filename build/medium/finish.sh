# Talking to it, or being its own: everything else runs when bootmanager starts it.
in_tree systemctl --quiet set-default multi-user.target
in_tree systemctl --quiet disable ssh.service systemd-networkd.service systemd-resolved.service multipathd.service \
    smartmontools.service

# The consoles are bootmanager's: a login prompt would eat the answers to its questions.
in_tree systemctl --quiet mask getty@.service serial-getty@.service

# Other systems' volumes and arrays are not put together here, since that can write to their disks; ours are, by
# bootmanager. Without them, and without sg3's extra names, a disk has the same properties here as on a node.
mkdir -p "$tree/etc/udev/rules.d"
for rules in 69-lvm 64-md-raid-assembly 60-multipath 56-dm-mpath 99-z-dm-mpath-late 60-kpartx 68-del-part-nodes \
    55-scsi-sg3_id 58-scsi-sg3_symlink 96-e2scrub; do
    ln -sf /dev/null "$tree/etc/udev/rules.d/$rules.rules"
done
in_tree systemctl --quiet mask multipathd.service multipathd.socket lvm2-monitor.service lvm2-lvmpolld.socket \
    dm-event.socket blk-availability.service

# Seconds of each boot for nothing: this system lives for minutes, has no user, no timer and no journal on a disk.
in_tree systemctl --quiet mask e2scrub_reap.service e2scrub_all.timer fstrim.timer dpkg-db-backup.timer \
    systemd-tmpfiles-clean.timer systemd-networkd-wait-online.service systemd-pstore.service \
    systemd-network-generator.service systemd-logind.service systemd-user-sessions.service remote-fs.target \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
    systemd-journal-flush.service systemd-random-seed.service systemd-firstboot.service \
    systemd-hibernate-clear.service systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-hostnamed.socket systemd-sysext.socket systemd-creds.socket systemd-initctl.socket \
    systemd-pcrextend.socket systemd-pcrlock.socket getty.target procps.service
mkdir -p "$tree/etc/systemd/system-generators"
for generator in debug getty gpt-auto hibernate-resume rc-local run ssh system-update sysv tpm2; do
    ln -sf /dev/null "$tree/etc/systemd/system-generators/systemd-$generator-generator"
done
up_to_date

ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
rm -rf "$tree/usr/lib/udev/hwdb.d"
kernel=$(ls "$tree/usr/lib/modules")
in_tree update-initramfs -c -k "$kernel"

# They are files beside the kernel, not of this system.
loaders=$(mktemp -d)
signed_loaders "$loaders"
cp "$loaders/usr/lib/shim/shimx64.efi.signed" "$tree/boot/shimx64.efi"
# Of Debian's images of GRUB the one for CDs: it looks for its menu on the medium that it came from.
cp "$loaders/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed" "$tree/boot/grubx64.efi"
rm -rf "$loaders"
