"""What is written for a sliver's control group: a drop-in of its slice unit, which also is the record.

It is there before anything else of the sliver's limits and goes last. Formats: systemd.resource-control(5),
systemd.unit(5) ("X-" sections are passed over).
"""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends.cpu_weights import SLIVERS_WEIGHT
from wire.rspec import RSpec

FOLDER = Path("etc/systemd/system")
FILE_NAME = "50-configmanager.conf"
ALL = "slivers.slice"
# Where the kernel shows what systemd calls so.
_KERNEL_FILES = {
    "CPUWeight": "cpu.weight",
    "IOWeight": "io.weight",
    "TasksMax": "pids.max",
    "MemoryHigh": "memory.high",
    "MemoryMax": "memory.max",
    "MemorySwapMax": "memory.swap.max",
}
_PAGE = 4096
_KIB = 1024
_HEAD = "# Written by configmanager: limits of slivers.\n"

# All slivers together: the node's own services keep a tenth of everything.
ALL_PROPERTIES = {"CPUWeight": str(SLIVERS_WEIGHT), "MemoryMax": "90%", "TasksMax": "80%"}
ALL_TEXT = f"{_HEAD}[Slice]\n" + "".join(f"{key}={value}\n" for key, value in ALL_PROPERTIES.items())


@dataclass(frozen=True)
class Limits:
    """The limits of one sliver. Amounts of memory and `disk` in KiB; 0 for no limit."""

    sliver: str
    cpu_weight: int
    io_weight: int
    pids: int
    memory_high: int
    memory_max: int
    disk: int
    inodes: int

    @classmethod
    def of(cls, sliver: str, rspec: RSpec, cpu_weight: int) -> Limits:
        """Return what an RSpec comes to."""
        return cls(
            sliver,
            cpu_weight,
            rspec.io_weight,
            rspec.pids_max,
            rspec.memory_high,
            rspec.memory_max,
            rspec.disk_max,
            rspec.inodes,
        )

    @property
    def digest(self) -> str:
        """Name these limits."""
        return hashlib.sha256(text(self, 0).encode()).hexdigest()


@dataclass(frozen=True)
class Written:
    """A drop-in as it was found: its limits, the project of its quota, and what it says to systemd."""

    limits: Limits
    project: int
    properties: dict[str, str]


def text(limits: Limits, project: int) -> str:
    """Return the drop-in's text; `project` is the number of the sliver's quota."""
    return f"""{_HEAD}[X-Sliver]
Name={limits.sliver}
Project={project}
DiskKiB={limits.disk}
Inodes={limits.inodes}

[Slice]
CPUWeight={limits.cpu_weight}
IOWeight={limits.io_weight}
TasksMax={limits.pids}
MemoryHigh={_bytes(limits.memory_high)}
MemoryMax={_bytes(limits.memory_max)}
MemorySwapMax={"0" if limits.memory_max else "infinity"}
"""


def read(written: str) -> Written:
    """Read a drop-in's text again. Raises ValueError for one that is damaged."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(written)
        own, properties = parser["X-Sliver"], dict(parser["Slice"])
        limits = Limits(
            own["Name"],
            int(properties["CPUWeight"]),
            int(properties["IOWeight"]),
            int(properties["TasksMax"]),
            _kib(properties["MemoryHigh"]),
            _kib(properties["MemoryMax"]),
            int(own["DiskKiB"]),
            int(own["Inodes"]),
        )
        return Written(limits, int(own["Project"]), properties)
    except (configparser.Error, KeyError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def in_force(group: Path, properties: Mapping[str, str]) -> bool:
    """Say whether the kernel has these limits for a control group; so it has for one that is not there."""
    return all(_is(group / _KERNEL_FILES[name], value) for name, value in properties.items())


def _is(file: Path, wanted: str) -> bool:
    try:
        found = file.read_text().split()[-1]
    except FileNotFoundError:
        # The group is not there, or the kernel does not have this limit.
        return True
    if found == "max" or wanted == "infinity":
        return (found, wanted) == ("max", "infinity")
    if file.name.startswith("memory.") and wanted.isdigit():
        # The kernel counts pages.
        return int(found) // _PAGE == int(wanted) // _PAGE
    return wanted.endswith("%") or found == wanted


def _bytes(kib: int) -> str:
    return str(kib * _KIB) if kib else "infinity"


def _kib(value: str) -> int:
    return 0 if value == "infinity" else int(value) // _KIB
