"""One thing in a tree: what an image says of each file, folder, link, device and pipe.

ACLs and capabilities are extended attributes to Linux and so to this format (system.posix_acl_access,
system.posix_acl_default, security.capability), in the bytes that the kernel takes and gives.
docs/images.md describes the form in which entries are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an entry is; the letters are those of find(1), but for a hard link's."""

    FOLDER = "d"
    FILE = "f"
    LINK = "l"
    HARD = "h"
    CHARACTER = "c"
    BLOCK = "b"
    PIPE = "p"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a tree.

    `path` is relative to the tree and has no `.`, `..` or empty part; the tree's own folder is "". Names
    are bytes to Linux: those that are no UTF-8 are escaped as os.fsdecode() does. `mode` is the permissions
    with set-id and sticky bits; `mtime_ns` counts from 1970 and may be negative. `target` is what a symbolic
    link says, or the path of the file that a hard link is another name of. `device` is as os.makedev() makes
    it. A file has `size` bytes with the hash `sha256`, holes read as zeros; `holes` are the (offset, length)
    of what takes no room in a sparse one, ascending and apart.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()
    target: str = ""
    device: int = 0
    size: int = 0
    sha256: str = ""
    holes: tuple[tuple[int, int], ...] = ()

    @property
    def data(self) -> tuple[tuple[int, int], ...]:
        """The (offset, length) of what is not a hole, ascending."""
        found, at = [], 0
        for offset, length in (*self.holes, (self.size, 0)):
            if offset > at:
                found.append((at, offset - at))
            at = offset + length
        return tuple(found)
