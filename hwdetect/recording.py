"""What an inventory is made of, as it was read: an inventory is a pure function of a recording.

Live detection fills a recording, a report from the field stores one, and a developer's machine or a test
makes the same inventory of it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host import memory
from host.mounts import mounts_text
from host.run import Runner
from hwdetect import udev
from hwdetect.content import Reading, read
from hwdetect.udev import Device

DMI = Path("/sys/class/dmi/id")
DMI_NAMES = ("sys_vendor", "product_name", "product_serial")
EFI = Path("/sys/firmware/efi")
SECURE_BOOT = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")


@dataclass(frozen=True)
class Recording:
    """The raw facts of a machine.

    `dmi` is what the firmware says of it, `firmware_log` what the kernel says of firmware for devices,
    `mounts` the kernel's table as text, `readings` what was read of each disk.
    """

    dmi: Mapping[str, str]
    efi: bool
    secure_boot: bool
    firmware_log: str
    cpus: int
    memory_bytes: int
    mounts: str
    block: tuple[Device, ...]
    net: tuple[Device, ...]
    pci: tuple[Device, ...]
    usb: tuple[Device, ...]
    readings: tuple[Reading, ...]


def record(run: Runner) -> Recording:
    """Read this machine's hardware, changing nothing. Raises CommandFailed, CommandTimedOut."""
    block = udev.devices("block")
    return Recording(
        dmi={name: _text(DMI / name) for name in DMI_NAMES},
        efi=EFI.exists(),
        secure_boot=is_secure(SECURE_BOOT),
        firmware_log=_firmware_log(run),
        cpus=os.cpu_count() or 1,
        memory_bytes=memory.total(),
        mounts=mounts_text(),
        block=block,
        net=udev.devices("net"),
        pci=udev.devices("pci"),
        usb=udev.devices("usb"),
        readings=tuple(_read(run, device) for device in block if udev.is_disk(device)),
    )


def is_secure(variable: Path) -> bool:
    """Say whether Secure Boot is on: four bytes of attributes, then 1 (UEFI spec., 3.3; Linux, efivarfs)."""
    try:
        return variable.read_bytes()[4:] == b"\x01"
    except OSError:
        return False  # A BIOS, or a firmware that has never heard of it.


def _firmware_log(run: Runner) -> str:
    # Whoever may not read the kernel's log learns nothing of firmware.
    said = run(["dmesg", "--notime"], ok=(0, 1)).stdout
    return "".join(line for line in said.splitlines(keepends=True) if "firmware" in line)


def _read(run: Runner, device: Device) -> Reading:
    sector = int(device.attributes.get("queue/logical_block_size") or 512)
    return read(run, device.node, size_bytes=device.size_bytes, sector=sector)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""  # Not every firmware tells, and the serial number is for root only.
