"""Room on the disk for each sliver: project quotas of ext4, a project for each slot.

What is made in a folder of a project belongs to it as well, an overlay's upper and work folder too; an
overlay is written to without the right to exceed a quota, also by root. Tools: chattr(1), setquota(8),
repquota(8); the ioctl is FS_IOC_FSGETXATTR of linux/fs.h.
"""

from __future__ import annotations

import csv
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host.mounts import Mount, mount_table
from host.run import Runner

OPTION = "prjquota"
_GET_ATTRIBUTES = 0x801C581F
_ATTRIBUTES = struct.Struct("IIIII8x")
_INHERIT = 0x200
_WALK_SECONDS = 1800.0


@dataclass(frozen=True)
class Room:
    """The most that a project may have: KiB, and files and folders; 0 for no limit."""

    kib: int
    inodes: int


class Quotas:
    """The quotas of the file system that a folder is on, as it is mounted now."""

    def __init__(self, run: Runner, folder: Path) -> None:
        self._run = run
        holding = [mount for mount in mount_table() if folder.is_relative_to(mount.target)]
        self._mount: Mount = max(reversed(holding), key=lambda mount: len(mount.target.parts))

    @property
    def kept(self) -> bool:
        """Whether the file system keeps quotas of projects."""
        return OPTION in self._mount.options

    @property
    def place(self) -> Path:
        """Where it is mounted."""
        return self._mount.target

    def limits(self) -> dict[int, Room]:
        """Return the limits of all projects that have any. Raises CommandFailed."""
        return read_report(self._report())

    def use(self) -> dict[int, Room]:
        """Return what each project has now. Raises CommandFailed."""
        return read_use(self._report())

    def _report(self) -> str:
        # Verbose, or it passes over who has nothing yet.
        words = ["repquota", "--verbose", "--project", "--no-names", "--output=csv"]
        return self._run([*words, str(self.place)]).stdout

    def limit(self, project: int, room: Room) -> None:
        """Limit a project; takes effect at once. Raises CommandFailed."""
        amounts = (0, room.kib, 0, room.inodes)
        self._run(["setquota", "--project", *(str(each) for each in (project, *amounts)), str(self.place)])


def attach(run: Runner, folder: Path, project: int) -> None:
    """Make a folder, and what is in it on the same file system, a project's. Raises CommandFailed.

    Best done while it is empty: later nothing can be renamed between old and new parts meanwhile.
    """
    marks = ["-p", str(project)]
    run(["chattr", *marks, "+P", "--", folder])
    mounted = {mount.target for mount in mount_table()}
    inner = [path for path in sorted(folder.iterdir()) if path not in mounted and not path.is_symlink()]
    folders = [path for path in inner if path.is_dir()]
    if folders:
        # Only folders hand it on: asked of a file, neither is set.
        words = ["find", *map(str, folders), "-xdev", "-type", "d", "-exec", "chattr", "+P", "--", "{}", "+"]
        run(words, timeout=_WALK_SECONDS)
        # It says so of each device, socket and link, which have no project of their own; hence -f and 1.
        run(["chattr", "-f", "-R", *marks, "--", *folders], timeout=_WALK_SECONDS, ok=(0, 1))


def project_of(folder: Path | str) -> int:
    """Return the project that what is made in a folder belongs to, 0 for none. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        raw = fcntl.ioctl(handle, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    finally:
        os.close(handle)
    flags, _, _, project, _ = _ATTRIBUTES.unpack(raw)
    return project if flags & _INHERIT else 0


def read_use(text: str) -> dict[int, Room]:
    """Read from what repquota says as CSV what each project has now."""
    return dict(_rows(text, "BlockUsed", "FileUsed"))


def read_report(text: str) -> dict[int, Room]:
    """Read from the same the limits of each project that has any."""
    rows, none = _rows(text, "BlockHardLimit", "FileHardLimit"), Room(0, 0)
    return {number: room for number, room in rows if room != none}


def _rows(text: str, blocks: str, files: str) -> Iterator[tuple[int, Room]]:
    # It may add statistics for people.
    table = csv.reader(line for line in text.splitlines() if line.startswith(("Project,", "#")))
    head = next(table, ["Project", blocks, files])
    project, kib, inodes = (head.index(name) for name in ("Project", blocks, files))
    for row in table:
        yield int(row[project].removeprefix("#")), Room(int(row[kib]), int(row[inodes]))
