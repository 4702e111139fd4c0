"""Disks before anything is made on them: what uses them, their partition tables, claiming and emptying.

Every function that writes refuses a disk that is in use, because the kernel then refuses to open it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from host.os_errors import DiskWriteFailed
from host.run import Runner
from host.storage import CLAIM_MAGIC, MIB, LayoutDisk, PlannedPartition
from wire.errors import UnsupportedHardware

SYS_BLOCK = Path("/sys/class/block")
_SETTLE_SECONDS = 60
_TRIES = 10
# Protective MBR, header and 128 entries of 128 bytes, in sectors of 512 (UEFI specification, 5.3).
_GPT_BYTES = 34 * 512
_ZERO_AT_START = 4 * MIB
_ZERO_AT_END = MIB


class DiskBusy(UnsupportedHardware):
    """Something uses a disk that is to be written."""

    code = "disk-busy"
    title = "A disk that is to be written is in use"
    hint = "Look at /proc/mounts, `lsblk` and `dmsetup ls` in debug mode for what uses it."


@dataclass(frozen=True)
class Table:
    """A partition table: kind, GUID, and of each partition number, type, start and size in bytes."""

    kind: str
    guid: str
    partitions: tuple[tuple[int, str, int, int], ...]


def settle(run: Runner) -> None:
    """Wait until udev has dealt with all changes. Raises CommandFailed after a minute."""
    run(["udevadm", "settle", f"--timeout={_SETTLE_SECONDS}"], timeout=_SETTLE_SECONDS + 10)


class SettleWhenNeeded:
    """A settle that is skipped where the kernel has told udev nothing since the last one.

    blivet settles half a dozen times for each thing it makes, and starting a process is dear.
    """

    def __init__(self, settle: Callable[[], None], counter: Path = Path("/sys/kernel/uevent_seqnum")) -> None:
        self._settle = settle
        self._counter = counter
        self._seen = ""

    def __call__(self, **_: bool) -> None:
        """Wait until udev has dealt with all changes. How blivet wants it logged is of no interest."""
        now = self._counter.read_text()
        if now != self._seen:
            self._settle()
            # What came while it waited may be unfinished: only what was there before is known to be done.
            self._seen = now


def read_table(run: Runner, path: str) -> Table | None:
    """Return a disk's partition table, None where there is none that can be read."""
    done = run(["sfdisk", "--json", path], ok=(0, 1))
    if done.status != 0 or not done.stdout.strip():
        return None
    table = json.loads(done.stdout)["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    return Table(
        kind=table["label"],
        guid=table.get("id", "").lower(),
        partitions=tuple(
            (_number(entry["node"]), entry["type"].lower(), entry["start"] * sector, entry["size"] * sector)
            for entry in table.get("partitions", [])
        ),
    )


def sys_place(node: str) -> Path:
    """Return the folder of a block device (its node) in sysfs, which has a ! for a slash: cciss!c0d0."""
    return SYS_BLOCK / node.removeprefix("/dev/").replace("/", "!")


def disk_of(node: str) -> str:
    """Return the disk that a partition's node belongs to; a disk belongs to itself."""
    place = sys_place(str(Path(node).resolve())).resolve()
    whole = place.parent if (place / "partition").exists() else place
    return f"/dev/{whole.name.replace('!', '/')}"


def refuse_in_use(disk: str) -> None:
    """Make sure that nothing on the disk (its node), or on what stands on it, is in use; reads nothing else.

    Raises DiskBusy, DiskWriteFailed.
    """
    for leaf in _leaves(sys_place(disk)):
        with _exclusive(f"/dev/{leaf.name.replace('!', '/')}", os.O_RDONLY):
            pass


def release(run: Runner, disk: str) -> None:
    """Take down what the kernel has put together on top of a disk (its node): volumes, mappings, arrays.

    Writes nothing. Raises CommandFailed where something is in use.
    """
    place = sys_place(disk)
    for part in (*_partitions(place), place):
        _release_holders(run, part)


def renew_claim(run: Runner, disk: LayoutDisk) -> None:
    """Give the disk's table the claim, leaving its partitions as they are."""
    run(["sfdisk", "--lock", "--disk-id", disk.path, disk.claim.upper()])


