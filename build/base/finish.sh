# The node's network is systemd's; who it is and what it runs is written when it is installed.
in_tree systemctl --quiet enable systemd-networkd.service systemd-resolved.service ssh.service lvm2-monitor.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
mkdir -p "$tree/var/lib/machines"
chmod 0700 "$tree/var/lib/machines"
# A node is updated by images, and its clock is set by what its server signed.
in_tree systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service.d 2>/dev/null || true
