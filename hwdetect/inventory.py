"""The inventory of this machine: what it is, its disks, its network interfaces, its drivers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import entry_points

from host.mounts import Mount, mounts_of
from host.run import Runner
from hwdetect.content import Contents, DiskState, contents_of, human_size
from hwdetect.lacking import Lacking, lacking
from hwdetect.recording import DMI_NAMES, Recording, record
from hwdetect.udev import Device, is_disk

# Plug-ins: each is called with the inventory so far and returns names of further kernel modules to load.
GROUP = "bootmanager.hardware"
Detector = Callable[["Inventory"], Iterable[str]]

BOOT_LABEL = "BMBOOT"
KEY_LABEL = "BMKEY"
CACHE_LABEL = "BMCACHE"
_ROLES = {BOOT_LABEL: "boot medium", KEY_LABEL: "key medium", CACHE_LABEL: "cache dongle"}
MEDIA_ROLES = tuple(_ROLES.values())


class Firmware(StrEnum):
    """What started the machine."""

    BIOS = "bios"
    EFI = "uefi"


@dataclass(frozen=True)
class Machine:
    """What the firmware says the machine is; "" where it does not."""

    vendor: str
    product: str
    serial: str


@dataclass(frozen=True)
class Disk:
    """A disk. `roles` says what it is in use for; a disk with a role is never written.

    `path` is its node in /dev, `bus` one of virtio, ata, scsi, nvme, usb, mmc, xen, cciss, md.
    """

    path: str
    model: str
    serial: str
    wwn: str
    size_bytes: int
    bus: str
    removable: bool
    read_only: bool
    rotational: bool
    logical_sector: int
    state: DiskState
    table_type: str = ""
    table_guid: str = ""
    content: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nic:
    """A network interface with hardware behind it."""

    name: str
    mac: str
    driver: str
    model: str
    bus_path: str


@dataclass(frozen=True)
class Inventory:
    """All that was detected. `memory_bytes` is what the kernel has to give, less than what is plugged in.

    `modules` are the kernel modules that drive disks, network interfaces and what they hang on, sorted.
    `secure_boot`: the firmware started only what is signed. `lacking` is what cannot be used.
    """

    machine: Machine
    firmware: Firmware
    cpus: int
    memory_bytes: int
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    modules: tuple[str, ...]
    secure_boot: bool = False
    lacking: tuple[Lacking, ...] = ()


def detect(run: Runner | None = None) -> Inventory:
    """Detect this machine's hardware, changing nothing. Raises CommandFailed, CommandTimedOut."""
    return inventory_of(record(run or Runner()))


def inventory_of(recording: Recording) -> Inventory:
    """Return the inventory that a recording is of, this machine's or another's."""
    mounts = mounts_of(recording.mounts)
    contents = {reading.path: contents_of(reading) for reading in recording.readings}
    disks = [device for device in recording.block if device.node in contents and is_disk(device)]
    nics = [device for device in recording.net if is_nic(device)]
    found = Inventory(
        machine=Machine(*(recording.dmi.get(name, "") for name in DMI_NAMES)),
        firmware=Firmware.EFI if recording.efi else Firmware.BIOS,
        cpus=recording.cpus,
        memory_bytes=recording.memory_bytes,
        disks=tuple(
            disk_of(device, contents[device.node], roles_of(device, recording.block, mounts))
            for device in disks
        ),
        nics=tuple(nic_of(device) for device in nics),
        modules=tuple(sorted({module for device in (*disks, *nics) for module in device.modules})),
        secure_boot=recording.secure_boot,
        lacking=lacking(recording.pci, recording.usb, recording.firmware_log),
    )
    return with_plugins(found, [entry.load() for entry in entry_points(group=GROUP)])


def with_plugins(inventory: Inventory, detectors: Iterable[Detector]) -> Inventory:
    """Return the inventory with the modules that plug-ins ask for."""
    for detector in detectors:
        modules = {*inventory.modules, *detector(inventory)}
        inventory = replace(inventory, modules=tuple(sorted(modules)))
    return inventory


def is_nic(device: Device) -> bool:
    """Say whether a network interface has hardware behind it."""
    return "/virtual/" not in device.path and bool(device.attributes.get("address"))


