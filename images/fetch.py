"""Blobs from the server, and from the cache where it has them: nothing leaves here unverified."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from host.http import PATIENT, AnswerTooLong, HttpClient
from images.cache import Cache
from images.manifest import (
    MAXIMUM_MANIFEST_BYTES,
    Blob,
    MalformedManifest,
    Manifest,
    SignedImage,
    is_digest,
    parse,
    sha256,
)
from wire.errors import VerificationError

BLOBS_PATH = "/images/blobs/"
# Blobs read ahead of who uses them, and blobs that wait for a slow dongle: 4 MiB each.
AHEAD = 3
STORING = 3


class CorruptImage(VerificationError):
    """What the server sent is not what was signed."""

    code = "corrupt-image"
    title = "An image at the server is corrupt"
    hint = "Publish it again at the server: bootserver image publish NAME FILE. Then set the intent again."


@dataclass(frozen=True)
class Transfer:
    """Image bytes that came over the network, and that were in the cache already."""

    network_bytes: int = 0
    cache_bytes: int = 0

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(self.network_bytes + other.network_bytes, self.cache_bytes + other.cache_bytes)


class Source(Protocol):
    """Where blobs come from that the cache does not have. Used by one thread at a time."""

    def get(self, digest: str, limit: int) -> bytes:
        """Return the verified blob, of at most `limit` bytes."""


class HttpSource:
    """A bootserver. Blobs never change, so lost answers are asked for again within bounds."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def get(self, digest: str, limit: int) -> bytes:
        """Raises CorruptImage, NotAtServer, ServerUnreachable."""
        path = BLOBS_PATH + digest
        try:
            data = self._http.get(path, limit=limit, retry=PATIENT)
        except AnswerTooLong as error:
            raise CorruptImage(error.detail) from None
        found = sha256(data)
        if found != digest:
            raise CorruptImage(f"{self._http.base_url}{path} has {len(data)} bytes with SHA-256 {found}")
        return data


class Supply:
    """Verified blobs, from the cache or else from the source and then into the cache.

    `keep` names blobs that must not be evicted for others. Storing happens beside, since a dongle may be
    slower than the network; leaving the with block waits for it.
    """

    def __init__(self, source: Source, cache: Cache, keep: Collection[str] = ()) -> None:
        self._source = source
        self._cache = cache
        self._keep = frozenset(keep)
        self._storer = ThreadPoolExecutor(1, "store")
        self._room = threading.Semaphore(STORING)
        self.transfer = Transfer()
        # The cache could not take a blob: no use to bring more for its sake alone.
        self.refused = not cache.stores

    def __enter__(self) -> Supply:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self._storer.shutdown(wait=True)

    def blob(self, blob: Blob) -> bytes:
        """Return the content. Raises CorruptImage, NotAtServer, ServerUnreachable."""
        return self._get(blob.sha256, blob.size, blob.size)

    def manifest(self, signed: SignedImage) -> Manifest:
        """Return an image's manifest. Raises as blob() does, and MalformedManifest."""
        if not is_digest(signed.sha256):
            # It becomes a path in the cache and at the server.
            raise MalformedManifest(f"image {signed.name!r} is not named by a SHA-256")
        limit = MAXIMUM_MANIFEST_BYTES if signed.size is None else signed.size
        if limit > MAXIMUM_MANIFEST_BYTES:
            raise MalformedManifest(f"{signed.name}: {limit} bytes are signed")
        manifest = parse(self._get(signed.sha256, signed.size, limit))
        if manifest.name != signed.name:
            raise MalformedManifest(f"signed as {signed.name} is the manifest of {manifest.name}")
        return manifest

    def _get(self, digest: str, size: int | None, limit: int) -> bytes:
        data = self._cache.get(digest, size)
        if data is not None:
            self.transfer += Transfer(cache_bytes=len(data))
            return data
        data = self._source.get(digest, limit)
        if size not in (None, len(data)):
            raise CorruptImage(f"blob {digest} has {len(data)} bytes, {size} are signed")
        self.transfer += Transfer(network_bytes=len(data))
        if self._cache.stores:
            self._room.acquire()
            self._storer.submit(self._store, digest, data)
        return data

    def bring(self, blob: Blob) -> None:
        """See to it that the cache has the blob; what is there already is not read."""
        if self._cache.has(blob):
            self._cache.touch(blob.sha256)
            self.transfer += Transfer(cache_bytes=blob.size)
        else:
            self.blob(blob)

    def ahead(self, blobs: Sequence[Blob]) -> Generator[bytes, None, None]:
        """Yield the contents in order, reading a few blobs ahead in another thread."""
        with ThreadPoolExecutor(1, "fetch") as fetcher:
            waiting: deque[Future[bytes]] = deque()
            try:
                for blob in blobs:
                    waiting.append(fetcher.submit(self.blob, blob))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                fetcher.shutdown(wait=False, cancel_futures=True)

    def _store(self, digest: str, data: bytes) -> None:
        try:
            if not self._cache.put(digest, data, self._keep):
                self.refused = True
        finally:
            self._room.release()
