"""Control groups of running services: one for each slice with its limits, in it one for each instance.

What a service starts stays in its group, so it can be ended as a whole, and a slice whose services take all
they can get takes it from itself. Only what the kernel delegates is limited (cgroups(7), version 2).
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host.mounts import mount_table

# For all services of a slice together; each slice has the same share of the processors.
LIMITS = {
    "pids": ("pids.max", "512"),
    "memory": ("memory.max", str(512 * 1024 * 1024)),
    "cpu": ("cpu.weight", "100"),
}


@dataclass(frozen=True)
class Group:
    """The group of one instance."""

    folder: Path

    @property
    def door(self) -> Path:
        """Whoever writes "0" there is in the group."""
        return self.folder / "cgroup.procs"

    def kill(self) -> None:
        """End all that runs in it, at once."""
        with suppress(FileNotFoundError):
            (self.folder / "cgroup.kill").write_text("1")

    @property
    def empty(self) -> bool:
        """Whether nothing runs in it."""
        try:
            return "populated 0" in (self.folder / "cgroup.events").read_text()
        except FileNotFoundError:
            return True

    def remove(self) -> None:
        """Remove it, and that of its slice if it was the last one there; one that is not empty stays."""
        with suppress(OSError):
            self.folder.rmdir()
            self.folder.parent.rmdir()


class Groups:
    """The groups below `base`, which is the unit's own."""

    def __init__(self, base: Path) -> None:
        """End what a program that was killed has left there."""
        self._base = base
        self._number = itertools.count(1)
        for folder in base.glob("slice-*/service-*"):
            left = Group(folder)
            left.kill()
            left.remove()

    def make(self, machine: str, service: str) -> Group:
        """Make a group for a new instance, within the limits of its slice. Raises OSError."""
        # Without a prefix a name could be one of the kernel's files, or of the unit's other group.
        parent = self._base / f"slice-{machine}"
        parent.mkdir(exist_ok=True)
        # Also where it is there: it may have been made when they could not be set.
        for name in _delegate(self._base):
            file, value = LIMITS[name]
            (parent / file).write_text(value)
        folder = parent / f"service-{service}.{next(self._number)}"
        folder.mkdir(exist_ok=True)
        return Group(folder)


def own_unit() -> Path:
    """Return the group of the unit that this program runs in, in a subgroup (DelegateSubgroup=)."""
    top = next(mount.target for mount in mount_table() if mount.fstype == "cgroup2")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))
    return (top / path).parent


def _delegate(base: Path) -> set[str]:
    """Return which limits can be set below, after seeing to it that they can."""
    names = LIMITS.keys() & (base / "cgroup.controllers").read_text().split()
    if names:
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(names)))
    return set(names)
