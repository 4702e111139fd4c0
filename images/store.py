"""The folder that the server keeps blobs in: `ab/abcdef...`, each file named by its SHA-256."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from host.files import write_atomic
from images import zstd_frame
from images.manifest import Blob, is_digest, sha256
from wire.errors import TransientError, VerificationError

# How the names of folders for temporary files within the store begin.
SCRATCH = ".disk."


class StoredBlobDamaged(VerificationError):
    """A file in the store does not have the content its name says, or is not there."""

    code = "stored-blob-damaged"
    title = "A blob in the server's store is damaged or missing"
    hint = "Publish the image again: bootserver image publish NAME PATH puts back what is damaged."


class StoreUnusable(TransientError):
    """The folder of blobs could not be read or written now."""

    code = "store-unusable"
    title = "The server's store of images cannot be used"
    hint = "See that its disk is not full (bootserver image gc) and that this user may write there."


class BlobStore:
    """Blobs in a folder. Files are whole or not there; several programs may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self, *, alone: bool = False) -> Iterator[None]:
        """Keep blobs from being removed for the length of a with block; `alone` is for who removes them.

        Waits for as long as others hold it. Raises StoreUnusable.
        """
        with _usable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)

    def remove_all_but(self, kept: Collection[str]) -> tuple[int, int]:
        """Remove blobs that are not named; return how many, and their bytes. Within held(alone=True).

        What a power cut left half written goes too, and is not counted. Raises StoreUnusable.
        """
        removed = size = 0
        with _usable(self.folder):
            for digest in list(self.digests()):
                if digest not in kept:
                    path = self.path(digest)
                    size += path.stat().st_size
                    path.unlink()
                    removed += 1
            for path in self.folder.glob("[0-9a-f][0-9a-f]/.*"):
                path.unlink()
            # Of the size of a disk; who makes one now would hold the store.
            for path in self.folder.glob(f"{SCRATCH}*"):
                shutil.rmtree(path)
        return removed, size

    def path(self, digest: str) -> Path:
        """Return where the blob is or would be. Raises ValueError for what is no digest."""
        if not is_digest(digest):
            raise ValueError("not a SHA-256 in lower-case hex")
        return self.folder / digest[:2] / digest

    def has(self, digest: str) -> bool:
        """Say whether there is such a blob; its content is not looked at."""
        return is_digest(digest) and self.path(digest).is_file()

    def get(self, digest: str) -> bytes:
        """Return the verified content. Raises StoredBlobDamaged, StoreUnusable."""
        path = self.path(digest)
        try:
            with _usable(path, but=(errno.ENOENT, errno.EIO)):
                data = path.read_bytes()
        except OSError as error:
            raise StoredBlobDamaged(f"{path}: {error.strerror}") from None
        if sha256(data) != digest:
            raise StoredBlobDamaged(str(path))
        return data

    def put(self, data: bytes) -> str:
        """Keep `data` durably and return its digest; a damaged blob of that name is replaced.

        Raises StoreUnusable.
        """
        digest = sha256(data)
        if not self.is_sound(digest):
            with _usable(self.folder):
                write_atomic(self.path(digest), data)
        return digest

    def put_compressed(self, data: bytes, level: int) -> Blob:
        """Keep `data` as one zstd frame, and return that. Raises StoreUnusable."""
        frame = zstd_frame.compress(data, level)
        return Blob(self.put(frame), len(frame))

    def is_sound(self, digest: str) -> bool:
        """Say whether the blob is there with the right content."""
        try:
            self.get(digest)
        except StoredBlobDamaged:
            return False
        return True

    def digests(self) -> Iterator[str]:
        """Yield the name of every blob, sorted."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path.name for path in folder.iterdir() if is_digest(path.name))

    def damaged(self) -> Iterator[str]:
        """Read everything; yield the name of every blob whose content is wrong."""
        return (digest for digest in self.digests() if not self.is_sound(digest))


@contextmanager
def _usable(path: Path, but: Collection[int] = ()) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in but:
            raise
        raise StoreUnusable(f"{path}: {error.strerror}") from None
