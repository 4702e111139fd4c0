"""The disk, or the file in its place, that a disk image is written to.

It begins blank: what it held is gone before the first byte is written. A device that can make blocks read
as zeros by itself (NVMe, virtio, SSDs that promise it, loop devices) does that for the whole disk at
once, and frees them; on any other one zeros are written, to the holes of the image only. The beginning of
the disk, where firmware looks for something to start, is written last, after all else is durable: a disk
that is half written never boots.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.disks import DiskBusy
from host.os_errors import DiskWriteFailed
from wire.errors import ConfigurationError

WITHHELD_BYTES = 1024 * 1024
_MIB = 1024 * 1024
_PAGE = 4096
# What a call into the kernel is given to blank at once, so that a signal need not wait for a whole disk.
_BLANK_BYTES = 16 * 1024 * _MIB
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# linux/falloc.h. On a block device (fallocate(2), block/fops.c) punching a hole makes the device zero it
# and may free it, and is refused if that would take writing; zeroing a range writes zeros in that case.
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16


class TargetTooSmall(ConfigurationError):
    """A disk image is larger than what it is to be written to."""

    code = "target-too-small"
    title = "The disk image does not fit"
    hint = "Name a larger disk for it in the node's configuration, or publish an image of a smaller disk."


class DiskTarget:
    """An open disk; put() may be called by several threads at once for ranges that do not overlap."""

    def __init__(self, path: Path, handle: int, direct: int, disk_bytes: int) -> None:
        """`direct` is for transfers in whole pages, and may be the same as `handle`."""
        self._path = path
        self._handle = handle
        self._direct = direct
        self._disk_bytes = disk_bytes
        self._is_device = stat.S_ISBLK(os.fstat(handle).st_mode)
        self._size = os.lseek(handle, 0, os.SEEK_END)
        self._head = bytearray(min(WITHHELD_BYTES, disk_bytes))
        # Whether all of it reads as zeros but what was put.
        self._is_blank = False

    def check_room(self, data_bytes: int) -> None:
        """Raise TargetTooSmall where the image cannot fit; nothing is changed."""
        if self._is_device:
            wanted, there = self._disk_bytes, self._size
        else:
            room = os.fstatvfs(self._handle)
            wanted = data_bytes
            there = room.f_bavail * room.f_frsize + os.fstat(self._handle).st_blocks * 512
        if wanted > there:
            raise TargetTooSmall(
                f"{wanted // _MIB} MiB are wanted in {self._path}, there are {there // _MIB} MiB"
            )

    def blank(self) -> None:
        """Do away with what was there, durably as to what could be started."""
        with _blamed(self._path):
            if self._is_device:
                self._is_blank = self._punch()
                if not self._is_blank:
                    self._write(0, memoryview(self._head), self._handle)
                    self._zero_tail()
            else:
                os.ftruncate(self._handle, 0)
                os.ftruncate(self._handle, self._disk_bytes)
                self._is_blank = True
            os.fsync(self._handle)

    def hole(self, offset: int, length: int) -> None:
        """See to it that a range reads as zeros."""
        if self._is_blank:
            return
        # By whole pages, which are whole blocks on any disk; what is left at the ends is written.
        end = offset + length
        start = min(end, offset + -offset % _PAGE)
        stop = max(start, end - end % _PAGE)
        with _blamed(self._path):
            self._write(offset, memoryview(bytes(start - offset)), self._handle)
            for at in range(start, stop, _BLANK_BYTES):
                _fallocate(self._handle, _ZERO_RANGE, at, min(_BLANK_BYTES, stop - at))
            self._write(stop, memoryview(bytes(end - stop)), self._handle)

    def put(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`; what belongs to the beginning is kept until finish()."""
        kept = max(0, min(len(data), len(self._head) - offset))
        self._head[offset : offset + kept] = data[:kept]
        offset, data = offset + kept, data[kept:]
        whole = len(data) - len(data) % _PAGE if offset % _PAGE == 0 else 0
        with _blamed(self._path):
            self._write(offset, data[:whole], self._direct)
            self._write(offset + whole, data[whole:], self._handle)

    def finish(self) -> None:
        """Make everything durable, and only then write the beginning."""
        with _blamed(self._path):
            os.fsync(self._handle)
            self._write(0, memoryview(self._head), self._handle)
            os.fsync(self._handle)

    def read(self, offset: int, length: int) -> bytes:
        """Return what stands there, which is less at the end of the disk."""
        with _blamed(self._path):
            return os.pread(self._handle, length, offset)

    def forget(self) -> None:
        """Let the next reads ask the disk itself, as far as all was synced, and not the kernel's memory."""
        with _blamed(self._path):
            os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def _punch(self) -> bool:
        """Let the device zero itself; return whether it can."""
        try:
            for at in range(0, self._size, _BLANK_BYTES):
                _fallocate(self._handle, _PUNCH_HOLE, at, min(_BLANK_BYTES, self._size - at))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return False
        return True

    def _zero_tail(self) -> None:
        """Zero the end of a disk that is larger than the image: backup tables and RAID metadata are there."""
        start = max(self._disk_bytes, self._size - _MIB)
        if start < self._size:
            self._write(start, memoryview(bytes(self._size - start)), self._handle)

    def _write(self, offset: int, data: memoryview, handle: int) -> None:
        while data:
            written = os.pwrite(handle, data, offset)
            offset, data = offset + written, data[written:]


@contextmanager
def looked_at(path: Path, disk_bytes: int) -> Iterator[DiskTarget]:
    """Open a block device or a file for read() alone, whoever uses it. Raises DiskWriteFailed."""
    with _blamed(path):
        handle = _open(path, os.O_RDONLY, in_use=0)
    try:
        yield DiskTarget(path, handle, handle, disk_bytes)
    finally:
        os.close(handle)


@contextmanager
def opened(path: Path, disk_bytes: int) -> Iterator[DiskTarget]:
    """Open a block device that nothing uses, or a file.

    Raises DiskBusy, TargetTooSmall, DiskWriteFailed.
    """
    with _blamed(path):
        # Exclusively: the kernel refuses it for a disk that is mounted or that anything stands on.
        handle = _open(path, os.O_RDWR, in_use=os.O_EXCL)
    try:
        if not stat.S_ISBLK(os.fstat(handle).st_mode):
            yield DiskTarget(path, handle, handle, disk_bytes)
            return
        # Not through the kernel's memory: that is a copy of each byte, and the node may have little of it.
        with _blamed(path):
            direct = os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        try:
            yield DiskTarget(path, handle, direct, disk_bytes)
        finally:
            os.close(direct)
    finally:
        os.close(handle)


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # A device that is full has promised more than it has.
        if error.errno in _FULL and not path.is_block_device():
            raise TargetTooSmall(f"no space left in {path}") from None
        raise DiskWriteFailed(f"{path}: {error.strerror}") from None


def _open(path: Path, mode: int, *, in_use: int) -> int:
    is_device = path.is_block_device()
    flags = in_use if is_device else os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, mode | os.O_CLOEXEC | flags)
    except OSError as error:
        if is_device and error.errno == errno.EBUSY:
            raise DiskBusy(str(path)) from None
        raise
    if is_device or stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.ENOTBLK, "neither a disk nor a file", str(path))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _fallocate(handle: int, mode: int, offset: int, length: int) -> None:
    """Call fallocate(2), for which Python has no name but for its simplest form. Raises OSError."""
    if _libc.fallocate64(handle, mode | _KEEP_SIZE, offset, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
