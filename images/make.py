"""Makes an image out of a source: entries in the order of their paths, data in packs, both compressed.

Deterministic: the same tree gives the same manifest and blobs (with the same zstd). Where a pack ends is
decided by the path that it ends with, as soon as it has its least size: so a change moves the borders of few
packs, and two images that are much alike have many packs in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from images import index
from images.entries import Entry, Kind
from images.index import Segment, data_bytes, order
from images.manifest import (
    MAXIMUM_UNPACKED_BYTES,
    ImageKind,
    MalformedManifest,
    Manifest,
    Pack,
    Piece,
    check,
    is_image_name,
    sha256,
)
from images.sources.base import Member, NotAnImage, Source
from images.store import BlobStore
from images.walk import Walk

# Data, before compression, of a pack: at least, and at most. A file that is larger is cut.
LEAST_PACK_BYTES = 4 * 1024 * 1024
MOST_PACK_BYTES = 8 * 1024 * 1024
# One path in so many ends a pack that has its least size.
_BORDER = 16
# 6 s for a Debian root, and 137 MB; level 3 takes 2 s and 152 MB, level 19 125 s and 123 MB.
LEVEL = 10
PIECE_ROWS = 4_000
# Where very small files do not fill a pack it ends all the same.
MOST_PIECE_ROWS = 16_000
_THREADS = 2
_BLOCK = 1024 * 1024


def make_image(name: str, source: Source, store: BlobStore) -> Manifest:
    """Put the tree's blobs, and last the manifest that names them, into the store.

    The manifest's `digest` is what nodes are told. Raises NotAnImage, StoreUnusable, OSError; then no
    manifest is stored.
    """
    if not is_image_name(name):
        raise NotAnImage(f"{name!r} cannot be the name of an image: a-z 0-9 . _ - and at most 64 of them")
    members = sorted(source.members(), key=lambda member: order(member.entry.path))
    with ThreadPoolExecutor(_THREADS, "compress") as pool:
        pieces = tuple(_Maker(store, pool).pieces(members))
    manifest = Manifest(name, ImageKind.TREE, pieces)
    with _refused():
        check(manifest)
    store.put(manifest.to_bytes())
    return manifest


class _Maker:
    """Cuts sorted members into pieces and packs; what is compressed goes into the store at once."""

    def __init__(self, store: BlobStore, pool: ThreadPoolExecutor) -> None:
        self._store = store
        self._pool = pool
        self._walk = Walk()
        self._frame: list[Entry] = []
        self._packs: list[tuple[list[Segment], Future[Pack]]] = []
        self._segments: list[Segment] = []
        self._data = bytearray()
        self._rows = 0

    def pieces(self, members: Iterable[Member]) -> Iterator[Piece]:
        for member in members:
            self._add(member)
            if self._rows >= MOST_PIECE_ROWS:
                self._end_pack()
            if self._rows >= PIECE_ROWS and not self._segments:
                yield self._piece()
        self._end_pack()
        yield self._piece()
        with _refused():
            self._walk.end()

    def _add(self, member: Member) -> None:
        entry = member.entry
        if entry.kind is not Kind.FILE:
            self._frame.append(entry)
        elif not data_bytes(entry):
            self._frame.append(replace(entry, sha256=hash_of(member)))
        elif data_bytes(entry) > MOST_PACK_BYTES:
            self._add_large(member)
        else:
            data = b"".join(member.read())
            self._check(member.entry, len(data))
            if len(self._data) + len(data) > MOST_PACK_BYTES:
                self._end_pack()
            self._put(replace(entry, sha256=hash_of(member, [data])), 0, data)
            if len(self._data) >= LEAST_PACK_BYTES and _is_border(entry.path):
                self._end_pack()
        self._rows += 1

    def _add_large(self, member: Member) -> None:
        # Read twice: the hash of the whole stands in every segment.
        entry = replace(member.entry, sha256=hash_of(member))
        self._end_pack()
        offset = 0
        for block in _blocks(member.read(), MOST_PACK_BYTES):
            self._put(entry, offset, block)
            self._end_pack()
            offset += len(block)
        self._check(entry, offset)

    def _check(self, entry: Entry, found: int) -> None:
        if found != data_bytes(entry):
            raise NotAnImage(f"{entry.path!r} changed while it was read")

    def _put(self, entry: Entry, offset: int, data: bytes) -> None:
        self._segments.append(Segment(entry, offset, len(data)))
        self._data += data

    def _end_pack(self) -> None:
        if not self._segments:
            return
        self._packs.append((self._segments, self._pool.submit(self._pack, bytes(self._data))))
        self._segments, self._data = [], bytearray()
        # As many as are at work and one each in waiting: reading is faster than compressing.
        if len(self._packs) > 2 * _THREADS:
            self._packs[-2 * _THREADS - 1][1].result()

    def _pack(self, data: bytes) -> Pack:
        return Pack(self._store.put_compressed(data, LEVEL), len(data))

    def _piece(self) -> Piece:
        raw = index.dump(self._frame, (segments for segments, _ in self._packs))
        if len(raw) > MAXIMUM_UNPACKED_BYTES:
            raise NotAnImage(self._too_long())
        packs = tuple(pack.result() for _, pack in self._packs)
        piece = Piece(self._store.put_compressed(raw, LEVEL), len(raw), packs)
        # What a node would refuse is refused here, by the same judge.
        with _refused():
            self._walk.judge(index.load(raw, piece))
        self._frame, self._packs, self._rows = [], [], 0
        return piece

    def _too_long(self) -> str:
        entries = [*self._frame, *(each.entry for segments, _ in self._packs for each in segments)]
        longest = max(entries, key=lambda entry: len(index.dump([entry], [])))
        return f"{longest.path!r} and others have too many holes or extended attributes for an index"


@contextmanager
def _refused() -> Iterator[None]:
    """Tell whoever publishes, rather than a node, what is wrong with a tree."""
    try:
        yield
    except MalformedManifest as error:
        raise NotAnImage(error.detail) from None


def hash_of(member: Member, data: Iterable[bytes] | None = None) -> str:
    """Return the SHA-256 of a file, holes as zeros."""
    digest = hashlib.sha256()
    blocks = member.read() if data is None else iter(data)
    at = 0
    left = memoryview(b"")
    for offset, length in (*member.entry.data, (member.entry.size, 0)):
        _zeros(digest, offset - at)
        missing = length
        while missing:
            left = left or memoryview(next(blocks, b""))
            if not left:
                raise NotAnImage(f"{member.entry.path!r} changed while it was read")
            digest.update(left[:missing])
            taken = min(missing, len(left))
            left, missing = left[taken:], missing - taken
        at = offset + length
    return digest.hexdigest()


def _zeros(digest: hashlib._Hash, count: int) -> None:
    block = bytes(min(count, _BLOCK))
    while count:
        taken = min(count, _BLOCK)
        digest.update(block[:taken])
        count -= taken


def _blocks(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in blocks of `size`, the last one shorter."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _is_border(path: str) -> bool:
    return int(sha256(path.encode(errors="surrogateescape"))[:8], 16) % _BORDER == 0
