"""The difference from one image to the next of its name: packs of those files alone that the old one lacks.

An update is a manifest of its own kind. Its index is a JSON array that has for each pack an array of
`[sha256, bytes]`: the files whole, one after another. It is made for the way over a slow link, so its packs
are as large as may be and compressed as well as can be. It is not signed, and need not be: which content a
file has is said by the signed image alone, and what comes out of a pack is judged by that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from tempfile import TemporaryFile

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
    check,
    check_values,
    is_digest,
)
from images.store import BlobStore

LEVEL = 19
# What cannot be compressed becomes larger by some hundred bytes, and shall still be a blob.
PACK_BYTES = MAXIMUM_UNPACKED_BYTES - 65536
# An update that brings no more is made in any case: that takes half a minute.
SMALL_BYTES = 64 * 1024 * 1024
# Of a pack, so that its row in the index stays small.
PACK_FILES = 100_000
# Of an update's manifest: room for 100 GB. Nobody signed it, so it may not take what an image's may.
MAXIMUM_UPDATE_BYTES = 1024 * 1024


def is_content(segment: Segment) -> bool:
    """Say whether the segment is a file whole, as its hash covers it: neither a part nor one with holes."""
    return segment.is_whole and not segment.entry.holes


def is_worth_while(old: Manifest, new: Manifest, store: BlobStore) -> bool:
    """Say whether an update would be of use: not where most of a large image is new.

    Its own packs are as good then, and compressing all of it so well takes minutes. Raises as make_update().
    """
    known = _contents(old, store)
    fresh = {digest: size for digest, size in _contents(new, store).items() if digest not in known}
    return sum(fresh.values()) <= max(SMALL_BYTES, new.data_bytes // 2)


def make_update(old: Manifest, new: Manifest, store: BlobStore) -> Manifest:
    """Put into the store what brings who has `old` to `new`, and return its manifest.

    Packs that both have are not repeated. Files too large for a pack have packs of their own in every image.
    The files wait in a temporary file, in TMPDIR and without a name. Raises StoredBlobDamaged,
    MalformedManifest, OSError.
    """
    known = _contents(old, store)
    there = {pack.blob for pack in old.packs}
    with TemporaryFile() as file:
        fresh = []
        for entry, content in _fresh(new, known, there, store):
            fresh.append(_Fresh(_likeness(entry), entry.sha256, file.tell(), len(content)))
            file.write(content)
        file.flush()
        pieces = [_piece(group, file.fileno(), store) for group in _groups(sorted(fresh))]
    update = Manifest(new.name, ImageKind.UPDATE, tuple(pieces or [_piece([], -1, store)]))
    check(update)
    store.put(update.to_bytes())
    return update


@dataclass(frozen=True, order=True, slots=True)
class _Fresh:
    """A file that the older image lacks: where it waits in the temporary file."""

    likeness: tuple[str, ...]
    sha256: str
    offset: int
    length: int


def _piece(group: Sequence[_Fresh], file: int, store: BlobStore) -> Piece:
    """Make a pack of the files, and the piece of the index that has it."""
    packs: tuple[Pack, ...] = ()
    if group:
        data = b"".join(os.pread(file, each.length, each.offset) for each in group)
        packs = (Pack(store.put_compressed(data, LEVEL), len(data)),)
    raw = json.dumps([[[each.sha256, each.length] for each in group]][: len(packs)], separators=(",", ":"))
    return Piece(store.put_compressed(raw.encode(), LEVEL), len(raw), packs)


def contents_of(raw: bytes, piece: Piece) -> tuple[tuple[Content, ...], ...]:
    """Read an update's index: the contents of each pack. Raises MalformedManifest."""
    check_values(raw, "an update's index", 2 * PACK_FILES)
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


def _contents(manifest: Manifest, store: BlobStore) -> dict[str, int]:
    """Return the hash of every content that a tree has, and its bytes."""
    return {
        segment.entry.sha256: segment.length
        for piece in manifest.pieces
        for segments in index.read(store.get(piece.blob.sha256), piece).packs
        for segment in segments
        if is_content(segment)
    }


def _fresh(
    new: Manifest, old: Collection[str], there: set[Blob], store: BlobStore
) -> Iterator[tuple[Entry, bytes]]:
    known = set(old)
    for piece in new.pieces:
        found = index.read(store.get(piece.blob.sha256), piece)
        for pack, segments in zip(piece.packs, found.packs, strict=True):
            wanted = {each.entry.sha256 for each in segments if is_content(each)} - known
            if pack.blob in there or not wanted:
                continue
            data, at = zstd_frame.unpack(store.get(pack.blob.sha256), pack.data_bytes), 0
            for segment in segments:
                if is_content(segment) and segment.entry.sha256 in wanted:
                    wanted.discard(segment.entry.sha256)
                    known.add(segment.entry.sha256)
                    yield segment.entry, data[at : at + segment.length]
                at += segment.length


def _likeness(entry: Entry) -> tuple[str, ...]:
    """Return a key by which files that compress well together are neighbours."""
    path = PurePosixPath(entry.path)
    return path.suffix, path.name, entry.path


def _groups(found: Iterable[_Fresh]) -> Iterator[list[_Fresh]]:
    group: list[_Fresh] = []
    size = 0
    for each in found:
        if group and (size + each.length > PACK_BYTES or len(group) >= PACK_FILES):
            yield group
            group, size = [], 0
        group.append(each)
        size += each.length
    if group:
        yield group
