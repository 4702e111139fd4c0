# systemd ships what configures a container's host0 by DHCP; the container's manager gives it resolv.conf.
in_tree systemctl --quiet enable systemd-networkd.service
in_tree systemctl --quiet set-default multi-user.target
in_tree systemctl --quiet mask systemd-networkd-wait-online.service console-getty.service dpkg-db-backup.timer \
    systemd-logind.service
up_to_date
rm -f "$tree/etc/resolv.conf"
