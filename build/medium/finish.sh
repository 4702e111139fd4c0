# Everything runs when bootmanager asks for it, except what it talks to.
in_tree systemctl --quiet enable systemd-networkd.service systemd-resolved.service
in_tree systemctl --quiet disable ssh.service
# The consoles are bootmanager's: a login prompt would eat the answers to its questions.
in_tree systemctl --quiet mask getty@.service serial-getty@.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
kernel=$(ls "$tree/usr/lib/modules")
in_tree update-initramfs -c -k "$kernel"
