"""A folder of this machine as the source of an image.

What is mounted below belongs to the tree, as it does for tar: unmount /proc and the like before. Sockets are
left out, as tar leaves them out, because only a running program makes one. attributes.py says which
extended attributes are taken.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from images.entries import Entry, Kind
from images.sources.attributes import chosen, is_kept
from images.sources.base import Member
from images.sources.nodes import TIMES_NS, hard_link, refusal, split

READ_BYTES = 1024 * 1024
_KINDS = {
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.PIPE,
}
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP)


class FolderSource:
    """The tree below `path`. Of a file's several names the first in order of members() is the file."""

    def __init__(self, path: Path) -> None:
        # A link that the operator gave is followed, those in the tree never are.
        self._path = path.resolve()

    def members(self) -> Iterator[Member]:
        """Yield the folder and everything in it, folders before what is in them, by name.

        Raises NotAnImage for what cannot be read, and for a file that changes meanwhile.
        """
        first: dict[tuple[int, int], str] = {}
        pending = [""]
        while pending:
            path = pending.pop()
            with self._naming(path):
                found = self._full(path).lstat()
                kind = _KINDS.get(stat.S_IFMT(found.st_mode))
                if kind is None:
                    continue
                entry = self._entry(path, kind, found)
                if kind is Kind.FOLDER:
                    pending.extend(self._names(path))
            # Links and devices with several names are told as several: an image links files only.
            inode = (found.st_dev, found.st_ino)
            if kind is Kind.FILE and (target := first.setdefault(inode, path)) != path:
                yield Member(hard_link(entry, path, target))
            elif kind is Kind.FILE:
                yield Member(entry, partial(self._read, entry, found))
            else:
                yield Member(entry)

    def member(self, path: str) -> Member | None:
        """Return what is at a path by itself, a file as such even if it has other names; None for nothing.

        Raises NotAnImage for what cannot be read.
        """
        with self._naming(path):
            try:
                found = self._full(path).lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            kind = _KINDS.get(stat.S_IFMT(found.st_mode))
            if kind is None:
                return None
            entry = self._entry(path, kind, found)
        return Member(entry, partial(self._read, entry, found)) if kind is Kind.FILE else Member(entry)

    def _entry(self, path: str, kind: Kind, found: os.stat_result) -> Entry:
        full = self._full(path)
        # The path is how Linux gave it; this refuses one that is too long for the tree that it comes into.
        split(path)
        if found.st_mtime_ns not in TIMES_NS:
            raise ValueError(f"the time {found.st_mtime_ns / 10**9:.0f}, which ext4 cannot hold")
        return Entry(
            path,
            kind,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            mtime_ns=found.st_mtime_ns,
            xattrs=chosen(_attributes(full), kind),
            target=os.fspath(full.readlink()) if kind is Kind.LINK else "",
            device=found.st_rdev if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
            size=found.st_size if kind is Kind.FILE else 0,
            holes=self._holes(path, found) if kind is Kind.FILE else (),
        )

    def _names(self, path: str) -> list[str]:
        prefix = f"{path}/" if path else ""
        with os.scandir(self._full(path)) as entries:
            return [prefix + name for name in sorted((entry.name for entry in entries), reverse=True)]

    def _holes(self, path: str, found: os.stat_result) -> tuple[tuple[int, int], ...]:
        if found.st_blocks * 512 >= found.st_size:
            return ()
        with self._opened(path, found) as file:
            return tuple(_find_holes(file, found.st_size))

    def _read(self, entry: Entry, found: os.stat_result) -> Iterator[bytes]:
        with self._naming(entry.path), self._opened(entry.path, found) as file:
            for offset, length in entry.data:
                at, end = offset, offset + length
                while at < end:
                    data = os.pread(file, min(READ_BYTES, end - at), at)
                    if not data:
                        raise ValueError("it became shorter while it was read")
                    at += len(data)
                    yield data

    @contextmanager
    def _opened(self, path: str, found: os.stat_result) -> Iterator[int]:
        """Open what was found there. Raises ValueError unless it is the same before and after."""
        # Without O_NONBLOCK a pipe that somebody put in the file's place would be waited for.
        file = os.open(self._full(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_same(file, found)
            yield file
            _check_same(file, found)
        finally:
            os.close(file)

    @contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refusal(self._path, path or ".", error.strerror or error) from None
        except ValueError as error:
            raise refusal(self._path, path or ".", error) from None

    def _full(self, path: str) -> Path:
        return self._path / path


def _check_same(file: int, found: os.stat_result) -> None:
    now = os.fstat(file)
    before = (found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if before != (now.st_dev, now.st_ino, now.st_mode, now.st_size, now.st_mtime_ns, now.st_ctime_ns):
        raise ValueError("it changed while it was read")


def _attributes(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names if is_kept(name)}


def _find_holes(file: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            data = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            # No data from here to the end.
            data = size
        if data > at:
            yield at, min(data, size) - at
        if data >= size:
            return
        at = os.lseek(file, data, os.SEEK_HOLE)
