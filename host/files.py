"""Files that are either whole or not there, also after a power cut."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write `path` so that every reader, at any time, sees the old or the new content.

    A temporary file in the same folder, fsync, rename, fsync of both; missing folders are made.
    Raises OSError with the name of the file.
    """
    raw = data.encode() if isinstance(data, str) else data
    make_folder(path.parent)
    try:
        _replace(path, raw, mode)
    except OSError as error:
        if error.errno is not None:
            # Neither writing nor fsync says of which file, and the name of the temporary one tells nobody.
            error.filename = str(path)
        raise


def _replace(path: Path, raw: bytes, mode: int) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            # vfat keeps size and first cluster beside the name, and writes a new name with none of both.
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_regular(path: Path, limit: int) -> bytes:
    """Return at most `limit` bytes of a regular file, for media that somebody may have tampered with.

    A symbolic link, device or pipe of that name is neither followed nor waited for: OSError, ELOOP.
    """
    with os.fdopen(_open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read(limit)


def open_to_append(path: Path) -> BinaryIO:
    """Open a regular file to append to, making it where it is not there; as careful as read_regular()."""
    return os.fdopen(_open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _open_regular(path: Path, flags: int) -> int:
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.ELOOP, "not a regular file", str(path))


def make_folder(path: Path) -> None:
    """Make a folder durably, with those above it that are missing."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        # Until then the first names in it are its parent's to Linux's vfat, and not synced with it.
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
