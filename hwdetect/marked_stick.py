"""A stick that a technician has marked, and the cache dongle that is made of it.

| what is on it | what it is |
|---|---|
| wire.dongle's mark, zeros up to 4 MiB, nothing that libblkid knows | marked |
| an MBR with the disk id BEGUN and one partition of type da, nothing or an ext4 BMCACHE in it | begun |
| the same with a partition of type 83 | the dongle, known by its label like any other |

From one to the next is one sector, so a power cut leaves one of these; what was begun is made anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from host import disks
from host.mounts import Mount
from host.run import Runner
from host.storage import partition_node
from hwdetect.content import partitions, probe
from hwdetect.dongle import Dongle
from hwdetect.inventory import CACHE_LABEL
from hwdetect.udev import Device
from wire.dongle import MARKED_BYTES, marked_start
from wire.errors import UnsupportedHardware

# The id of the disk in its MBR.
BEGUN = "b007cace"
# Types of MBR partitions: "Non-FS data" while there is no whole file system in it, then "Linux".
UNFINISHED, FINISHED = "da", "83"
_MAKE_SECONDS = 1800.0
_SECTOR = 512


class NoMarkedStick(UnsupportedHardware):
    """There is not exactly one stick that is marked for the cache."""

    code = "no-marked-stick"
    title = "Not exactly one stick is marked to become the cache dongle"
    hint = "Leave one in, or mark it again: docs/images.md, The cache on the dongle."


def may_become_dongle(device: Device, block: tuple[Device, ...], mounts: tuple[Mount, ...]) -> bool:
    """Say whether a device is of the kind that a mark counts on: a removable USB stick that nobody uses."""
    nodes = {device.node, *(part.node for part in block if part.parent == device.path)}
    return (
        device.kind == "disk"
        and "/usb" in device.path
        and device.attributes.get("removable") == "1"
        and device.attributes.get("ro") == "0"
        and device.size_bytes > MARKED_BYTES
        and not any(mount.source in nodes for mount in mounts)
    )


def is_marked(run: Runner, path: str) -> bool:
    """Say whether a disk bears the mark, or was begun, with nothing else on it.

    Raises OSError, CommandFailed.
    """
    if _read(path, _SECTOR) == marked_start()[:_SECTOR]:
        return _read(path, MARKED_BYTES) == marked_start() and not probe(run, path)
    return _is_begun(run, path)


def make_dongle(run: Runner, marked: Sequence[str]) -> Dongle:
    """Make the cache dongle of the one stick that is marked.

    Raises NoMarkedStick before anything is written, CommandFailed, CommandTimedOut, OSError.
    """
    if len(marked) != 1 or not is_marked(run, marked[0]):
        raise NoMarkedStick(", ".join(marked))
    path = marked[0]
    table = f"label: dos\nlabel-id: 0x{BEGUN}\ntype={UNFINISHED}\n"
    run(["sfdisk", "--lock", "--quiet", "--wipe", "never", path], input=table.encode())
    disks.settle(run)
    node = partition_node(path, 1)
    run(["mkfs.ext4", "-q", "-F", "-L", CACHE_LABEL, node], timeout=_MAKE_SECONDS)
    # mkfs has synced its work: only now may it be taken for whole.
    run(["sfdisk", "--lock", "--quiet", "--part-type", path, "1", FINISHED])
    disks.settle(run)
    return Dongle(node, path, "ext4", _size(node))


def is_made(run: Runner, path: str) -> bool:
    """Say whether a disk is a dongle as make_dongle() makes it, by its table and by what is in its partition.

    Raises OSError, CommandFailed.
    """
    return _is_ours(run, path, FINISHED) and _inside(run, path) == ("ext4", CACHE_LABEL)


def make_again(run: Runner, path: str) -> Dongle:
    """Make a dongle anew, empty; is_made() was asked before. Raises what make_dongle() raises.

    Cut off, it is one that was begun, and is made with the next start.
    """
    run(["sfdisk", "--lock", "--quiet", "--part-type", path, "1", UNFINISHED])
    disks.settle(run)
    return make_dongle(run, (path,))


def _is_begun(run: Runner, path: str) -> bool:
    return _is_ours(run, path, UNFINISHED) and _inside(run, path) in (("", ""), ("ext4", CACHE_LABEL))


def _is_ours(run: Runner, path: str, kind: str) -> bool:
    """Say whether its table is the one that we give a dongle, with one partition, of that type."""
    table = partitions(run, path)
    types = [part["type"] for part in table.get("partitions", [])]
    return probe(run, path).get("PTUUID") == BEGUN and table.get("label") == "dos" and types == [kind]


def _inside(run: Runner, path: str) -> tuple[str, str]:
    """Return type and label of the file system in the first partition, "" each for nothing at all."""
    table = partitions(run, path)
    sector, part = int(table.get("sectorsize", _SECTOR)), table["partitions"][0]
    found = probe(run, path, offset=part["start"] * sector, size_bytes=part["size"] * sector)
    return (found.get("TYPE", "?"), found.get("LABEL", "?")) if found else ("", "")


def _read(path: str, size: int) -> bytes:
    with Path(path).open("rb", buffering=0) as disk:
        return disk.read(size)


def _size(path: str) -> int:
    with Path(path).open("rb", buffering=0) as disk:
        return disk.seek(0, os.SEEK_END)
