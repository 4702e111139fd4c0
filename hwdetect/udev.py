"""Devices as udev knows them. The only file that talks to pyudev."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyudev

# What is kept of a device's sysfs attributes; the rest is never read, since reading can be slow or worse.
_ATTRIBUTES = (
    "size",
    "ro",
    "removable",
    "queue/rotational",
    "queue/logical_block_size",
    "serial",
    "device/model",
    "device/serial",
    "address",
)
# Interface class of USB mass storage (USB-IF, "Defined Class Codes").
_USB_STORAGE_CLASS = "08"

# Whole disks by the kernel's names; loop, ram, zram, dm, sr and fd devices are none.
_DISK_NAME = re.compile(r"sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|cciss/c\d+d\d+|md\d+")


@dataclass(frozen=True)
class Device:
    """One device: sysfs path, the kernel's name, device type, node in /dev, what udev and sysfs say.

    `parent` is the sysfs path of the whole disk for a partition, else "". `driver` is that of the device or
    of what it is on, "" for none; `modules` are the loadable ones that drive it and all that it hangs on.
    """

    path: str
    name: str
    kind: str
    node: str
    properties: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""
    driver: str = ""
    modules: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size of a block device, 0 without a medium."""
        # The kernel counts in units of 512 bytes whatever the disk's sectors are.
        return int(self.attributes.get("size") or 0) * 512


def is_disk(device: Device) -> bool:
    """Say whether a block device is a whole disk with a medium in it."""
    named = _DISK_NAME.fullmatch(device.name) is not None
    return device.kind == "disk" and named and device.size_bytes > 0


def devices(subsystem: str) -> tuple[Device, ...]:
    """Return the devices of a subsystem ("block", "net", "pci", "usb"), sorted by sysfs path."""
    found = pyudev.Context().list_devices(subsystem=subsystem)
    return tuple(sorted((_device(device) for device in found), key=lambda device: device.path))


def wait_for_usb_storage(seconds: float) -> bool:
    """Wait until every USB storage interface has a block device; say whether that was so in time.

    `udevadm settle` does not cover this: usb-storage looks at a stick only some time after it was found.
    """
    context = pyudev.Context()
    monitor = _block_monitor(context)
    deadline = time.monotonic() + seconds
    while any(_unfinished(context)):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        monitor.poll(timeout=left)
    return True


def wait_for_block_device(seconds: float) -> bool:
    """Wait until any block device comes or changes; say whether one did."""
    return _block_monitor(pyudev.Context()).poll(timeout=seconds) is not None


def _block_monitor(context: pyudev.Context) -> pyudev.Monitor:
    monitor = pyudev.Monitor.from_netlink(context)
    monitor.filter_by(subsystem="block")
    monitor.start()
    return monitor


def _unfinished(context: pyudev.Context) -> Iterator[str]:
    """Yield the USB storage interfaces below which there is no block device yet."""
    for device in context.list_devices(subsystem="usb", DEVTYPE="usb_interface"):
        interface = Path(device.sys_path)
        try:
            kind = (interface / "bInterfaceClass").read_text().strip()
        except OSError:
            continue  # It was pulled out in between.
        if kind == _USB_STORAGE_CLASS and not any(interface.glob("host*/target*/*/block/*")):
            yield device.sys_path


def _device(device: pyudev.Device) -> Device:
    whole = device.find_parent("block", "disk") if device.device_type == "partition" else None
    return Device(
        path=device.sys_path,
        name=device.sys_name,
        kind=device.device_type or "",
        node=device.device_node or "",
        properties=dict(device.properties),
        attributes=_attributes(Path(device.sys_path)),
        parent=whole.sys_path if whole is not None else "",
        driver=_driver(Path(device.sys_path)),
        modules=modules_of(Path(device.sys_path)),
    )


def modules_of(path: Path) -> tuple[str, ...]:
    """Return the loadable modules that drive a device (sysfs path) and all that it hangs on, sorted."""
    found = set()
    for place in (path, *path.parents):
        module = place / "driver/module"
        # A driver that is built into the kernel has a folder too, but nothing to load.
        if (module / "initstate").exists():
            found.add(module.resolve().name)
    return tuple(sorted(found))


def _driver(path: Path) -> str:
    for link in (path / "driver", path / "device/driver"):
        try:
            return link.readlink().name
        except OSError:
            continue  # It has none, or is gone.
    return ""


def _attributes(path: Path) -> dict[str, str]:
    found = {}
    for name in _ATTRIBUTES:
        try:
            found[name] = (path / name).read_text(errors="replace").strip()
        except OSError:
            continue  # Not every device has every attribute.
    return found