def claim_and_empty(run: Runner, disk: LayoutDisk) -> None:
    """Give the disk an empty table that carries the claim: the first write to a disk.

    On a disk of ours nothing else is wiped before, because between the two writes a power cut would
    leave it without a claim.
    """
    table = read_table(run, disk.path)
    ours = disk.found.startswith(CLAIM_MAGIC) or (table is not None and table.guid.startswith(CLAIM_MAGIC))
    script = f"label: gpt\nlabel-id: {disk.claim.upper()}\n".encode()
    wipe = ["--wipe", "never" if ours else "always"]
    run(["sfdisk", "--lock", "--quiet", "--no-reread", "--force", *wipe, disk.path], input=script)
    _forget_partitions(run, disk)


def zero(disk: LayoutDisk, planned: tuple[PlannedPartition, ...]) -> None:
    """Wipe what older signatures could be found by, in the gaps and where partitions will begin and end.

    Without it, LVM metadata of an older installation would come back to life with a partition that
    begins at the same place. Raises DiskBusy, DiskWriteFailed.
    """
    ranges = [(_GPT_BYTES, MIB)]
    for part in planned:
        end = part.start + part.size
        ranges += [(part.start, min(end, part.start + _ZERO_AT_START)), (end - _ZERO_AT_END, end)]
    with _exclusive(disk.path) as handle:
        for start, end in ranges:
            _write_zeros(handle, start, end)


def zero_start(node: str) -> None:
    """Wipe the signature at the start of a volume, durably. Raises DiskBusy, DiskWriteFailed."""
    with _exclusive(node) as handle:
        _write_zeros(handle, 0, MIB)


@contextmanager
def _exclusive(node: str, mode: int = os.O_WRONLY) -> Iterator[int]:
    """Open a device that nothing uses, and make durable what is written. Raises DiskBusy, DiskWriteFailed."""
    try:
        # O_EXCL on a block device: the kernel refuses while it is mounted or part of something.
        handle = os.open(node, mode | os.O_EXCL | os.O_CLOEXEC)
        try:
            yield handle
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # No call but opening says of a device that it is busy.
        kind = DiskBusy if error.errno == errno.EBUSY else DiskWriteFailed
        raise kind(f"{node}: {error.strerror}") from None


def _write_zeros(handle: int, start: int, end: int) -> None:
    while start < end:
        # Before what it cannot write, the kernel writes what it can.
        start += os.pwrite(handle, bytes(end - start), start)


def _forget_partitions(run: Runner, disk: LayoutDisk) -> None:
    """Let the kernel read the empty table; udev may be looking at an old partition for a moment."""
    place = sys_place(disk.path)
    for _ in range(_TRIES):
        settle(run)
        run(["blockdev", "--rereadpt", disk.path], ok=(0, 1))
        if not any(_partitions(place)):
            return
        time.sleep(0.2)
    names = ", ".join(part.name for part in _partitions(place))
    raise DiskBusy(f"{disk.path}: the kernel does not let go of {names}")


def _leaves(place: Path) -> Iterator[Path]:
    """Yield what nothing else stands on: partitions, volumes, or the device itself."""
    above = [*_partitions(place), *(SYS_BLOCK / path.name for path in (place / "holders").glob("*"))]
    for one in above:
        yield from _leaves(one)
    if not above:
        yield place


def _release_holders(run: Runner, place: Path) -> None:
    for holder in sorted((place / "holders").glob("*")):
        above = SYS_BLOCK / holder.name
        if not above.exists():
            continue  # It stood on two of the disk's partitions and is gone already.
        for part in _partitions(above):
            _release_holders(run, part)
        _release_holders(run, above)
        if (above / "dm").exists():
            run(["dmsetup", "remove", "--retry", (above / "dm/name").read_text().strip()])
        elif (above / "md").exists():
            run(["mdadm", "--stop", f"/dev/{holder.name}"])
        else:
            raise DiskBusy(f"{place.name} is used by {holder.name}")


def _partitions(place: Path) -> Iterator[Path]:
    return (part.parent for part in sorted(place.glob("*/partition")))


def _number(node: str) -> int:
    found = re.search(r"\d+$", node)
    return int(found[0]) if found else 0
