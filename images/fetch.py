"""Verified blobs, several at once: from the cache where it has them, else from a source and then into it.

What is in memory is bounded, whatever the image: an iterator of a Supply fetches no further ahead than
CONNECTIONS + AHEAD blobs, counted until the consumer has asked for the next one and the dongle has taken it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from types import TracebackType

from host.halt import Halt
from host.http import NotAtServer
from images.cache import Cache
from images.manifest import (
    MAXIMUM_BLOB_BYTES,
    MAXIMUM_MANIFEST_BYTES,
    Blob,
    ImageKind,
    MalformedManifest,
    Manifest,
    SignedImage,
    is_digest,
    parse,
)
from images.source import CorruptImage, Source
from images.spread import Got, Task, spread

# Enough to fill 100 Mbit/s at 50 ms and to get along with lost packets; few enough for a small server.
CONNECTIONS = 4
# Blobs that wait for their consumer or the dongle, besides those that are being fetched.
AHEAD = 2
# Blobs that wait for the dongle, of all threads together.
STORING = 3


@dataclass(frozen=True)
class Transfer:
    """Image bytes that came over the network, and that were in the cache already."""

    network_bytes: int = 0
    cache_bytes: int = 0

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(self.network_bytes + other.network_bytes, self.cache_bytes + other.cache_bytes)


def pins(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the digests that the cache must not evict while these images are brought in."""
    return frozenset(
        digest
        for manifest in manifests
        for digest in (manifest.digest, *(blob.sha256 for blob in manifest.blobs))
    )


class Supply:
    """Verified blobs, from the cache or else from the source and then into the cache.

    `keep` names blobs that must not be evicted for others. Storing happens beside, by one thread, since a
    dongle may be slower than the network; leaving the with block ends what is being fetched and waits for
    what is being stored. Every method may be called by several threads.
    """

    def __init__(
        self, source: Source, cache: Cache, keep: Collection[str] = (), connections: int = CONNECTIONS
    ) -> None:
        self._source = source
        self._cache = cache
        self._keep = frozenset(keep)
        self._most = connections + AHEAD
        self._fetchers = ThreadPoolExecutor(connections, "fetch")
        self._storer = ThreadPoolExecutor(1, "store")
        self._room = threading.Semaphore(STORING)
        self._lock = threading.Lock()
        self._halt = Halt()
        self._halts = [self._halt]
        self.transfer = Transfer()
        # The cache could not take a blob: no use to bring more for its sake alone.
        self.refused = not cache.stores

    def __enter__(self) -> Supply:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        with self._lock:
            halts = list(self._halts)
        for halt in halts:
            halt.set()
        self._fetchers.shutdown(wait=True, cancel_futures=True)
        self._storer.shutdown(wait=True)

    def blob(self, blob: Blob) -> bytes:
        """Return the content. Raises CorruptImage, NotAtServer, ServerUnreachable, ServerUntrusted."""
        return self._get(blob.sha256, blob.size, self._halt).data

    def manifest(self, signed: SignedImage) -> Manifest:
        """Return an image's manifest. Raises as blob() does, and MalformedManifest."""
        if not is_digest(signed.sha256):
            # It becomes a path in the cache and at the server.
            raise MalformedManifest(f"image {signed.name!r} is not named by a SHA-256")
        if (signed.size or 0) > MAXIMUM_MANIFEST_BYTES:
            raise MalformedManifest(f"{signed.name}: {signed.size} bytes are signed")
        manifest = parse(self._get(signed.sha256, signed.size, self._halt).data)
        if manifest.name != signed.name:
            raise MalformedManifest(f"signed as {signed.name} is the manifest of {manifest.name}")
        return manifest

    def update(self, digest: str) -> Manifest:
        """Return an update's manifest, which nobody signed. Raises as manifest() does."""
        manifest = parse(self._get(digest, None, self._halt).data)
        if manifest.kind is not ImageKind.UPDATE:
            raise MalformedManifest(f"{digest} is no update but a {manifest.kind}")
        return manifest

    def ahead(self, blobs: Iterable[Blob], spare: Collection[Blob] = ()) -> Generator[bytes, None, None]:
        """Yield the contents in the order of `blobs`, several being fetched meanwhile.

        Of those that are `spare`, what the server lacks or has damaged is yielded empty.

        `blobs` is read as far ahead as is fetched. What one of them fails with ends the others, and is
        raised as soon as it is known, before the contents in front of it. Raises as blob() does.
        """

        def content(blob: Blob, halt: Halt) -> Got:
            try:
                return self._content(blob, halt)
            except (CorruptImage, NotAtServer):
                if blob not in spare:
                    raise
                return Got(b"")

        with closing(self._spread(blobs, content, in_order=True)) as found:
            # Not a loop: its variable would keep a content alive while the next one is waited for.
            yield from map(itemgetter(1), found)

    def bring_all(self, blobs: Iterable[Blob]) -> Generator[Blob, None, None]:
        """Bring blobs into the cache, several at once, and yield each; ends where the cache takes no more."""
        wanted = takewhile(lambda _: not self.refused, blobs)
        with closing(self._spread(wanted, self._bring, in_order=False)) as found:
            yield from map(itemgetter(0), found)

    def _spread(
        self, blobs: Iterable[Blob], task: Task, *, in_order: bool
    ) -> Generator[tuple[Blob, bytes], None, None]:
        halt = Halt()
        with self._lock:
            self._halts.append(halt)
        try:
            yield from spread(blobs, task, self._fetchers, halt, most=self._most, in_order=in_order)
        finally:
            with self._lock:
                self._halts.remove(halt)

    def _content(self, blob: Blob, halt: Halt) -> Got:
        return self._get(blob.sha256, blob.size, halt)

    def _bring(self, blob: Blob, halt: Halt) -> Got:
        if not self._cache.has(blob):
            return self._content(blob, halt)
        self._cache.touch(blob.sha256)
        self._count(Transfer(cache_bytes=blob.size))
        return Got(b"")

    def _get(self, digest: str, size: int | None, halt: Halt) -> Got:
        data = self._cache.get(digest, size)
        if data is not None:
            self._count(Transfer(cache_bytes=len(data)))
            return Got(data)
        data = self._source.get(digest, MAXIMUM_BLOB_BYTES if size is None else size, halt)
        if size not in (None, len(data)):
            raise CorruptImage(f"blob {digest} has {len(data)} bytes, {size} are signed")
        self._count(Transfer(network_bytes=len(data)))
        if not self._cache.stores:
            return Got(data)
        self._room.acquire()
        try:
            halt.check()
            return Got(data, self._storer.submit(self._store, digest, data))
        except BaseException:
            self._room.release()
            raise

    def _store(self, digest: str, data: bytes) -> None:
        try:
            if not self._cache.put(digest, data, self._keep):
                self.refused = True
        finally:
            self._room.release()

    def _count(self, transfer: Transfer) -> None:
        with self._lock:
            self.transfer += transfer
