"""What is written for a sliver's control group: a drop-in of its slice unit, which also is the record.

It is there before anything else of the sliver's limits and goes last. Formats: systemd.resource-control(5),
systemd.unit(5) ("X-" sections are passed over).
"""

from __future__ import annotations

import configparser
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configmanager.backends.cpu_weights import SLIVERS_WEIGHT
from configmanager.backends.quota import Room
from configmanager.backends.units import sliver_slice
from wire.rspec import RSpec
from wire.slivers import machine_name

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
_MOST_BYTES = 4096
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

    @cached_property
    def digest(self) -> str:
        """Name these limits."""
        return hashlib.sha256(text(self, 0).encode()).hexdigest()


@dataclass(frozen=True)
class Written:
    """A drop-in as it was found: its limits, the project of its quota, and what it says to systemd.

    What follows from it is worked out once: a pass looks at a thousand of them.
    """

    limits: Limits
    project: int
    properties: dict[str, str]

    @cached_property
    def machine(self) -> str:
        """The sliver's name as a host."""
        return machine_name(self.limits.sliver)

    @cached_property
    def unit(self) -> str:
        """The sliver's slice unit."""
        return sliver_slice(self.machine)

    @cached_property
    def room(self) -> Room:
        """What its quota has to be."""
        return Room(self.limits.disk, self.limits.inodes)

    @cached_property
    def shown(self) -> dict[str, str]:
        """What the kernel shows when it is in force."""
        return shown(self.properties)


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


def in_force(group: str, written: Mapping[str, str]) -> bool:
    """Say whether the kernel has these limits, as `shown` has them, for the control group at that path."""
    # The bare calls, for a thousand slivers have six of these each.
    for file, wanted in written.items():
        try:
            handle = os.open(f"{group}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # The group has gone, or the kernel does not have this limit.
            continue
        try:
            found = os.read(handle, _MOST_BYTES)
        finally:
            os.close(handle)
        if wanted and found.split()[-1].decode() != wanted:
            return False
    return True


def shown(properties: Mapping[str, str]) -> dict[str, str]:
    """Return what the kernel shows of a group with these limits, by file; "" where the node decides."""
    return {_KERNEL_FILES[name]: _shown(name, value) for name, value in properties.items()}


def _shown(name: str, value: str) -> str:
    if value == "infinity":
        return "max"
    if value.endswith("%"):
        return ""
    # The kernel counts pages.
    return str(int(value) // _PAGE * _PAGE) if name.startswith("Memory") else value


def _bytes(kib: int) -> str:
    return str(kib * _KIB) if kib else "infinity"


def _kib(value: str) -> int:
    return 0 if value == "infinity" else int(value) // _KIB
