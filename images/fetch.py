"""Verified blobs, several at once: from the cache where it has them, else from neighbours or a source.

What is in memory is bounded, whatever the image: an iterator of a Supply fetches no further ahead than
CONNECTIONS + AHEAD blobs, counted until the consumer has asked for the next one and the dongle has taken it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from operator import itemgetter
from types import TracebackType

from host.halt import Halt
from host.http import NotAtServer
from images.cache import Cache
from images.choice import From
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
from images.neighbours import Neighbours
from images.source import CorruptImage, Source
from images.spread import Got, Item, Task, spread
from images.update import MAXIMUM_UPDATE_BYTES
from images.wish import Wish

# Enough to fill 100 Mbit/s at 50 ms and to get along with lost packets; few enough for a small server.
CONNECTIONS = 4
# Blobs that wait for their consumer or the dongle, besides those that are being fetched.
AHEAD = 2
# Blobs that wait for the dongle, of all threads together.
STORING = 3


@dataclass(frozen=True)
class Transfer:
    """Image bytes that came from servers, that were in the cache already, and that came from neighbours."""

    network_bytes: int = 0
    cache_bytes: int = 0
    neighbour_bytes: int = 0

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(
            self.network_bytes + other.network_bytes,
            self.cache_bytes + other.cache_bytes,
            self.neighbour_bytes + other.neighbour_bytes,
        )


def pins(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the digests that the cache must not evict while these images are brought in."""
    return frozenset(
        digest
        for manifest in manifests
        for digest in (manifest.digest, *(blob.sha256 for blob in manifest.blobs))
    )


