"""What a machine is made of, as data, and the QEMU command line for it.

Nothing here starts a process or touches a file: `argv` is a pure function of its arguments.
"""

from __future__ import annotations

import base64
import errno
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Bus(StrEnum):
    """How a disk is attached."""

    VIRTIO = "virtio"
    SATA = "sata"
    NVME = "nvme"
    USB = "usb"
    SCSI = "scsi"


class Firmware(StrEnum):
    """What starts the machine. UEFI's memory is as from the factory at each power-on."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"


class Nic(StrEnum):
    """Network cards; both sit on QEMU's user network (DHCP gives 10.0.2.15, the host is 10.0.2.2)."""

    NONE = "none"
    VIRTIO = "virtio-net-pci"
    E1000 = "e1000"


@dataclass(frozen=True)
class Cable:
    """What plugs a network card into a port of a switch (switch.py); QEMU names the card net0, net1, ..."""

    mac: str
    port: Path


@dataclass(frozen=True)
class Disk:
    """A disk or a dongle. `name` is its QEMU id: hot-unplug it by that.

    `bad` are places, in bytes, whose sectors cannot be read; for those that are in at power-on.
    """

    name: str
    image: Path
    serial: str = ""
    bus: Bus = Bus.VIRTIO
    format: str = "raw"
    read_only: bool = False
    removable: bool = False
    bad: tuple[int, ...] = ()


@dataclass(frozen=True)
class DirectKernel:
    """QEMU loads the kernel itself; a boot medium is there as a read-only virtio disk. The fast way."""

    kernel: Path
    initrd: Path
    append: str
    iso: Path | None = None


@dataclass(frozen=True)
class UsbStick:
    """The firmware boots the medium from a USB stick, through GRUB; like a real one it can be written."""

    image: Path
    format: str = "raw"


@dataclass(frozen=True)
class Cd:
    """The firmware boots the medium from a CD drive, through GRUB."""

    image: Path


@dataclass(frozen=True)
class FirstDisk:
    """The firmware boots the first disk: there is no boot medium."""


@dataclass(frozen=True)
class NetworkCard:
    """The firmware boots from the network; there is no boot medium.

    With BIOS that is the iPXE in QEMU's cards, with UEFI the firmware's own PXE, then its HTTP boot. `script`
    is the URL that QEMU's own DHCP server names; on another LAN its server says what it likes.
    """

    script: str


Boot = DirectKernel | UsbStick | Cd | FirstDisk | NetworkCard


