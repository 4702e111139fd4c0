"""Machines of the field as recordings, read from umockdev's text format, and what is expected of each.

The format is that of umockdev-record(1): a device begins with P, its path below /sys, and ends with an empty
line; N is its node in /dev, E a property of udev, A an attribute of sysfs (with \\n and \\\\ escaped), L an
attribute that is a link, S a link in /dev, H an attribute in hex.
"""

import json
import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from hwdetect.recording import Recording
from hwdetect.udev import _ATTRIBUTES, Device
from wire.structure import structure

FOLDER = Path(__file__).with_name("machines")
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
# Which module a driver is in. Those that Debian's kernel has built in are in none.
MODULES = {
    "ahci": "ahci",
    "bnx2": "bnx2",
    "bnx2x": "bnx2x",
    "cciss": "cciss",
    "dwc2": "dwc2",
    "e1000e": "e1000e",
    "hpilo": "hpilo",
    "hpsa": "hpsa",
    "i40e": "i40e",
    "igb": "igb",
    "ixgbe": "ixgbe",
    "mmcblk": "mmc_block",
    "mpt3sas": "mpt3sas",
    "nvme": "nvme",
    "pata_jmicron": "pata_jmicron",
    "qla2xxx": "qla2xxx",
    "r8169": "r8169",
    "sd": "sd_mod",
    "sdhci-acpi": "sdhci_acpi",
    "sdhost-bcm2835": "bcm2835",
    "smsc95xx": "smsc95xx",
    "sr": "sr_mod",
    "uas": "uas",
    "usb": "usbcore",
    "usb-storage": "usb_storage",
    "virtio-pci": "virtio_pci",
    "virtio_blk": "virtio_blk",
    "virtio_net": "virtio_net",
    "vmd": "vmd",
    "xhci_hcd": "xhci_pci",
}


@dataclass
class Dumped:
    """One device of a dump."""

    path: str
    node: str = ""
    properties: dict = field(default_factory=dict)
    attributes: dict = field(default_factory=dict)
    links: dict = field(default_factory=dict)

    @property
    def driver(self):
        return posixpath.basename(self.links.get("driver", ""))


def read_dump(text):
    """Return the devices of a dump by their paths."""
    found = {}
    for line in text.splitlines():
        if not line:
            continue
        kind, value = line[0], line[3:]
        assert line[1:3] == ": ", line
        if kind == "P":
            device = found[value] = Dumped(value, properties={"DEVPATH": value})
        elif kind == "N":
            device.node = value.partition("=")[0]
        elif kind in "EAL":
            name, _, said = value.partition("=")
            place = {"E": device.properties, "A": device.attributes, "L": device.links}[kind]
            place[name] = said.replace("\\n", "\n").replace("\\\\", "\\") if kind == "A" else said
        else:
            assert kind in "SH", line
    return found


def devices_of(dump, subsystem):
    """Return what live detection would see of a subsystem."""
    found = (each for each in dump.values() if each.properties.get("SUBSYSTEM") == subsystem)
    return tuple(sorted((_device(dump, each) for each in found), key=lambda device: device.path))


def recording_of(name):
    """Return a machine of the folder as the recording that the machine itself would have made."""
    dump = read_dump((FOLDER / name / "machine.umockdev").read_text())
    facts = json.loads((FOLDER / name / "facts.json").read_text())
    recorded = structure({**facts, "block": [], "net": [], "pci": [], "usb": []}, Recording)
    seen = {kind: devices_of(dump, kind) for kind in ("block", "net", "pci", "usb")}
    return Recording(**{**vars(recorded), **seen})


def expected_of(name):
    return json.loads((FOLDER / name / "expected.json").read_text())


def _device(dump, each):
    whole = posixpath.dirname(each.path) if each.properties.get("DEVTYPE") == "partition" else ""
    on = _linked(dump, each, "device")
    said = {name: _attribute(each, on, name) for name in _ATTRIBUTES}
    modules = {MODULES.get(dump[path].driver, "") for path in _above(each.path) if path in dump}
    return Device(
        path=f"/sys{each.path}",
        # As udev has it: a slash, where sysfs cannot have one.
        name=posixpath.basename(each.path).replace("!", "/"),
        kind=each.properties.get("DEVTYPE", ""),
        node=f"/dev/{each.node}" if each.node else "",
        properties=each.properties,
        attributes={name: value.strip() for name, value in said.items() if value is not None},
        parent=f"/sys{whole}" if whole else "",
        driver=each.driver or (on.driver if on else ""),
        modules=tuple(sorted(modules - {""})),
    )


def _attribute(each, on, name):
    if name.startswith("device/"):
        return on.attributes.get(name.removeprefix("device/")) if on else None
    return each.attributes.get(name)


def _linked(dump, each, name):
    target = each.links.get(name)
    return dump.get(posixpath.normpath(posixpath.join(each.path, target))) if target else None


def _above(path):
    while path != "/":
        yield path
        path = posixpath.dirname(path)
