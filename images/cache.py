"""The cache on the dongle: blobs that were fetched once, found again by their SHA-256.

    <folder>/blobs/<sha256>      one blob a file; its modification time says when it was last of use
    <folder>/documents/          see documents.py
    <folder>/lock                flock'ed by whoever writes

The medium is trusted with nothing. What is read is checked like what comes from the network; a dongle
that is torn, full, write-protected, dying, tampered with or missing makes a node slower, never wrong,
so nothing here raises because of it. Names are safe for vfat: lower-case hex, no colons.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from host.events import Events
from host.files import make_folder, read_regular, write_atomic
from host.texts import _
from images.manifest import MAXIMUM_BLOB_BYTES, Blob, is_digest, sha256

log = logging.getLogger(__name__)

# Left free for documents, which are small and matter more than any blob.
RESERVE_BYTES = 4 * 1024 * 1024
LOCK_SECONDS = 20.0
_LOCK_POLL_SECONDS = 0.05
# A dying stick can take half a minute for each refusal; after this many it is left alone.
_READ_FAILURES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\..+")
_TEMPORARY_DOCUMENT = re.compile(r"\.[a-z0-9-]+\.json\..+")


@dataclass(frozen=True)
class _Entry:
    """A blob in the cache: name, size in bytes, when it was last of use (ns)."""

    name: str
    size: int
    used: int


class Cache:
    """Blobs on a medium; with no folder it stores nothing and has nothing.

    `budget_bytes` bounds what all blobs together take; None leaves that to the medium's size. With
    `writable` false nothing is tried that would change the medium.
    """

    def __init__(
        self,
        folder: Path | None,
        events: Events,
        *,
        budget_bytes: int | None = None,
        writable: bool = True,
    ) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        # Without a folder nothing below is reached; nothing can be made in the null device either.
        self._root = folder if folder is not None else Path(os.devnull)
        self.events = events
        self._writable = writable and folder is not None
        self._failures = 0
        self._unreadable: set[str] = set()
        self._told: set[str] = set()

    @property
    def stores(self) -> bool:
        """Whether what is put in has a chance to stay."""
        return self._writable

    def has(self, blob: Blob) -> bool:
        """Say whether there is such a file of that size; only get() knows whether it is sound."""
        if blob.sha256 in self._unreadable:
            return False
        try:
            found = self._path(blob.sha256).lstat() if self._readable else None
        except FileNotFoundError:
            return False
        except OSError as error:
            self._read_failed(error)
            return False
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == blob.size

    def get(self, digest: str, size: int | None = None) -> bytes | None:
        """Return the blob if it is there and sound, else None. A damaged one is removed and told of."""
        if not self._readable:
            return None
        path = self._path(digest)
        try:
            data = read_regular(path, (size or MAXIMUM_BLOB_BYTES) + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                self._read_failed(error)
                self._unreadable.add(digest)
                return None
            data = b""
        if sha256(data) != digest or size not in (None, len(data)):
            self.events.tell("cache.corrupt", sha256=digest)
            log.warning("the cache's copy of %s is damaged; it is fetched again", digest)
            if self._writable:
                with suppress(OSError):
                    path.unlink()
            return None
        self.touch(digest)
        return data

    def touch(self, digest: str) -> None:
        """Note that the blob was of use just now."""
        if self._writable:
            with suppress(OSError):
                os.utime(self._path(digest))

    def put(self, digest: str, data: bytes, keep: Collection[str] = ()) -> bool:
        """Store a verified blob, evicting those longest of no use but never one in `keep`.

        Returns whether it is stored now.
        """
        if not self._writable or not self._readable:
            return False
        try:
            with self._locked() as mine:
                return mine and self._put(digest, data, keep)
        except OSError as error:
            self._write_failed(error)
            return False

    def write_document(self, path: Path, data: bytes) -> bool:
        """Replace a small file durably; returns whether that worked."""
        if not self._writable:
            return False
        try:
            with self._locked() as mine:
                if mine:
                    self._clean_documents(path.parent)
                    write_atomic(path, data)
                return mine
        except OSError as error:
            self._write_failed(error)
            return False

    def read_document(self, path: Path, limit: int) -> bytes | None:
        """Return a small file's content, or None where there is none that can be read."""
        if not self._readable:
            return None
        try:
            data = read_regular(path, limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._read_failed(error)
            return None
        return data if len(data) <= limit else None

    # --- storing ---

    def _put(self, digest: str, data: bytes, keep: Collection[str]) -> bool:
        path = self._path(digest)
        if path.parent.is_symlink():
            raise OSError(errno.ELOOP, "a link in place of the folder", str(path.parent))
        make_folder(path.parent)
        if self.has(Blob(digest, len(data))):
            self.touch(digest)
            return True
        # What is there is damaged or cannot be read, and would take the room of what replaces it.
        path.unlink(missing_ok=True)
        old = [entry for entry in self._entries() if entry.name not in keep]
        old.sort(key=lambda entry: entry.used, reverse=True)
        excess = self._excess(len(data))
        while excess > 0 and old:
            excess -= self._evict(old.pop())
        while excess <= 0:
            try:
                write_atomic(path, data)
                self._unreadable.discard(digest)
                return True
            except OSError as error:
                if error.errno not in _FULL:
                    raise
            if not old:
                break
            self._evict(old.pop())
        self._tell_once("cache.full", budget_bytes=self.budget_bytes)
        return False

    def _excess(self, size: int) -> int:
        """Return how many bytes must go before `size` more may come: by the budget, by the medium."""
        room = os.statvfs(self._root)
        over = size + RESERVE_BYTES - room.f_bavail * room.f_frsize
        if self.budget_bytes is not None:
            over = max(over, size + sum(entry.size for entry in self._entries()) - self.budget_bytes)
        return over

    def _evict(self, entry: _Entry) -> int:
        self._path(entry.name).unlink(missing_ok=True)
        log.info("evicted %s from the cache", entry.name)
        return entry.size

    def _entries(self) -> list[_Entry]:
        """Return the blobs, and remove what a power cut left half written: we hold the lock."""
        found = []
        with os.scandir(self._path("")) as entries:
            for entry in entries:
                # get() removes what is damaged without the lock.
                with suppress(FileNotFoundError):
                    if is_digest(entry.name):
                        status = entry.stat(follow_symlinks=False)
                        found.append(_Entry(entry.name, status.st_size, status.st_mtime_ns))
                    elif _TEMPORARY.fullmatch(entry.name):
                        Path(entry).unlink()
        return found

    def _clean_documents(self, folder: Path) -> None:
        """Remove what a power cut left half written: we hold the lock."""
        with suppress(FileNotFoundError):
            for path in folder.iterdir():
                if _TEMPORARY_DOCUMENT.fullmatch(path.name):
                    path.unlink()

    def _path(self, digest: str) -> Path:
        return self._root / "blobs" / digest

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Exclude other programs; yields False if one holds the lock for too long."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(self._root / "lock", flags, 0o644)
        try:
            yield self._lock(handle)
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> bool:
        give_up = time.monotonic() + LOCK_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                # flock has no time limit, and the other program may hang on the dying stick for ever.
                if time.monotonic() > give_up:
                    self._tell_once("cache.busy", waited_seconds=LOCK_SECONDS)
                    return False
                if not told:
                    told = True
                    what = _("another program that uses the cache")
                    self.events.tell("wait.started", **{"for": what, "seconds": LOCK_SECONDS})
                time.sleep(_LOCK_POLL_SECONDS)

    # --- a medium that fails ---

    @property
    def _readable(self) -> bool:
        return self.folder is not None and self._failures < _READ_FAILURES

    def _read_failed(self, error: OSError) -> None:
        self._failures += 1
        self._tell_once("cache.failed", operation="read", reason=error.strerror or str(error))

    def _write_failed(self, error: OSError) -> None:
        if error.errno in _FULL:
            self._tell_once("cache.full", budget_bytes=self.budget_bytes)
            return
        self._writable = False
        name = "cache.read_only" if error.errno == errno.EROFS else "cache.failed"
        self._tell_once(name, operation="write", reason=error.strerror or str(error))

    def _tell_once(self, event: str, **data: object) -> None:
        if event not in self._told:
            self._told.add(event)
            log.warning("%s: %s", event, data)
            self.events.tell(event, **data)
