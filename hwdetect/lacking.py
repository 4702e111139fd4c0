"""Hardware for disks and networks that this system has no driver for, or not the firmware."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hwdetect.udev import Device

# Classes by PCI Code and ID Assignment: storage, networks; Fibre Channel, SD host controllers.
_PCI = ("01", "02", "0c04", "0805")
# Of interfaces, by USB-IF, "Defined Class Codes": storage; Ethernet by ECM, NCM, MBIM, RNDIS.
_USB = ("08", "0206", "020d", "020e", "e001")
# As the kernel says it (drivers/base/firmware_loader/main.c), and as Debian's kernels do instead.
_MISSING = re.compile(
    r"(?P<address>[\w:.-]+): (?:Direct firmware load for|firmware: failed to load) (?P<file>\S+)"
)


@dataclass(frozen=True)
class Lacking:
    """A device: its bus (pci, usb), its address there, vendor:product in hex, its name where one is known.

    `firmware` is the file that its driver asked for, "" where it has no driver.
    """

    bus: str
    address: str
    ids: str
    model: str
    firmware: str = ""

    def __str__(self) -> str:
        name = " ".join(part for part in (self.bus, self.address, f"[{self.ids}]", self.model) if part)
        return f"{name}: " + (f"no firmware {self.firmware}" if self.firmware else "no driver")


def lacking(pci: Iterable[Device], usb: Iterable[Device], kernel_log: str) -> tuple[Lacking, ...]:
    """Return what cannot be used, or not fully: a driver may go on with other firmware than it asked for."""
    devices = (*pci, *usb)
    found = [_lacking(device) for device in devices if _wanted(device) and "DRIVER" not in device.properties]
    named = {device.name: device for device in devices}
    for address, file in dict.fromkeys(_asked_for(kernel_log)):
        device = named.get(address)
        if device is not None and (_wanted(device) or "PRODUCT" in device.properties):
            found.append(_lacking(device, file))
    return tuple(found)


def _asked_for(kernel_log: str) -> Iterator[tuple[str, str]]:
    for match in _MISSING.finditer(kernel_log):
        yield match["address"], match["file"]


def _wanted(device: Device) -> bool:
    """Say whether it is for disks or networks, by the class that the device itself tells."""
    said = device.properties
    if "PCI_CLASS" in said:
        return said["PCI_CLASS"].zfill(6).lower().startswith(_PCI)
    if device.kind == "usb_interface":
        return "".join(
            f"{int(part):02x}" for part in said.get("INTERFACE", "").split("/") if part
        ).startswith(_USB)
    return False


def _lacking(device: Device, firmware: str = "") -> Lacking:
    said = device.properties
    on_pci = "PCI_ID" in said
    # PCI says 8086:1533, USB bda/8153/3000: vendor, product, release.
    ids = said["PCI_ID"] if on_pci else ":".join(part.zfill(4) for part in said["PRODUCT"].split("/")[:2])
    model = said.get("ID_MODEL_FROM_DATABASE", "")
    return Lacking("pci" if on_pci else "usb", device.name, ids.lower(), model, firmware)
