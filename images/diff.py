"""What changes from one image to another: files by name, and the bytes that a node fetches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from images import index
from images.contents import Contents
from images.entries import Entry, Kind
from images.manifest import Manifest
from images.plan import Plan, add_update, do_without
from images.update import contents_in

# Returns a blob's verified content.
Read = Callable[[str], bytes]


@dataclass(frozen=True)
class Difference:
    """Paths, sorted: only in the new image, only in the old one, of other content, of other attributes.

    A folder's or file's time alone is no difference of attributes that anybody looks for.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    attributes: tuple[str, ...]


def entries_of(manifest: Manifest, read: Read) -> dict[str, Entry]:
    """Return every entry of a tree by its path. Raises MalformedManifest, and what `read` raises."""
    found: dict[str, Entry] = {}
    for piece in manifest.pieces:
        part = index.read(read(piece.blob.sha256), piece)
        found |= {entry.path: entry for entry in part.frame}
        found |= {each.entry.path: each.entry for segments in part.packs for each in segments}
    return found


def compare(old: dict[str, Entry], new: dict[str, Entry]) -> Difference:
    """Return what is different."""
    both = sorted(old.keys() & new.keys())
    changed = [path for path in both if _content(old[path]) != _content(new[path])]
    same = sorted(set(both) - set(changed))
    return Difference(
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(changed),
        tuple(path for path in same if replace(old[path], mtime_ns=0) != replace(new[path], mtime_ns=0)),
    )


def bytes_to_fetch(old: Manifest, new: Manifest, update: Manifest | None, read: Read) -> int:
    """Return what a node that has all of `old` fetches for `new`, the manifests included.

    As it plans: an update has neither large files nor such with holes. Raises as entries_of().
    """
    there = set(old.blobs)
    missing = {pack for pack in new.packs if pack.blob not in there}
    plan = Plan(new, tuple(read(piece.blob.sha256) for piece in new.pieces))
    fetched = {piece.blob for piece in new.pieces}
    size = len(new.to_bytes())
    if missing:
        contents = Contents()
        for piece in old.pieces:
            found = index.read(read(piece.blob.sha256), piece)
            for pack, segments in zip(piece.packs, found.packs, strict=True):
                contents.add(pack, contents_in(segments))
        if update is not None:
            size += len(update.to_bytes())
            if update.size < sum(pack.blob.size for pack in missing):
                fetched |= {piece.blob for piece in update.pieces}
                add_update(contents, update, (read(piece.blob.sha256) for piece in update.pieces))
        do_without(plan, missing, contents)
    return size + sum(blob.size for blob in fetched.union(plan.blobs) - there)


def _content(entry: Entry) -> tuple[Kind, str, str, int]:
    return entry.kind, entry.sha256, entry.target, entry.device
