"""What is on a disk: nothing, our own layout, or somebody else's data.

The answer decides whether a disk may be written, so it is taken from the disk itself with blkid and
raw reads, not from udev's database, which can be out of date.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import Any

from host.disks import sys_place
from host.run import CommandMissing, Runner
from host.storage import CLAIM_MAGIC

MIB = 1024 * 1024
_NOTHING_FOUND = 2
_AMBIVALENT = 8
# A table may list more; this many are looked into.
_PARTITIONS_SHOWN = 16


class DiskState(StrEnum):
    """Whose disk it is."""

    BLANK = "blank"
    OURS = "ours"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Contents:
    """What was found: the partition table if any, and for people one text a thing."""

    state: DiskState
    table_type: str = ""
    table_guid: str = ""
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A partition: its name, its size, and what blkid finds in it."""

    name: str
    size_bytes: int
    found: Mapping[str, str]


@dataclass(frozen=True)
class Reading:
    """What was read of the disk at `path`, before anything is made of it.

    `error` says why it cannot be read, "" where it can. `empty`: both ends hold at most a partition table
    without partitions. `found` is what blkid says of all of it; of the partitions that its table lists these
    are the first ones, and `further` how many more there are.
    """

    path: str
    error: str = ""
    empty: bool = False
    found: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    further: int = 0


def read(run: Runner, path: str, *, size_bytes: int, sector: int = 512) -> Reading:
    """Read of a disk what contents_of() judges by, changing nothing."""
    try:
        head, tail = _ends(path, size_bytes, 33 * sector)
    except OSError as error:
        return Reading(path, error=f"cannot be read: {error.strerror}")
    found = probe(run, path)
    table = partitions(run, path) if "PTTYPE" in found else {}
    listed = table.get("partitions", [])
    unit = int(table.get("sectorsize", 512))
    return Reading(
        path,
        empty=_has_nothing(head, tail, sector),
        found=found,
        parts=tuple(_part(run, path, entry, unit) for entry in listed[:_PARTITIONS_SHOWN]),
        further=max(0, len(listed) - _PARTITIONS_SHOWN),
    )


def _part(run: Runner, path: str, entry: Mapping[str, Any], unit: int) -> Part:
    size = entry["size"] * unit
    inside = probe(run, path, offset=entry["start"] * unit, size_bytes=size)
    return Part(Path(entry["node"]).name, size, inside)


def contents_of(reading: Reading) -> Contents:
    """Say what is on a disk by what was read of it; UNREADABLE, not an error, where that failed."""
    if reading.error:
        return Contents(DiskState.UNREADABLE, texts=(reading.error,))
    found = reading.found
    table, guid = found.get("PTTYPE", ""), found.get("PTUUID", "").lower()
    texts = tuple(_texts(reading))
    if table == "gpt" and guid.startswith(CLAIM_MAGIC):
        return Contents(DiskState.OURS, table, guid, texts)
    signature = any(key in found for key in ("TYPE", "AMBIVALENT"))
    if not signature and reading.empty:
        return Contents(DiskState.BLANK, table, guid)
    return Contents(DiskState.FOREIGN, table, guid, texts or ("data of an unknown kind",))


def probe(run: Runner, path: str, *, offset: int = 0, size_bytes: int = 0) -> dict[str, str]:
    """Return what blkid finds at `path` itself, past all caches, {} for nothing; a part of it on demand."""
    part = ["--offset", str(offset), "--size", str(size_bytes)] if size_bytes else []
    done = run(["blkid", "-p", "-o", "export", *part, path], ok=(0, _NOTHING_FOUND, _AMBIVALENT))
    if done.status == _AMBIVALENT:
        return {"AMBIVALENT": "yes"}
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value.replace("\\ ", " ") for key, mark, value in lines if mark}


def partitions(run: Runner, path: str) -> dict[str, Any]:
    """Return the partition table as sfdisk tells it (sectors), {} where there is none.

    An installed node has no sfdisk, and a kernel that has read the tables of its disks.
    """
    try:
        done = run(["sfdisk", "--json", path], ok=(0, 1))
    except CommandMissing:
        return _known_to_kernel(sys_place(path))
    try:
        return dict(json.loads(done.stdout)["partitiontable"])
    except (ValueError, KeyError):
        return {}


def _known_to_kernel(place: Path) -> dict[str, Any]:
    # In units of 512 bytes whatever the disk's sectors are.
    found = [
        {"node": f"/dev/{part.name}", **{key: int((part / key).read_text()) for key in ("start", "size")}}
        for part in sorted(mark.parent for mark in place.glob("*/partition"))
    ]
    return {"sectorsize": 512, "partitions": found}


def _ends(path: str, size_bytes: int, tail: int) -> tuple[bytes, bytes]:
    with Path(path).open("rb", buffering=0) as disk:
        return _whole(disk, 0, min(MIB, size_bytes)), _whole(
            disk, max(0, size_bytes - tail), min(tail, size_bytes)
        )


def _whole(disk: FileIO, offset: int, count: int) -> bytes:
    disk.seek(offset)
    data = disk.read(count)
    if len(data) < count:
        # What follows a bad sector is not known, and must not pass for empty.
        raise OSError(errno.EIO, f"{len(data)} of {count} bytes at {offset}")
    return data


def _has_nothing(head: bytes, tail: bytes, sector: int) -> bool:
    """Say whether both ends hold at most a partition table without partitions, whole or torn.

    That is what a disk looks like on which our very first write was cut short.
    """
    return (
        _empty_boot_record(head[:512])
        and _zero_or_gpt_header(head[sector : 2 * sector])
        and not any(head[512:sector])
        and not any(head[2 * sector :])
        and not any(tail[:-sector])
        and _zero_or_gpt_header(tail[-sector:])
    )


def _empty_boot_record(record: bytes) -> bool:
    """Zeros, or no boot code and no partition but a protective one of type EE (UEFI spec., 5.2.3)."""
    if not any(record):
        return True
    first, others = record[446:462], record[462:510]
    empty = (not any(first) or first[4] == 0xEE) and not any(others)
    return empty and not any(record[:440]) and record[510:512] == b"\x55\xaa"


def _zero_or_gpt_header(data: bytes) -> bool:
    return not any(data) or data.startswith(b"EFI PART")


def _texts(reading: Reading) -> list[str]:
    """Say for people what is on it."""
    found = reading.found
    if "AMBIVALENT" in found:
        return ["signatures of several file systems"]
    texts = [_text(found)] if "TYPE" in found else []
    if "PTTYPE" not in found:
        return texts
    texts += [f"{part.name}: {_text(part.found)}, {human_size(part.size_bytes)}" for part in reading.parts]
    if reading.further:
        texts.append(f"{reading.further} more partitions")
    return texts or [f"empty {found['PTTYPE']} partition table"]


def _text(found: Mapping[str, str]) -> str:
    kind = found.get("TYPE") or ("partition table" if "PTTYPE" in found else "nothing known")
    words = {"LVM2_member": "LVM physical volume", "linux_raid_member": "RAID member"}
    label = found.get("LABEL", "")
    return words.get(kind, kind) + (f' "{label}"' if label else "")


def human_size(size_bytes: int) -> str:
    """Return a size for people: 10.0 GiB."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
