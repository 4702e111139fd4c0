"""Judges the entries of an image, piece by piece, before any of them is made.

What is promised to who writes the tree: every path is relative and plain, comes once, and every folder on
the way to it came before as a folder of the same image. So in a tree that was empty no name leads through a
link, and nothing is written outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise

from images.entries import Entry, Kind
from images.index import NAME_MAX, PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX, Index, Segment, data_bytes, order
from images.manifest import MalformedManifest, is_digest

_WITH_TARGET = (Kind.LINK, Kind.HARD)
_WITH_DEVICE = (Kind.CHARACTER, Kind.BLOCK)


class Walk:
    """Follows the pieces of one image in their order."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self._last: list[bytes] | None = None
        # A file in several segments goes on from here.
        self._open: Segment | None = None

    def judge(self, index: Index) -> None:
        """Raise MalformedManifest, with the entry's name, unless the piece may come next."""
        for entry in index.frame:
            _check(entry)
            if data_bytes(entry):
                raise _bad(entry, "has data, but no segment")
            if entry.kind is Kind.FOLDER:
                self.folders.add(entry.path)
        files = list(self._files(index.packs))
        self._check_order(index.frame, files)
        for entry in (*index.frame, *files):
            if entry.path and _parent(entry.path) not in self.folders:
                raise _bad(entry, "is in no folder of this image")
            if entry.kind is Kind.HARD and _parent(entry.target) not in self.folders:
                raise _bad(entry, f"is a hard link to {entry.target!r}, which is in no folder of this image")

    def end(self) -> None:
        """Raise MalformedManifest where something is missing."""
        if self._open is not None:
            raise _bad(self._open.entry, "is not whole")
        if "" not in self.folders:
            raise MalformedManifest("the image has no folder that all is in")

    def _files(self, packs: Iterable[Iterable[Segment]]) -> Iterable[Entry]:
        """Yield each file once, checked; its segments must follow one another without gaps."""
        for segment in (segment for pack in packs for segment in pack):
            entry, whole = segment.entry, data_bytes(segment.entry)
            if self._open is None:
                _check(entry)
                if entry.kind is not Kind.FILE:
                    raise _bad(entry, "is no file, and has data")
                expected = 0
                yield entry
            elif entry != self._open.entry:
                raise _bad(self._open.entry, "is not whole")
            else:
                expected = self._open.offset + self._open.length
            end = segment.offset + segment.length
            if segment.offset != expected or end > whole:
                raise _bad(entry, f"has a segment from {segment.offset} to {end} that does not fit")
            self._open = segment if end < whole else None

    def _check_order(self, frame: Sequence[Entry], files: Sequence[Entry]) -> None:
        keys = [[order(entry.path) for entry in entries] for entries in (frame, files)]
        for entries, sequence in zip((frame, files), keys, strict=True):
            for number, (one, other) in enumerate(pairwise(sequence), 1):
                if one >= other:
                    raise _bad(entries[number], "comes twice or in a wrong place")
        firsts = [sequence[0] for sequence in keys if sequence]
        if not firsts:
            return
        if self._last is not None and min(firsts) <= self._last:
            raise MalformedManifest("the pieces of the index overlap")
        # Compared as Linux does: escaped and not, one name may be two texts.
        both = {b"/".join(key) for key in keys[0]} & {b"/".join(key) for key in keys[1]}
        if both:
            raise MalformedManifest(f"{os.fsdecode(min(both))!r:.200} comes twice")
        self._last = max(sequence[-1] for sequence in keys if sequence)


def _check(entry: Entry) -> None:
    if entry.path:
        _check_path(entry, entry.path)
    elif entry.kind is not Kind.FOLDER:
        raise _bad(entry, "stands for the whole tree and is no folder")
    if entry.kind is Kind.HARD:
        _check_path(entry, entry.target)
    if bool(entry.target) != (entry.kind in _WITH_TARGET) or len(entry.target) >= PATH_MAX:
        raise _bad(entry, f"cannot have the target {entry.target!r:.80}")
    if "\0" in entry.target:
        raise _bad(entry, "has NUL in its target")
    if entry.device and entry.kind not in _WITH_DEVICE:
        raise _bad(entry, f"cannot have the device number {entry.device}")
    if not (is_digest(entry.sha256) if entry.kind is Kind.FILE else (entry.size, entry.sha256) == (0, "")):
        raise _bad(entry, f"cannot have {entry.size} bytes with the hash {entry.sha256!r:.80}")
    _check_xattrs(entry)
    end = 0
    for offset, length in entry.holes:
        if offset < end:
            raise _bad(entry, "has holes that overlap")
        end = offset + length
    if end > entry.size:
        raise _bad(entry, "has a hole beyond its end")


def _check_path(entry: Entry, path: str) -> None:
    names = path.split("/")
    if "" in names or "." in names or ".." in names or "\0" in path:
        raise _bad(entry, "has a name that is not plain")
    if len(path) > NAME_MAX // 4:
        # Only long ones may be too long, and escaping them takes time.
        raw = path.encode(errors="surrogateescape")
        if len(raw) >= PATH_MAX or any(len(name) > NAME_MAX for name in raw.split(b"/")):
            raise _bad(entry, "has too long a name")


def _check_xattrs(entry: Entry) -> None:
    last = ""
    for name, value in entry.xattrs:
        if not last < name or "\0" in name or len(name.encode(errors="surrogateescape")) > XATTR_NAME_MAX:
            raise _bad(entry, f"has the extended attribute {name!r:.80} twice or with a wrong name")
        if len(value) > XATTR_SIZE_MAX:
            raise _bad(entry, f"has {len(value)} bytes of extended attribute {name!r:.80}")
        last = name


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _bad(entry: Entry, why: str) -> MalformedManifest:
    return MalformedManifest(f"{entry.path!r:.200} {why}")
