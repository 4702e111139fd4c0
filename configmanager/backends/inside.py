"""Writing into a sliver's tree from the node.

Root of the sliver owns the tree and may turn any folder into a link that leads out of it, at any time.
So every folder on the way is opened by itself, relative to the one before and never through a link.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wire.errors import VerificationError

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafeTree(VerificationError):
    """A path in the sliver's tree is not what it must be."""

    code = "unsafe-sliver-tree"
    title = "A sliver's tree has something else in the place of a folder"
    hint = "The slice's owner replaced it (by a link, perhaps); correct it within the sliver."


@dataclass(frozen=True)
class InsideFile:
    """A file in the sliver, by its path below the sliver's root. Missing folders get `folder_mode`."""

    path: str
    text: str
    mode: int = 0o644
    folder_mode: int = 0o755


def write_inside(tree: Path, file: InsideFile) -> None:
    """Write one file, whole or not at all, owned as the tree is. Raises UnsafeTree, OSError."""
    parts = PurePosixPath(file.path).parts
    if not parts or ".." in parts or file.path.startswith("/"):
        raise ValueError(f"{file.path!r} is no path below a sliver's root")
    temporary = f".{parts[-1]}.bm-new"
    with _folder(tree, parts[:-1], file.folder_mode) as (folder, owner, group):
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        handle = os.open(temporary, _NEW_FLAGS, 0o600, dir_fd=folder)
        with os.fdopen(handle, "wb") as stream:
            os.fchown(handle, owner, group)
            os.fchmod(handle, file.mode)
            stream.write(file.text.encode())
            stream.flush()
            os.fsync(handle)
        try:
            os.replace(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except IsADirectoryError:
            raise UnsafeTree(f"{tree}: /{file.path} is a folder") from None
        os.fsync(folder)


@contextmanager
def _folder(tree: Path, parts: tuple[str, ...], mode: int) -> Iterator[tuple[int, int, int]]:
    """Yield a handle of the folder, and owner and group of the tree."""
    handle = os.open(tree, _FOLDER_FLAGS)
    try:
        status = os.fstat(handle)
        for number, part in enumerate(parts, 1):
            inner = _enter(handle, part, mode, (status.st_uid, status.st_gid))
            if inner is None:
                raise UnsafeTree(f"{tree}: /{'/'.join(parts[:number])} is no folder")
            os.close(handle)
            handle = inner
        yield handle, status.st_uid, status.st_gid
    finally:
        os.close(handle)


def _enter(outer: int, name: str, mode: int, owner: tuple[int, int]) -> int | None:
    made = False
    try:
        os.mkdir(name, mode, dir_fd=outer)
        made = True
    except FileExistsError:
        pass
    try:
        handle = os.open(name, _FOLDER_FLAGS, dir_fd=outer)
    except OSError:
        return None
    if made:
        os.fchown(handle, *owner)
        os.fchmod(handle, mode)
    return handle