class Supply:
    """Verified blobs, from the cache, or else from neighbours or the source and then into the cache.

    `near`, where there is such, is also given what comes, to give it on. `keep` names blobs that must not
    be evicted for others. Storing happens beside, by one thread, since a dongle may be slower than the
    network; leaving the with block ends what is being fetched and waits for what is being stored. Every
    method may be called by several threads.
    """

    def __init__(
        self,
        source: Source,
        cache: Cache,
        keep: Collection[str] = (),
        near: Neighbours | None = None,
    ) -> None:
        self._source = source
        self._cache = cache
        self._near = near
        self._keep = frozenset(keep)
        self._most = CONNECTIONS + AHEAD
        self._fetchers = ThreadPoolExecutor(CONNECTIONS, "fetch")
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
        raw = self._get(digest, None, self._halt, MAXIMUM_UPDATE_BYTES).data
        if len(raw) > MAXIMUM_UPDATE_BYTES:
            raise MalformedManifest(f"the update {digest} has {len(raw)} bytes")
        manifest = parse(raw)
        if manifest.kind is not ImageKind.UPDATE:
            raise MalformedManifest(f"{digest} is no update but a {manifest.kind}")
        return manifest

    def ahead(self, blobs: Iterable[Blob]) -> Generator[bytes, None, None]:
        """Yield the contents in the order of `blobs`, several being fetched meanwhile.

        `blobs` is read as far ahead as is fetched. What one of them fails with ends the others, and is
        raised as soon as it is known, before the contents in front of it. Raises as blob() does.
        """
        with closing(self._spread(blobs, self._content, in_order=True)) as found:
            # Not a loop: its variable would keep a content alive while the next one is waited for.
            yield from map(itemgetter(1), found)

    def as_they_come(
        self, blobs: Iterable[Blob], spare: Collection[Blob] = ()
    ) -> Generator[tuple[Blob, bytes], None, None]:
        """Yield blobs with their contents in whatever order they come; for the rest like ahead().

        Of those that are `spare`, what the server lacks or has damaged is yielded empty.
        """

        def content(blob: Blob, halt: Halt) -> Got:
            try:
                return self._content(blob, halt)
            except (CorruptImage, NotAtServer):
                if blob not in spare:
                    raise
                return Got(blob, b"")

        return self._in_any_order(blobs, content)

    def bring_all(self, blobs: Iterable[Blob]) -> Generator[Blob, None, None]:
        """Bring blobs into the cache, several at once, and yield each; ends where the cache takes no more."""
        with closing(self._in_any_order(blobs, self._bring, lambda _: not self.refused)) as found:
            yield from map(itemgetter(0), found)

    def _in_any_order(
        self, blobs: Iterable[Blob], task: Task[Blob], goes_on: Callable[[object], bool] = lambda _: True
    ) -> Generator[tuple[Blob, bytes], None, None]:
        """Yield blobs as they come; among neighbours those first that nobody has, to each node others."""
        near = self._near
        if near is None:
            return self._spread(takewhile(goes_on, blobs), task, in_order=False)
        return self._among(near, blobs, task, goes_on)

    def _among(
        self, near: Neighbours, blobs: Iterable[Blob], task: Task[Blob], goes_on: Callable[[object], bool]
    ) -> Generator[tuple[Blob, bytes], None, None]:
        def picked(wish: Wish, halt: Halt) -> Got:
            while True:
                blob, place = near.swarm.pick(wish, halt)
                if place is not From.NEIGHBOUR:
                    with near.swarm.ending(blob.sha256):
                        return task(blob, halt)
                data = near.take(blob.sha256, blob.size, halt)
                if data is not None:
                    return self._came(blob, data, Transfer(neighbour_bytes=len(data)), halt)
                near.swarm.put_back(wish, blob)

        with near.swarm.wish(blobs, self._is_cached) as wish:
            promises = iter(partial(near.swarm.promise, wish), None)
            yield from self._spread(takewhile(goes_on, promises), picked, in_order=False)

    def _spread(
        self, items: Iterable[Item], task: Task[Item], *, in_order: bool
    ) -> Generator[tuple[Blob, bytes], None, None]:
        halt = Halt()
        with self._lock:
            self._halts.append(halt)
        try:
            yield from spread(items, task, self._fetchers, halt, most=self._most, in_order=in_order)
        finally:
            with self._lock:
                self._halts.remove(halt)

    def _is_cached(self, blob: Blob) -> bool:
        found = self._cache.has(blob)
        if found and self._near is not None:
            self._near.shelf.is_on_dongle(blob.sha256)
        return found

    def _content(self, blob: Blob, halt: Halt) -> Got:
        return self._get(blob.sha256, blob.size, halt)

    def _bring(self, blob: Blob, halt: Halt) -> Got:
        if not self._cache.has(blob):
            return self._content(blob, halt)
        self._cache.touch(blob.sha256)
        self._count(Transfer(cache_bytes=blob.size))
        return Got(blob, b"")

    def _get(self, digest: str, size: int | None, halt: Halt, most: int = MAXIMUM_BLOB_BYTES) -> Got:
        data = self._cache.get(digest, size)
        if data is not None:
            self._count(Transfer(cache_bytes=len(data)))
            return Got(Blob(digest, len(data)), data)
        limit = most if size is None else size
        data = self._near.take(digest, limit, halt) if self._near is not None else None
        moved = Transfer(neighbour_bytes=len(data)) if data is not None else None
        if data is None:
            data = self._source.get(digest, limit, halt)
        if size not in (None, len(data)):
            raise CorruptImage(f"blob {digest} has {len(data)} bytes, {size} are signed")
        return self._came(Blob(digest, len(data)), data, moved or Transfer(network_bytes=len(data)), halt)

    def _came(self, blob: Blob, data: bytes, moved: Transfer, halt: Halt) -> Got:
        """Count what came, have it given on, and have it stored."""
        self._count(moved)
        # A node that is alone keeps its memory.
        if self._near is not None and not self._near.swarm.is_alone:
            self._near.shelf.put(blob.sha256, data, scarce=moved.network_bytes > 0)
        if not self._cache.stores:
            return Got(blob, data)
        self._room.acquire()
        try:
            halt.check()
            return Got(blob, data, self._storer.submit(self._store, blob.sha256, data))
        except BaseException:
            self._room.release()
            raise

    def _store(self, digest: str, data: bytes) -> None:
        try:
            if not self._cache.put(digest, data, self._keep):
                self.refused = True
            elif self._near is not None:
                self._near.shelf.is_on_dongle(digest)
        finally:
            self._room.release()

    def _count(self, transfer: Transfer) -> None:
        with self._lock:
            self.transfer += transfer
