"""The layout of disks, and the one door to blivet.

blivet needs the distribution's gi and libblockdev 3, so it is imported where it is first used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

VOLUME_GROUP = "bmnode"
CLAIM_MAGIC = "b007b007-"


@dataclass(frozen=True)
class LayoutDisk:
    """A disk that the layout uses, by its device node; `blank` disks get a claim first."""

    path: str
    serial: str
    size_bytes: int


@dataclass(frozen=True)
class Layout:
    """How the disks of a node shall look. `claim` is the GUID every disk's partition table carries."""

    run_id: str
    claim: str
    system: LayoutDisk
    data: tuple[LayoutDisk, ...]
    boot_mib: int
    swap_mib: int
    root_mib: int

    @property
    def root_device(self) -> str:
        """Device node of the root volume."""
        return f"/dev/{VOLUME_GROUP}/root"

    @property
    def swap_device(self) -> str:
        """Device node of the swap volume."""
        return f"/dev/{VOLUME_GROUP}/swap"

    @property
    def slivers_device(self) -> str:
        """Device node of the volume that slivers live on."""
        return f"/dev/{VOLUME_GROUP}/slivers"


class Storage(Protocol):
    """What steps ask of the disks."""

    def matches(self, layout: Layout) -> bool:
        """Say whether the disks have exactly this layout; changes nothing."""

    def apply(self, layout: Layout) -> None:
        """Make the disks have this layout, destroying what is on them."""
