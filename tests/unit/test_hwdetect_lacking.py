"""Disks and networks that cannot be used are named: from what udev and the kernel's log say."""

import pytest

from hwdetect.lacking import lacking
from hwdetect.recording import is_secure
from hwdetect.udev import Device


def pci(address, kind, ids, driver="", model=""):
    said = {"PCI_CLASS": kind, "PCI_ID": ids, "PCI_SLOT_NAME": address, "SUBSYSTEM": "pci", "DRIVER": driver}
    said |= {"ID_MODEL_FROM_DATABASE": model}
    return Device(
        f"/sys/devices/pci0000:00/{address}",
        address,
        "",
        "",
        {key: value for key, value in said.items() if value},
    )


def usb(name, product, interface="", driver=""):
    said = {"PRODUCT": product, "INTERFACE": interface, "SUBSYSTEM": "usb", "DRIVER": driver}
    kind = "usb_interface" if interface else "usb_device"
    return Device(
        f"/sys/devices/pci0000:00/usb1/{name}",
        name,
        kind,
        "",
        {key: value for key, value in said.items() if value},
    )


# As the kernel words them: classes without leading zeros, ids in capitals for PCI, in small letters for USB.
PCI = (
    pci("0000:00:00.0", "60000", "8086:29C0"),
    pci("0000:00:02.0", "30000", "1234:1111"),
    pci("0000:00:1f.2", "10601", "8086:2922", "ahci"),
    pci("0000:00:1f.3", "C0500", "8086:2930"),
    pci("0000:02:00.0", "20000", "8086:1533", model="I210 Gigabit Network Connection"),
    pci("0000:03:00.0", "20000", "14E4:168E", "bnx2x"),
    pci("0000:04:00.0", "10400", "1000:0014"),
    pci("0000:05:00.0", "C0400", "1077:2532"),
)
USB = (
    usb("1-1", "46f4/1/0", driver="usb"),
    usb("1-1:1.0", "46f4/1/0", "8/6/80", "usb-storage"),
    usb("1-2:1.0", "46f4/1/0", "8/6/80"),
    usb("1-3:1.0", "627/1/0", "3/0/0"),
    usb("1-4:1.0", "bda/8153/3000", "2/6/0"),
    usb("1-5", "cf3/9271/108", driver="usb"),
)
LOG = """
pci 0000:00:02.0: BAR 0: assigned
bnx2x 0000:03:00.0: Direct firmware load for bnx2x/bnx2x-e2-7.13.21.0.fw failed with error -2
bnx2x 0000:03:00.0: Direct firmware load for bnx2x/bnx2x-e2-7.13.21.0.fw failed with error -2
r8169 0000:09:00.0: Direct firmware load for rtl_nic/rtl8168g-2.fw failed with error -2
bochs-drm 0000:00:02.0: Direct firmware load for some/picture.bin failed with error -2
usb 1-5: firmware: failed to load ath9k_htc/htc_9271-1.4.0.fw (-2)
platform regulatory.0: Direct firmware load for regulatory.db failed with error -2
"""


def test_what_has_no_driver_and_what_misses_its_firmware():
    assert [str(one) for one in lacking(PCI, USB, LOG)] == [
        "pci 0000:02:00.0 [8086:1533] I210 Gigabit Network Connection: no driver",
        "pci 0000:04:00.0 [1000:0014]: no driver",
        "pci 0000:05:00.0 [1077:2532]: no driver",
        "usb 1-2:1.0 [46f4:0001]: no driver",
        "usb 1-4:1.0 [0bda:8153]: no driver",
        "pci 0000:03:00.0 [14e4:168e]: no firmware bnx2x/bnx2x-e2-7.13.21.0.fw",
        "usb 1-5 [0cf3:9271]: no firmware ath9k_htc/htc_9271-1.4.0.fw",
    ]


def test_a_machine_that_is_served_lacks_nothing():
    assert lacking(PCI[:4], USB[:2], "") == ()


@pytest.mark.parametrize(
    ("content", "expected"), [(b"\6\0\0\0\1", True), (b"\6\0\0\0\0", False), (b"", False), (None, False)]
)
def test_secure_boot_is_what_the_firmware_says(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "SecureBoot").write_bytes(content)
    assert is_secure(tmp_path / "SecureBoot") is expected
