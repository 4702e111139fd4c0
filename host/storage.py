"""The layout of disks as data, and what steps ask of the disks.

The first write to a disk is a partition table whose GUID is the claim: CLAIM_MAGIC, the disk's role,
and bits of the run's id and the disk's identity, in the form of a UUID of version 8 (RFC 9562, 5.8).
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

VOLUME_GROUP = "bmnode"
CLAIM_MAGIC = "b007b007-"
MIB = 1024 * 1024
# What the slivers volume needs at least, and what tables, alignment and LVM's metadata take.
SLIVERS_MIB = 128
OVERHEAD_MIB = 16
# LVM's default. Sizes of volumes are rounded up to it.
EXTENT_MIB = 4
# Of the EFI system partition: on a disk with sectors of 4096 bytes no smaller FAT32 has its 65525 clusters.
ESP_MIB = 260
ESP_NUMBER = 2
BOOT_NUMBER = 3


class PartitionType(StrEnum):
    """What a partition is for, as GPT says it."""

    BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
    EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
    LVM = "e6d6d379-f507-44c2-a23c-238f2a3df928"


class DiskRole(StrEnum):
    """What a claimed disk is for. The value stands in its claim."""

    SYSTEM = "0"
    DATA = "1"


@dataclass(frozen=True)
class LayoutDisk:
    """A disk that the layout uses, by its device node.

    `claim` is the GUID that its partition table shall carry, `found` the one it carried when it was chosen.
    """

    path: str
    serial: str
    size_bytes: int
    claim: str
    found: str = ""

    @property
    def claimed_by_this_run(self) -> bool:
        """Whether this run wrote to the disk already."""
        return self.found == self.claim


@dataclass(frozen=True)
class PlannedPartition:
    """A partition: name, number, type, and in bytes where it starts and how long it is."""

    name: str
    number: int
    type: PartitionType
    start: int
    size: int


@dataclass(frozen=True)
class Layout:
    """How the disks of a node shall look. Sizes are in MiB; the slivers volume takes the rest."""

    run_id: str
    system: LayoutDisk
    data: tuple[LayoutDisk, ...]
    boot_mib: int
    swap_mib: int
    root_mib: int

    @property
    def disks(self) -> tuple[LayoutDisk, ...]:
        """All disks, the system disk first."""
        return (self.system, *self.data)

    @property
    def esp_device(self) -> str:
        """Device node of the EFI system partition."""
        return partition_node(self.system.path, ESP_NUMBER)

    @property
    def boot_device(self) -> str:
        """Device node of the boot partition."""
        return partition_node(self.system.path, BOOT_NUMBER)

    @property
    def volumes(self) -> tuple[tuple[str, int], ...]:
        """Names of the volumes of fixed size, with their sizes in MiB, whole extents."""
        return (("swap", _extents(self.swap_mib)), ("root", _extents(self.root_mib)))

    def partitions(self, disk: LayoutDisk) -> tuple[PlannedPartition, ...]:
        """Return the partitions of one of the disks, aligned to MiB."""
        # The last MiB is left to the table's copy.
        end = (disk.size_bytes // MIB - 1) * MIB
        if disk != self.system:
            return (PlannedPartition("pv", 1, PartitionType.LVM, MIB, end - MIB),)
        boot = (2 + ESP_MIB) * MIB
        pv = boot + self.boot_mib * MIB
        return (
            PlannedPartition("bios", 1, PartitionType.BIOS_BOOT, MIB, MIB),
            PlannedPartition("esp", ESP_NUMBER, PartitionType.EFI_SYSTEM, 2 * MIB, ESP_MIB * MIB),
            PlannedPartition("boot", BOOT_NUMBER, PartitionType.LINUX, boot, self.boot_mib * MIB),
            PlannedPartition("pv", 4, PartitionType.LVM, pv, end - pv),
        )

    def volume_device(self, name: str) -> str:
        """Device node of a volume: "root", "swap" or "slivers"."""
        return f"/dev/{VOLUME_GROUP}/{name}"


class Storage(Protocol):
    """What steps ask of the disks."""

    def matches(self, layout: Layout) -> bool:
        """Say whether the disks have exactly this layout and its claims; changes nothing."""

    def keeps(self, layout: Layout) -> bool:
        """Say whether `apply` would only renew claims, keeping partitions and volumes; changes nothing."""

    def apply(self, layout: Layout) -> None:
        """Make the disks have this layout, destroying what is on them where it does not fit."""

    def activate(self, disks: tuple[str, ...]) -> None:
        """Make the volumes on these disks, all of them ours, appear in /dev. Writes to no disk."""


def claim_guid(run_id: str, role: DiskRole, identity: str) -> str:
    """Return the GUID that claims a disk; `identity` is its serial number or what else tells it apart."""
    digest = hashlib.sha256(f"{run_id}\0{identity}".encode()).hexdigest()
    return f"{CLAIM_MAGIC}{role}{digest[:3]}-8{digest[3:6]}-8{digest[6:9]}-{digest[9:21]}"


def claimed_role(guid: str) -> DiskRole | None:
    """Return what a disk with this table GUID was claimed for, None when it is not ours."""
    if not guid.startswith(CLAIM_MAGIC):
        return None
    return DiskRole.SYSTEM if guid[len(CLAIM_MAGIC)] == DiskRole.SYSTEM else DiskRole.DATA


def filesystem_uuid(run_id: str, name: str) -> str:
    """Return the UUID that a file system of this run gets, so that "made in this run" can be seen."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"bootmanager:{run_id}/{name}"))


def partition_node(disk: str, number: int) -> str:
    """Return the device node of a partition: /dev/sda1, but /dev/nvme0n1p1."""
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


def system_disk_mib(boot_mib: int, swap_mib: int, root_mib: int) -> int:
    """Return how large a system disk must be at least for these volumes, in MiB."""
    return ESP_MIB + boot_mib + _extents(swap_mib) + _extents(root_mib) + SLIVERS_MIB + OVERHEAD_MIB


def _extents(mib: int) -> int:
    return -(-mib // EXTENT_MIB) * EXTENT_MIB
