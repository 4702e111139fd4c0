"""Compares a tree with the image that it was made from: content and every attribute of each entry.

What the tree has besides the image is not looked at: a running system has much of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from images import index
from images.entries import Entry, Kind
from images.fetch import Supply
from images.make import hash_of
from images.manifest import Manifest
from images.sources.folder import FolderSource
from images.walk import Walk

# Where holes are is up to the file system, and a folder's time changes with all that is made in it.
_FIELDS = ("kind", "mode", "uid", "gid", "mtime_ns", "xattrs", "target", "device", "size")


@dataclass(frozen=True)
class Deviation:
    """A path of the image, and what is otherwise in the tree: fields of Entry, "content", or "missing"."""

    path: str
    what: tuple[str, ...]


def deviations(manifest: Manifest, tree: Path, supply: Supply) -> Iterator[Deviation]:
    """Yield what is not as in the image, in its order; `supply` gives the index.

    Raises what Supply raises, MalformedManifest, and NotAnImage for what cannot be read.
    """
    source, walk = FolderSource(tree), Walk()
    for piece, raw in zip(manifest.pieces, supply.ahead(each.blob for each in manifest.pieces), strict=True):
        found = index.read(raw, piece)
        walk.judge(found)
        files = {segment.entry.path: segment.entry for pack in found.packs for segment in pack}
        for entry in (*found.frame, *files.values()):
            what = tuple(_compare(entry, source, tree))
            if what:
                yield Deviation(entry.path, what)
    walk.end()


def _compare(entry: Entry, source: FolderSource, tree: Path) -> Iterator[str]:
    if entry.kind is Kind.FOLDER and entry.path and (tree / entry.path).is_mount():
        return  # The folder of the image is beneath, and nobody sees it.
    member = source.member(entry.path)
    if member is None:
        yield "missing"
        return
    there = member.entry
    if entry.kind is Kind.HARD:
        if there.kind is not Kind.FILE or not (tree / entry.path).samefile(tree / entry.target):
            yield "target"
        return
    for field in _FIELDS:
        if field == "mtime_ns" and entry.kind is Kind.FOLDER:
            continue
        if getattr(there, field) != getattr(entry, field):
            yield field
    if entry.kind is there.kind is Kind.FILE and entry.size == there.size and hash_of(member) != entry.sha256:
        yield "content"
