"""The difference from one image to the next of its name: packs of those files alone that the old one lacks.

An update is a manifest of its own kind. Its index is a JSON array that has for each pack an array of
`[sha256, bytes]`: the files whole, one after another. It is made for the way over a slow link, so its packs
are as large as may be and compressed as well as can be. It is not signed, and need not be: which content a
file has is said by the signed image alone, and what comes out of a pack is judged by that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from images import index, zstd_frame
from images.contents import Content
from images.entries import Entry
from images.index import Segment
from images.manifest import (
    MAXIMUM_UNPACKED_BYTES,
    Blob,
    ImageKind,
    MalformedManifest,
    Manifest,
    Pack,
    Piece,
    is_digest,
)
from images.store import BlobStore

LEVEL = 19
PACK_BYTES = MAXIMUM_UNPACKED_BYTES


def is_content(segment: Segment) -> bool:
    """Say whether the segment is a file whole, as its hash covers it: neither a part nor one with holes."""
    return segment.is_whole and not segment.entry.holes


def make_update(old: Manifest, new: Manifest, store: BlobStore) -> Manifest:
    """Put into the store what brings who has `old` to `new`, and return its manifest.

    Packs that both have are not repeated. Files too large for a pack have packs of their own in every image.
    Raises StoredBlobDamaged, MalformedManifest.
    """
    known = {
        segment.entry.sha256
        for piece in old.pieces
        for segments in index.read(store.get(piece.blob.sha256), piece).packs
        for segment in segments
    }
    there = {pack.blob for pack in old.packs}
    fresh = sorted(_fresh(new, known, there, store), key=lambda found: _likeness(found[0]))
    packs, contents = [], []
    for group in _groups(fresh):
        data = b"".join(content for _, content in group)
        packs.append(Pack(_put(data, store), len(data)))
        contents.append([[entry.sha256, len(content)] for entry, content in group])
    raw = json.dumps(contents, separators=(",", ":")).encode()
    update = Manifest(new.name, ImageKind.UPDATE, (Piece(_put(raw, store), len(raw), tuple(packs)),))
    store.put(update.to_bytes())
    return update


def contents_of(raw: bytes, piece: Piece) -> tuple[tuple[Content, ...], ...]:
    """Read an update's index: the contents of each pack. Raises MalformedManifest."""
    try:
        found = tuple(tuple(Content(*row) for row in pack) for pack in json.loads(raw))
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedManifest(f"an update's index: {error}") from None
    sizes = [pack.data_bytes for pack in piece.packs]
    for content in (content for pack in found for content in pack):
        if type(content.sha256) is not str or not is_digest(content.sha256):
            raise MalformedManifest("an update's index: not a SHA-256 in lower-case hex")
        if type(content.length) is not int or content.length < 1:
            raise MalformedManifest(f"an update's index: {content.sha256} has {content.length!r:.20} bytes")
    if [sum(content.length for content in pack) for pack in found] != sizes:
        raise MalformedManifest("an update's index does not go with its packs")
    return found


def contents_in(segments: Iterable[Segment]) -> Iterator[Content]:
    """Yield the contents of an image's own pack."""
    for segment in segments:
        yield Content(segment.entry.sha256 if is_content(segment) else "", segment.length)


def _fresh(
    new: Manifest, known: set[str], there: set[Blob], store: BlobStore
) -> Iterator[tuple[Entry, bytes]]:
    known = set(known)
    for piece in new.pieces:
        found = index.read(store.get(piece.blob.sha256), piece)
        for pack, segments in zip(piece.packs, found.packs, strict=True):
            wanted = {each.entry.sha256 for each in segments if is_content(each)} - known
            if pack.blob in there or not wanted:
                continue
            data, at = zstd_frame.unpack(store.get(pack.blob.sha256), pack.data_bytes), 0
            for segment in segments:
                if segment.entry.sha256 in wanted:
                    wanted.discard(segment.entry.sha256)
                    known.add(segment.entry.sha256)
                    yield segment.entry, data[at : at + segment.length]
                at += segment.length


def _likeness(entry: Entry) -> tuple[str, ...]:
    """Return a key by which files that compress well together are neighbours."""
    path = PurePosixPath(entry.path)
    return path.suffix, path.name, entry.path


def _groups(found: Iterable[tuple[Entry, bytes]]) -> Iterator[list[tuple[Entry, bytes]]]:
    group: list[tuple[Entry, bytes]] = []
    size = 0
    for entry, content in found:
        if group and size + len(content) > PACK_BYTES:
            yield group
            group, size = [], 0
        group.append((entry, content))
        size += len(content)
    if group:
        yield group


def _put(data: bytes, store: BlobStore) -> Blob:
    compressed = zstd_frame.compress(data, LEVEL)
    return Blob(store.put(compressed), len(compressed))
