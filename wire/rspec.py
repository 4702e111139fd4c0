"""What a sliver is given of its node's resources, as attributes of its slice say.

Names, units, defaults and least amounts of the classic resources are those of the original node manager
(its sm.py of 2006: cpu_min in ms/s, rates in bit/s, shares in proportion, disk_max in blocks of 1 KiB).
Memory, pids, io_weight and inodes are new here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

_NUMBER = re.compile("[0-9]{1,18}")
_MAXIMUM_RATE = 10**12
_MAXIMUM_KIB = 2**40
_SHOWN = 40

# What an attribute may be, from the minimum allocation to more than any node has.
_BOUNDS = {
    "enabled": (0, 1),
    "cpu_min": (0, 10**6),
    "cpu_share": (16, 10_000),
    "memory_high": (0, _MAXIMUM_KIB),
    "memory_max": (0, _MAXIMUM_KIB),
    "pids_max": (64, 2**22),
    "io_weight": (1, 10_000),
    "disk_max": (0, _MAXIMUM_KIB),
    "inodes_max": (0, 2**32 - 1),
    "net_min": (0, _MAXIMUM_RATE),
    "net_max": (8, _MAXIMUM_RATE),
    "net2_min": (0, _MAXIMUM_RATE),
    "net2_max": (8, _MAXIMUM_RATE),
    "net_share": (1, 1000),
}
_ORDERED = (("memory_high", "memory_max"), ("net_min", "net_max"), ("net2_min", "net2_max"))
# A system with less memory or room than this does not start.
_LEAST_KIB = {"memory_high": 16 * 1024, "memory_max": 16 * 1024, "disk_max": 1024}
# What ext4 has by default: one inode for each 16 KiB.
_KIB_PER_INODE = 16


@dataclass(frozen=True)
class RSpec:
    """The resources of one sliver; every field is an attribute of that name. docs/limits.md has the meaning.

    cpu_min: milliseconds of processor time per second; cpu_share, io_weight, net_share: in proportion to
    others. memory_high, memory_max, disk_max: KiB, 0 for no limit. pids_max: processes and threads.
    inodes_max: files and folders, 0 for what suits disk_max. net_min, net_max: bit/s; net2_min, net2_max:
    the same to exempt destinations. enabled: 0 for one that shall not run, and keeps its disk.
    """

    enabled: int = 1
    cpu_min: int = 0
    cpu_share: int = 32
    memory_high: int = 0
    memory_max: int = 0
    pids_max: int = 4096
    io_weight: int = 100
    disk_max: int = 5_000_000
    inodes_max: int = 0
    net_min: int = 8
    net_max: int = 1_000_000_000
    net2_min: int = 8
    net2_max: int = 1_000_000_000
    net_share: int = 1

    def __post_init__(self) -> None:
        wrong = [text for field in fields(self) if (text := _wrong(field.name, getattr(self, field.name)))]
        for less, more in _ORDERED:
            if 0 < getattr(self, more) < getattr(self, less):
                wrong.append(f"{less} is more than {more}")
        if wrong:
            raise ValueError("; ".join(wrong))

    @classmethod
    def read(cls, attributes: Mapping[str, str]) -> RSpec:
        """Read it from a slice's attributes, passing over others. Raises ValueError, naming all faults."""
        given = {field.name: attributes[field.name] for field in fields(cls) if field.name in attributes}
        unread = [name for name, text in given.items() if not _NUMBER.fullmatch(text.strip())]
        if unread:
            faults = (f"{name} is {given[name][:_SHOWN]!r}, not {_range(name)}" for name in unread)
            raise ValueError("; ".join(faults))
        return cls(**{name: int(text) for name, text in given.items()})

    @classmethod
    def nearest(cls, amounts: Mapping[str, int]) -> RSpec:
        """Return the nearest one that there can be: by loans one may come to more than any attribute says."""
        held = {}
        for name, amount in amounts.items():
            least, most = _BOUNDS[name]
            held[name] = max(least, min(amount, most))
        for less, more in _ORDERED:
            if 0 < held.get(more, 0) < held.get(less, 0):
                held[less] = held[more]
        return cls(**held)

    @property
    def inodes(self) -> int:
        """The most files and folders, 0 for no limit."""
        return self.inodes_max or self.disk_max // _KIB_PER_INODE


def _wrong(name: str, value: int) -> str:
    least, most = _BOUNDS[name]
    if value == 0 == least:
        return ""
    if max(least, _LEAST_KIB.get(name, 0)) <= value <= most:
        return ""
    return f"{name} is {value}, not {_range(name)}"


def _range(name: str) -> str:
    least, most = _BOUNDS[name]
    if name in _LEAST_KIB:
        return f"0 or a whole number from {_LEAST_KIB[name]} to {most}"
    return f"a whole number from {least} to {most}"