def disk_of(device: Device, contents: Contents, roles: tuple[str, ...] = ()) -> Disk:
    """Make a disk out of what udev says of it and what was found on it."""
    said, has = device.properties, device.attributes
    return Disk(
        path=device.node,
        model=_model(device),
        serial=_serial(device),
        wwn=said.get("ID_WWN_WITH_EXTENSION") or said.get("ID_WWN", ""),
        size_bytes=device.size_bytes,
        bus=_bus(device),
        removable=has.get("removable") == "1",
        read_only=has.get("ro") == "1",
        rotational=has.get("queue/rotational") == "1",
        logical_sector=int(has.get("queue/logical_block_size") or 512),
        state=contents.state,
        table_type=contents.table_type,
        table_guid=contents.table_guid,
        content=contents.texts,
        roles=roles,
    )


def roles_of(disk: Device, block: Iterable[Device], mounts: Iterable[Mount]) -> tuple[str, ...]:
    """Say what a disk is in use for, by the labels on it and by what is mounted from it."""
    parts = [disk, *(device for device in block if device.parent == disk.path)]
    labels = {device.properties.get("ID_FS_LABEL", "") for device in parts}
    roles = {role for label, role in _ROLES.items() if label in labels}
    nodes = {device.node for device in parts}
    roles |= {f"mounted at {mount.target}" for mount in mounts if mount.source in nodes}
    return tuple(sorted(roles))


def nic_of(device: Device) -> Nic:
    """Make a network interface out of what udev says of it."""
    said = device.properties
    return Nic(
        name=device.name,
        mac=device.attributes.get("address", ""),
        driver=said.get("ID_NET_DRIVER") or device.driver,
        model=said.get("ID_MODEL_FROM_DATABASE") or said.get("ID_MODEL_ID", ""),
        bus_path=said.get("ID_PATH", ""),
    )


def describe(inventory: Inventory) -> str:
    """Return the inventory as plain lines for the console."""
    machine = " ".join(part for part in (inventory.machine.vendor, inventory.machine.product) if part)
    lines = [
        f"machine  {machine or 'unknown'}, serial {inventory.machine.serial or 'unknown'}",
        f"         {inventory.firmware}{' with Secure Boot' if inventory.secure_boot else ''},"
        f" {inventory.cpus} CPUs, {human_size(inventory.memory_bytes)} memory",
    ]
    lines += [f"disk     {describe_disk(disk)}" for disk in inventory.disks] or ["disk     none"]
    lines += [
        f"network  {nic.name} {nic.mac} {nic.driver} {nic.model}".rstrip() for nic in inventory.nics
    ] or ["network  none"]
    lines += [f"lacking  {one}" for one in inventory.lacking]
    return "\n".join([*lines, f"modules  {' '.join(inventory.modules)}"])


def describe_disk(disk: Disk) -> str:
    """Return one line that lets a person recognise a disk: model, serial number, size, what is on it."""
    flags = [name for name in ("removable", "read_only") if getattr(disk, name)]
    words = [
        disk.path,
        disk.bus,
        disk.model,
        f"serial {disk.serial or 'unknown'}",
        human_size(disk.size_bytes),
    ]
    content = "; ".join(disk.content) or "nothing on it"
    notes = [disk.state.value, *(flag.replace("_", "-") for flag in flags), *disk.roles]
    return f"{' '.join(word for word in words if word)} [{', '.join(notes)}]: {content}"


def _model(device: Device) -> str:
    # Memory cards and eMMC have a name in place of a model.
    said = device.properties.get("ID_MODEL") or device.properties.get("ID_NAME", "")
    said = said.replace("_", " ").strip()
    return said or device.attributes.get("device/model", "") or f"{_bus(device)} disk"


def _serial(device: Device) -> str:
    """Return what is printed on the disk, without the model that udev puts before some of them."""
    said = device.properties
    own = said.get("ID_SCSI_SERIAL") or said.get("ID_SERIAL_SHORT") or said.get("ID_SERIAL")
    return (own or device.attributes.get("serial") or device.attributes.get("device/serial") or "").strip()


def _bus(device: Device) -> str:
    # A USB bridge passes ATA's answers through, and udev then calls the disk "ata": the path knows better.
    if re.search(r"/usb\d+/", device.path):
        return "usb"
    by_name = {"vd": "virtio", "nvme": "nvme", "mmcblk": "mmc", "xvd": "xen", "cciss": "cciss", "md": "md"}
    for prefix, bus in by_name.items():
        if device.name.startswith(prefix):
            return bus
    return device.properties.get("ID_BUS") or "scsi"
