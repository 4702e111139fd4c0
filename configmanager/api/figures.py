"""What each sliver uses, read from the kernel: control groups, its link's counters, its quota.

Counters are the kernel's own, and begin from zero with its group or link, as Prometheus allows for.
Formats: Documentation/admin-guide/cgroup-v2.rst and Documentation/ABI/testing/sysfs-class-net-statistics of
Linux. What is not there (a sliver that does not run, a controller that is off) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends import units
from configmanager.backends.quota import Room
from configmanager.slots import Slot
from wire.slivers import machine_name

CONTROL_GROUPS = Path("sys/fs/cgroup/slivers.slice")
LINKS = Path("sys/class/net")


@dataclass(frozen=True)
class Figure:
    """A kind of figure: its name, what it is for people, and whether it only grows."""

    name: str
    about: str
    grows: bool


CPU = Figure("sliver_cpu_seconds", "Processor time used.", True)
MEMORY = Figure("sliver_memory_bytes", "Memory in use, caches of its files among it.", False)
KILLS = Figure("sliver_memory_kills", "Processes killed for want of memory.", True)
PROCESSES = Figure("sliver_processes", "Processes and threads.", False)
READ = Figure("sliver_disk_read_bytes", "Read from disks.", True)
WRITTEN = Figure("sliver_disk_written_bytes", "Written to disks.", True)
SPACE = Figure("sliver_disk_used_bytes", "Room taken on the disk by what it wrote.", False)
FILES = Figure("sliver_disk_files", "Files and folders that it wrote.", False)
SENT = Figure("sliver_network_sent_bytes", "Sent since its link was made.", True)
RECEIVED = Figure("sliver_network_received_bytes", "Received since its link was made.", True)
ALL = (CPU, MEMORY, KILLS, PROCESSES, READ, WRITTEN, SPACE, FILES, SENT, RECEIVED)


def figures_of(name: str, slot: Slot, rooms: Mapping[int, Room], root: Path) -> dict[Figure, float]:
    """Return a sliver's figures; `rooms` is what projects have on the disk, `root` "/" but in tests."""
    return dict(
        (
            *_group(root / CONTROL_GROUPS / units.sliver_slice(machine_name(name))),
            *_link(root / LINKS / slot.interface / "statistics"),
            *_room(rooms.get(slot.number)),
        )
    )


def _group(folder: Path) -> Iterator[tuple[Figure, float]]:
    if (micros := _pairs(folder / "cpu.stat").get("usage_usec")) is not None:
        yield CPU, micros / 1e6
    if (memory := _number(folder / "memory.current")) is not None:
        yield MEMORY, memory
    if (kills := _pairs(folder / "memory.events").get("oom_kill")) is not None:
        yield KILLS, kills
    if (processes := _number(folder / "pids.current")) is not None:
        yield PROCESSES, processes
    if (moved := _text(folder / "io.stat")) is not None:
        words = [word.partition("=")[::2] for word in moved.split()]
        yield READ, sum(int(value) for key, value in words if key == "rbytes")
        yield WRITTEN, sum(int(value) for key, value in words if key == "wbytes")


def _link(folder: Path) -> Iterator[tuple[Figure, float]]:
    # It is the node's end: what arrives there the sliver has sent.
    for figure, file in ((SENT, "rx_bytes"), (RECEIVED, "tx_bytes")):
        if (count := _number(folder / file)) is not None:
            yield figure, count


def _room(room: Room | None) -> Iterator[tuple[Figure, float]]:
    if room is not None:
        yield SPACE, room.kib * 1024
        yield FILES, room.inodes


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        # It ended meanwhile, or never ran.
        return None


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text is not None else None


def _pairs(file: Path) -> dict[str, int]:
    words = [line.split() for line in (_text(file) or "").splitlines()]
    return {key: int(value) for key, value in words}
