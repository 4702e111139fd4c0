"""Makes the entries of an image in a tree that is empty, with all that belongs to them.

The walk has judged the entries: every folder on the way to one was made here, by this image. Nothing is
followed all the same, and nothing that is there is replaced. What the kernel changes when something is
made beside (the times of folders) and what needs its target (hard links) is done at the end.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from images.entries import Entry, Kind
from images.index import Segment, data_bytes
from wire.errors import BootError, CommandError, ConfigurationError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Free blocks of a file system below which it counts as full.
_ROOM = 16
# Bytes of a file from which on the disk begins with them at once; less would be written file by file.
_EARLY = 64 * 1024


class TargetFull(ConfigurationError):
    """The image does not fit where it is unpacked."""

    code = "target-full"
    title = "The image does not fit"
    hint = "Give the volume more room in the node's configuration, or publish a smaller image."


class CannotWrite(CommandError):
    """The file system does not take an entry."""

    code = "cannot-write"
    title = "A part of the image cannot be written"
    hint = (
        "If the disk has errors (journalctl -k), replace it; if not, see whether the file system can hold it."
    )


class TreeWriter:
    """Writes one image into the folder `root`. segments() may be called by several threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = root
        self._folders: list[Entry] = []
        self._hard: list[Entry] = []
        # Files of several segments, by path: how many bytes are missing.
        self._begun: dict[str, int] = {}
        self._lock = threading.Lock()
        # What the kernel gives to everything that is made here, and so need not be set again.
        found = os.fstat(self._root)
        inherits = found.st_mode & stat.S_ISGID
        self._owner = (os.geteuid(), found.st_gid if inherits else os.getegid())

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._root)

    def frame(self, entries: Iterable[Entry]) -> None:
        """Make entries that have no data. Raises TargetFull, CannotWrite."""
        for entry in entries:
            try:
                self._make(entry)
            except OSError as error:
                raise self._failed(entry, error) from None

    def segments(self, segments: Iterable[Segment], data: memoryview) -> None:
        """Write the files, or parts of files, that `data` holds one after another.

        Raises TargetFull, CannotWrite.
        """
        at = 0
        for segment in segments:
            try:
                self._write(segment, data[at : at + segment.length])
            except OSError as error:
                raise self._failed(segment.entry, error) from None
            at += segment.length

    def finish(self) -> None:
        """Make hard links, then set what making things has changed. Raises TargetFull, CannotWrite."""
        for entry in self._hard:
            try:
                os.link(
                    entry.target,
                    entry.path,
                    src_dir_fd=self._root,
                    dst_dir_fd=self._root,
                    follow_symlinks=False,
                )
            except OSError as error:
                raise self._failed(entry, error) from None
        for entry in reversed(self._folders):
            try:
                self._describe_folder(entry)
            except OSError as error:
                raise self._failed(entry, error) from None

    def _make(self, entry: Entry) -> None:
        match entry.kind:
            case Kind.FOLDER:
                self._make_folder(entry)
            case Kind.HARD:
                self._hard.append(entry)
            case Kind.FILE:
                self._new_file(entry, memoryview(b""))
            case Kind.LINK:
                os.symlink(entry.target, entry.path, dir_fd=self._root)
                self._describe(entry)
            case Kind.CHARACTER | Kind.BLOCK | Kind.PIPE:
                types = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.PIPE: stat.S_IFIFO}
                os.mknod(entry.path, types[entry.kind] | 0o600, entry.device, dir_fd=self._root)
                self._describe(entry)

    def _make_folder(self, entry: Entry) -> None:
        self._folders.append(entry)
        if not entry.path:
            return
        try:
            os.mkdir(entry.path, 0o700, dir_fd=self._root)
        except FileExistsError:
            # Another file system is mounted there.
            found = os.stat(entry.path, dir_fd=self._root, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise
            # Or there is a folder of another spelling, to a file system that takes the two for one.
            if not self._is_named(entry.path):
                what = "the file system has a folder of this name in another spelling"
                raise CannotWrite(f"{self._where(entry)}: {what}") from None

    def _is_named(self, path: str) -> bool:
        """Say whether something has exactly this name where it lies."""
        above, _, name = path.rpartition("/")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(above or ".", flags, dir_fd=self._root)
        try:
            with os.scandir(handle) as entries:
                return any(found.name == name for found in entries)
        finally:
            os.close(handle)

    def _write(self, segment: Segment, data: memoryview) -> None:
        entry = segment.entry
        if segment.is_whole:
            self._new_file(entry, data)
            return
        with self._lock:
            is_new = entry.path not in self._begun
            handle = self._open(entry, _NEW if is_new else _OLD)
            if is_new:
                self._begun[entry.path] = data_bytes(entry)
        try:
            _fill(handle, entry, segment.offset, data)
            with self._lock:
                self._begun[entry.path] -= len(data)
                complete = not self._begun[entry.path]
            if complete:
                self._describe_file(handle, entry)
        finally:
            os.close(handle)

    def _new_file(self, entry: Entry, data: memoryview) -> None:
        handle = self._open(entry, _NEW)
        try:
            _fill(handle, entry, 0, data)
            self._describe_file(handle, entry)
        finally:
            os.close(handle)

    def _open(self, entry: Entry, flags: int) -> int:
        return os.open(entry.path, flags, 0o600, dir_fd=self._root)

    def _describe_file(self, handle: int, entry: Entry) -> None:
        """Set owner, attributes, mode and time, in this order: each of the first takes from what follows."""
        if (entry.uid, entry.gid) != self._owner:
            os.fchown(handle, entry.uid, entry.gid)
        self._set_attributes(entry, partial(os.setxattr, handle))
        os.fchmod(handle, entry.mode)
        os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))

    def _describe_folder(self, entry: Entry) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(entry.path or ".", flags, dir_fd=self._root)
        try:
            # It may have been there, as where a file system is mounted.
            os.fchown(handle, entry.uid, entry.gid)
            self._describe_file(handle, entry)
        finally:
            os.close(handle)

    def _describe(self, entry: Entry) -> None:
        """Do the same to what cannot be opened: links, devices, pipes."""
        os.chown(entry.path, entry.uid, entry.gid, dir_fd=self._root, follow_symlinks=False)
        # There is no setxattr by a folder's handle.
        where = f"/proc/self/fd/{self._root}/{entry.path}"
        self._set_attributes(entry, partial(os.setxattr, where, follow_symlinks=False))
        if entry.kind is not Kind.LINK:
            os.chmod(entry.path, entry.mode, dir_fd=self._root)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(entry.path, ns=times, dir_fd=self._root, follow_symlinks=False)

    def _set_attributes(self, entry: Entry, put: Callable[[str, bytes], None]) -> None:
        for name, value in entry.xattrs:
            try:
                put(name, value)
            except OSError as error:
                # A file system says so too of one that it has no room for anywhere: ext4 of more than 4 KiB.
                if error.errno in _FULL and os.fstatvfs(self._root).f_bfree < _ROOM:
                    raise
                what = f"the extended attribute {name!r} of {len(value)} bytes"
                raise CannotWrite(f"{self._where(entry)}: {what}: {error.strerror}") from None

    def _where(self, entry: Entry) -> str:
        # Bytes that are no UTF-8 must be sayable: to a console, in a message to the server.
        return os.fsencode(self._name / entry.path).decode(errors="backslashreplace")

    def _failed(self, entry: Entry, error: OSError) -> BootError:
        where = self._where(entry)
        if error.errno in _FULL:
            return TargetFull(f"no space left at {where}")
        return CannotWrite(f"{where}: {error.strerror}")


def _fill(handle: int, entry: Entry, offset: int, data: memoryview) -> None:
    """Write what stands at `offset` of the file's data to its place between the holes."""
    _place(handle, entry, offset, data)
    if len(data) >= _EARLY:
        # The kernel would begin seconds later, and whoever syncs at the end would wait for the whole disk.
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _place(handle: int, entry: Entry, offset: int, data: memoryview) -> None:
    if not entry.holes:
        _pwrite(handle, data, offset)
        return
    os.ftruncate(handle, entry.size)
    before = 0
    for start, length in entry.data:
        first, last = max(offset, before), min(offset + len(data), before + length)
        if first < last:
            _pwrite(handle, data[first - offset : last - offset], start + first - before)
        before += length


def _pwrite(handle: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(handle, data, offset)
        data, offset = data[written:], offset + written
