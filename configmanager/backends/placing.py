"""Writing at places below the node's root: beside first, then renamed; no link on the way is followed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wire.errors import ConfigurationError

_PIECE = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PlaceTaken(ConfigurationError):
    """A file cannot be laid where it should be, because of what is there."""

    code = "place-taken"
    title = "A file of the node has no place"
    hint = "Give it another path at the server, or look at what is there; it was not touched."


@dataclass(frozen=True)
class Entry:
    """What shall be at `path` below the root: a file, folder or symbolic link, as `mode` says in full.

    A file's content is `data`, or that of the file `source`, with its times and extended attributes. A link
    leads to `data`. Without an `owner` (user, group) it is whoever writes.
    """

    path: str
    mode: int
    owner: tuple[int, int] | None = None
    data: bytes = b""
    source: Path | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


class Places:
    """The places below a root. Every method raises OSError where the disk fails, and PlaceTaken."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, entry: Entry, kept: Path) -> bool:
        """Keep as `kept` what is in an entry's place; returns whether anything was there.

        A folder where one shall be is no matter of an entry: FileExistsError.
        """
        try:
            with self._parent(entry.path) as parent:
                there = os.lstat(entry.name, dir_fd=parent)
                if entry.is_folder and stat.S_ISDIR(there.st_mode):
                    raise FileExistsError(entry.path)
                if entry.is_folder:
                    raise PlaceTaken(f"/{entry.path}: is no folder, and something shall be laid in it")
                if not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
                    raise PlaceTaken(f"/{entry.path}: something else is there")
                kept.unlink(missing_ok=True)
                try:
                    os.link(entry.name, kept, src_dir_fd=parent, follow_symlinks=False)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    _copy(self._root / entry.path, kept)
        except FileNotFoundError:
            return False
        return True

    def put_back(self, path: str, kept: Path | None) -> None:
        """Put back what was kept, or nothing; doing so again changes nothing."""
        name = _name(path)
        # A folder that somebody took away has nothing to be put back into.
        with suppress(FileNotFoundError), self._parent(path) as parent:
            _unlink(_beside(name), parent)
            if kept is None:
                _unlink(name, parent)
                return
            try:
                os.link(kept, _beside(name), dst_dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(kept, (self._root / path).with_name(_beside(name)))
            os.rename(_beside(name), name, src_dir_fd=parent, dst_dir_fd=parent)
            # Of two names of one file rename() leaves both.
            _unlink(_beside(name), parent)

    def make_folder(self, entry: Entry) -> None:
        """Make a folder, or give it the attributes that it shall have."""
        with self._parent(entry.path) as parent:
            with suppress(FileExistsError):
                os.mkdir(entry.name, dir_fd=parent)
            handle = os.open(entry.name, _FOLDER, dir_fd=parent)
            try:
                _dress(handle, entry)
            finally:
                os.close(handle)

    def remove_folder(self, path: str) -> None:
        """Remove a folder if nothing is in it."""
        with suppress(FileNotFoundError), self._parent(path) as parent, suppress(OSError):
            os.rmdir(_name(path), dir_fd=parent)

    def write_beside(self, entry: Entry) -> None:
        """Write a file or link beside its place."""
        beside = _beside(entry.name)
        with self._parent(entry.path) as parent:
            _unlink(beside, parent)
            if stat.S_ISLNK(entry.mode):
                os.symlink(entry.data, beside, dir_fd=parent)
                if entry.owner is not None:
                    os.chown(beside, *entry.owner, dir_fd=parent, follow_symlinks=False)
                return
            with os.fdopen(os.open(beside, _NEW_FILE, 0o600, dir_fd=parent), "wb") as file:
                if entry.source is None:
                    file.write(entry.data)
                else:
                    with entry.source.open("rb") as source:
                        shutil.copyfileobj(source, file, _PIECE)
                file.flush()
                _dress(file.fileno(), entry)

    def switch(self, entry: Entry) -> None:
        """Let what was written beside count."""
        with self._parent(entry.path) as parent:
            os.rename(_beside(entry.name), entry.name, src_dir_fd=parent, dst_dir_fd=parent)

    def abandon(self, entry: Entry) -> None:
        """Remove what was written beside."""
        with suppress(FileNotFoundError), self._parent(entry.path) as parent:
            _unlink(_beside(entry.name), parent)

    def has(self, entry: Entry) -> bool:
        """Say whether a file or link is in its place as it shall be, but for its times."""
        path = self._root / entry.path
        try:
            there = path.lstat()
            if there.st_mode != entry.mode:
                return False
            if entry.owner is not None and (there.st_uid, there.st_gid) != entry.owner:
                return False
            if stat.S_ISLNK(there.st_mode):
                return os.fsencode(path.readlink()) == entry.data
            if entry.source is None:
                return there.st_size == len(entry.data) and path.read_bytes() == entry.data
            return _same_content(path, entry.source)
        except FileNotFoundError:
            return False

    def stamp(self, path: str) -> tuple[int, ...]:
        """Return what of a file changes when somebody changes it, () if it is not there."""
        try:
            there = (self._root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return there.st_mode, there.st_uid, there.st_gid, there.st_size, there.st_mtime_ns

    @contextmanager
    def _parent(self, path: str) -> Iterator[int]:
        """Give the folder of a path; links on the way are not followed. Raises PlaceTaken."""
        handle = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for part in path.split("/")[:-1]:
                try:
                    inner = os.open(part, _FOLDER, dir_fd=handle)
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        raise PlaceTaken(f"/{path}: {part} on its way is no folder, or a link") from None
                    raise
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)


def _dress(handle: int, entry: Entry) -> None:
    """Give owner, attributes, mode and times, in the order in which none takes another away."""
    if entry.owner is not None:
        os.fchown(handle, *entry.owner)
    if entry.source is not None:
        for name in os.listxattr(entry.source):
            os.setxattr(handle, name, os.getxattr(entry.source, name))
    os.fchmod(handle, stat.S_IMODE(entry.mode))
    if entry.source is not None:
        times = entry.source.stat()
        os.utime(handle, ns=(times.st_atime_ns, times.st_mtime_ns))


def _same_content(one: Path, other: Path) -> bool:
    size = one.stat().st_size
    if size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        return all(first.read(_PIECE) == second.read(_PIECE) for _ in range(0, size, _PIECE))


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _beside(name: str) -> str:
    return f".{name}.bm-new"


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or link with its attributes: to another file system, where there is no link to it."""
    with suppress(FileNotFoundError):
        target.unlink()
    shutil.copyfile(source, target, follow_symlinks=False)
    there = source.lstat()
    os.chown(target, there.st_uid, there.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)
