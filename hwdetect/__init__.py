"""From udev to an inventory: disks, network interfaces, kernel modules, media."""
