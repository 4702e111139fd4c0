"""Disks that hold the image of another system, which bears no mark of ours: recognised by what was noted.

What is compared is the id of the partition table, which systems keep as long as they do not partition the
disk anew. Notes come from the node's own authenticated memory or from its server, never from the disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from hwdetect.content import MIB, DiskState
from hwdetect.inventory import Disk, Inventory
from wire.messages import DiskRecord

HEAD_BYTES = MIB
# UEFI specification, 5.3.2: the header is in the disk's second sector, the disk's GUID at 56 in it.
_GPT_SECTORS, _GPT_MAGIC, _GPT_GUID = (512, 4096), b"EFI PART", slice(56, 72)
# The id of an MBR table, beside the boot code; 0 is none.
_MBR_ID, _MBR_MAGIC, _MBR_END = slice(440, 444), b"\x55\xaa", slice(510, 512)


def table_id(head: bytes) -> str:
    """Return the id of the partition table at the beginning of a disk as blkid has it, "" without one."""
    for sector in _GPT_SECTORS:
        header = head[sector : sector + 512]
        if header.startswith(_GPT_MAGIC):
            return str(uuid.UUID(bytes_le=header[_GPT_GUID]))
    number = int.from_bytes(head[_MBR_ID], "little")
    return f"{number:08x}" if head[_MBR_END] == _MBR_MAGIC and number else ""


def head_of(path: str) -> bytes:
    """Return a disk's beginning. Raises OSError."""
    with Path(path).open("rb", buffering=0) as disk:
        return disk.read(HEAD_BYTES)


def is_disk_of(record: DiskRecord, disk: Disk) -> bool:
    """Say whether the record is about this disk, whatever it holds now."""
    same = (record.serial, record.wwn, record.size_mib) == (disk.serial, disk.wwn, disk.size_bytes // MIB)
    return same and bool(disk.serial or disk.wwn)


def recognised(
    inventory: Inventory, records: Iterable[DiskRecord], head: Callable[[str], bytes] = head_of
) -> Inventory:
    """Return the inventory with disks that hold what was noted told as ours, by the claims noted for them."""
    known = tuple(records)
    return replace(inventory, disks=tuple(_recognised(disk, known, head) for disk in inventory.disks))


def _recognised(disk: Disk, records: tuple[DiskRecord, ...], head: Callable[[str], bytes]) -> Disk:
    if disk.state is not DiskState.FOREIGN:
        return disk
    for record in records:
        if is_disk_of(record, disk) and _holds(record, disk, head):
            return replace(disk, state=DiskState.OURS, table_guid=record.claim)
    return disk


def _holds(record: DiskRecord, disk: Disk, head: Callable[[str], bytes]) -> bool:
    try:
        begin = head(disk.path)
    except OSError:
        return False
    # The beginning is written last: a writing that was cut off has left zeros there.
    return table_id(begin) == record.table or (not record.whole and not any(begin))