@dataclass(frozen=True)
class Hardware:
    """One machine. `memory_mib` in MiB; `forwards` maps ports of the guest to ports of this host.

    With `cables` there is a card at each of them and none on QEMU's user network.
    `credentials` (name, text) are for systemd in the guest, by the SMBIOS: systemd.system-credentials(7).
    There is no `screen` (VGA) unless asked for: emulating one slows the guest down. With `namespace` the
    machine runs in that network namespace, and its card is at `tap0` there.
    """

    boot: Boot
    disks: tuple[Disk, ...] = ()
    memory_mib: int = 1024
    smp: int = 1
    screen: bool = False
    firmware: Firmware = Firmware.BIOS
    nic: Nic = Nic.VIRTIO
    mac: str = "52:54:00:12:34:56"
    forwards: tuple[tuple[int, int], ...] = ()
    cables: tuple[Cable, ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()
    namespace: str = ""


@dataclass(frozen=True)
class Wires:
    """Sockets by which the harness holds the machine; the harness listens, QEMU connects."""

    qmp: Path
    console: Path
    events: Path


# Debian's package ovmf; with the keys of Microsoft, who signs Debian's shim, enrolled in the second.
_OVMF = Path("/usr/share/OVMF")
_UEFI = {
    Firmware.UEFI: ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    Firmware.SECURE_BOOT: ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"),
}
_MACHINE = {"kvm": ("kvm", "host"), "tcg": ("tcg,tb-size=256", "qemu64")}
"""Accelerator and CPU. Measured under TCG: the plain qemu64 is a tenth faster than `max`, whose vector
instructions cost more to emulate than they save; it counts as an AMD CPU, so that Linux leaves page table
isolation off, which would cost an emulated TLB flush at every system call (Intel models: twice as slow)."""


def argv(hardware: Hardware, wires: Wires, accelerator: str, qemu: str = "qemu-system-x86_64") -> list[str]:
    """Return the command line of QEMU for a machine. `accelerator` is "kvm" or "tcg"."""
    accel, cpu = _MACHINE[accelerator]
    line = [
        *inside(hardware.namespace), qemu, "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", _board(hardware.firmware), "-accel", accel, "-cpu", cpu,
        "-m", str(hardware.memory_mib), "-smp", str(hardware.smp),
        *(["-device", "VGA"] if hardware.screen else []),
        "-device", "virtio-rng-pci", "-device", "qemu-xhci,id=xhci", "-device", "virtio-scsi-pci,id=scsi",
        "-chardev", f"socket,id=qmp,path={wires.qmp}", "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=console,path={wires.console}", "-serial", "chardev:console",
        "-chardev", f"socket,id=events,path={wires.events}", "-serial", "chardev:events",
    ]  # fmt: skip
    for name, text in hardware.credentials:
        coded = base64.b64encode(text.encode()).decode()
        line += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={coded}"]
    line += _firmware(hardware.firmware)
    line += _boot(hardware.boot)
    bootable = isinstance(hardware.boot, FirstDisk)
    for number, disk in enumerate(hardware.disks):
        line += _disk(disk, number, boot_index=0 if bootable and disk is hardware.disks[0] else None)
    return line + _network(hardware)


def _board(firmware: Firmware) -> str:
    # What checks signatures is out of the system's reach: in system management mode.
    return "q35,smm=on" if firmware is Firmware.SECURE_BOOT else "q35"


def _firmware(firmware: Firmware) -> list[str]:
    if firmware is Firmware.BIOS:
        return []
    code, memory = (_OVMF / name for name in _UEFI[firmware])
    return [
        "-global", f"driver=cfi.pflash01,property=secure,value={_on(firmware is Firmware.SECURE_BOOT)}",
        "-drive", f"if=pflash,unit=0,format=raw,file={code},readonly=on",
        "-drive", f"if=pflash,unit=1,format=raw,file={memory},snapshot=on",
    ]  # fmt: skip


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


def _boot(boot: Boot) -> list[str]:
    match boot:
        case DirectKernel():
            kernel = ["-kernel", str(boot.kernel), "-initrd", str(boot.initrd), "-append", boot.append]
            return kernel + (
                _disk(Disk("medium", boot.iso, "BOOTMEDIUM", read_only=True)) if boot.iso else []
            )
        case UsbStick():
            stick = Disk("medium", boot.image, "BOOTSTICK", Bus.USB, boot.format, removable=True)
            return _disk(stick, boot_index=0)
        case Cd():
            drive = _drive(Disk("medium", boot.image, read_only=True))
            return [*drive, "-device", "ide-cd,id=medium,drive=drive-medium,bus=ide.5,bootindex=0"]
        case FirstDisk() | NetworkCard():
            return []


def inside(namespace: str) -> list[str]:
    """Return what runs the rest of a command line in a network namespace, nothing for none."""
    return ["ip", "netns", "exec", namespace] if namespace else []


def plug_arguments(disk: Disk) -> tuple[dict[str, object], dict[str, object]]:
    """Return what `blockdev-add` and `device_add` need to plug a disk into a running machine.

    Only USB and SCSI can be plugged in there.
    """
    node = {
        "driver": disk.format,
        "node-name": f"node-{disk.name}",
        "read-only": disk.read_only,
        "file": {"driver": "file", "filename": str(disk.image), "read-only": disk.read_only},
    }
    device: dict[str, object] = {"id": disk.name, "drive": f"node-{disk.name}"}
    if disk.bus is Bus.USB:
        device |= {"driver": "usb-storage", "bus": "xhci.0", "removable": disk.removable}
    else:
        device |= {"driver": "scsi-hd", "bus": "scsi.0"}
    if disk.serial:
        device["serial"] = disk.serial
    return node, device


def _drive(disk: Disk) -> list[str]:
    # Without host flushes: a power cut here is the end of QEMU, and what QEMU wrote stays in the page cache.
    options = f"if=none,id=drive-{disk.name},{_image(disk)},cache=unsafe"
    if disk.read_only:
        options += ",readonly=on"
    else:
        options += ",discard=unmap,detect-zeroes=unmap"
    return ["-drive", options]


def _image(disk: Disk) -> str:
    if not disk.bad:
        return f"file={disk.image},format={disk.format}"
    rules = "".join(
        f",file.inject-error.{n}.event=none,file.inject-error.{n}.iotype=read"
        f",file.inject-error.{n}.sector={place // 512},file.inject-error.{n}.errno={errno.EIO}"
        for n, place in enumerate(disk.bad)
    )
    image = f"file.image.driver=file,file.image.filename={disk.image}"
    return f"driver={disk.format},file.driver=blkdebug,{image}{rules}"


def _disk(disk: Disk, number: int = 0, boot_index: int | None = None) -> list[str]:
    device = {
        Bus.VIRTIO: "virtio-blk-pci",
        # Each port of the board's AHCI controller takes one disk; the last one is the CD drive's.
        Bus.SATA: f"ide-hd,bus=ide.{number}",
        Bus.NVME: "nvme",
        Bus.USB: "usb-storage,bus=xhci.0",
        Bus.SCSI: "scsi-hd,bus=scsi.0",
    }[disk.bus]
    device += f",id={disk.name},drive=drive-{disk.name}"
    if disk.serial:
        device += f",serial={disk.serial}"
    if disk.bus is Bus.USB:
        device += f",removable={_on(disk.removable)}"
    if boot_index is not None:
        device += f",bootindex={boot_index}"
    return [*_drive(disk), "-device", device]


def _network(hardware: Hardware) -> list[str]:
    if hardware.cables:
        return [
            word for number, cable in enumerate(hardware.cables) for word in _card(hardware, number, cable)
        ]
    if hardware.nic is Nic.NONE:
        return []
    net = "user,id=net0" + "".join(
        f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in hardware.forwards
    )
    card = f"{hardware.nic.value},netdev=net0,mac={hardware.mac}"
    if isinstance(hardware.boot, NetworkCard):
        card += ",bootindex=0" if hardware.firmware is Firmware.BIOS else ",bootindex=0,romfile="
        net += f",bootfile={hardware.boot.script}"
    if hardware.namespace:
        net = "tap,id=net0,ifname=tap0,script=no,downscript=no"
    return ["-netdev", net, "-device", card]


def _card(hardware: Hardware, number: int, cable: Cable) -> list[str]:
    net = f"stream,id=net{number},server=off,addr.type=unix,addr.path={cable.port}"
    return ["-netdev", net, "-device", f"{hardware.nic.value},netdev=net{number},mac={cable.mac}"]
