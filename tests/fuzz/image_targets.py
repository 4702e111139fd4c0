"""Targets of images: what a node reads of one, and what the server makes one of."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from host.events import Events
from host.http import ServerUnreachable
from images import disk_index, index, update, zstd_frame
from images.cache import Cache
from images.documents import Document, Documents
from images.entries import Entry, Kind
from images.index import Index, Segment, data_bytes
from images.manifest import Blob, MalformedManifest, Pack, Piece, is_digest, sha256
from images.plan import Relative
from images.relatives import relatives_of
from images.sources.archive import ArchiveSource
from images.sources.base import NotAnImage
from images.walk import Walk
from tests.fuzz.target import KEY, Target, scratch
from tests.unit.image_trees import ROOT, file, folder
from tests.unit.made_archives import file as tar_file
from tests.unit.made_archives import folder as tar_folder
from tests.unit.made_archives import hard, link, special, tar

MIB = 1024 * 1024
DISK_BYTES = MIB
ARCHIVE_LIMIT_BYTES = MIB
# What libzstd itself takes to decompress, whatever the frame says.
ZSTD_BYTES = 2 * MIB
BLOB = Blob("b" * 64, 1)
MANIFEST = "d" * 64


def piece_of(sizes: Sequence[int]) -> Piece:
    """Return a piece whose packs have so many bytes."""
    return Piece(BLOB, 1, tuple(Pack(BLOB, size) for size in sizes))


def fitting(raw: bytes, packs_of: Callable[[Any], Any]) -> Piece:
    """Return the piece whose packs are as long as the index says, so that this alone refuses nothing."""
    try:
        sizes = [sum(row[-1] for row in pack) for pack in packs_of(json.loads(raw))]
    except (ValueError, TypeError, LookupError, RecursionError):
        return piece_of([5])
    return piece_of(sizes)


def index_piece(raw: bytes) -> None:
    """A piece of a tree's index, and the first of its image."""
    try:
        found = index.load(raw, fitting(raw, lambda plain: plain[1]))
    except MalformedManifest:
        return
    again = index.dump(found.frame, found.packs)
    assert index.load(again, fitting(again, lambda plain: plain[1])) == found
    walk = Walk()
    try:
        walk.judge(found)
        walk.end()
    except MalformedManifest:
        return
    check_judged(found)


def check_judged(found: Index) -> None:
    """Check what is promised to who writes the tree."""
    files = {segment.entry.path: segment.entry for pack in found.packs for segment in pack}
    entries = {entry.path: entry for entry in (*found.frame, *files.values())}
    assert len(entries) == len(found.frame) + len(files)
    for path, entry in entries.items():
        for name in (path, entry.target) if entry.kind is Kind.HARD else (path,):
            if name:
                check_plain(name)
                assert entries[name.rpartition("/")[0]].kind is Kind.FOLDER
        assert sum(length for _, length in entry.data) == data_bytes(entry) >= 0
        written = [each.length for pack in found.packs for each in pack if each.entry.path == path]
        assert sum(written) == data_bytes(entry)


def check_plain(path: str) -> None:
    """Check that a path leads to nowhere but below the tree."""
    assert not {"", ".", ".."} & set(path.split("/"))
    assert 0 < len(os.fsencode(path)) < index.PATH_MAX
    assert "\0" not in path


def update_index(raw: bytes) -> None:
    """An update's index."""
    piece = fitting(raw, lambda plain: plain)
    try:
        found = update.contents_of(raw, piece)
    except MalformedManifest:
        return
    assert all(is_digest(content.sha256) and content.length > 0 for pack in found for content in pack)
    assert [sum(content.length for content in pack) for pack in found] == [
        pack.data_bytes for pack in piece.packs
    ]


def disk_piece(raw: bytes) -> None:
    """A piece of a disk's index."""
    piece = fitting(raw, lambda plain: plain)
    try:
        found = disk_index.load(raw, piece, DISK_BYTES, 512)
    except MalformedManifest:
        return
    assert disk_index.dump(found) == raw
    end = 512
    for offset, length in (each for pack in found for each in pack):
        assert offset >= end
        assert length > 0
        end = offset + length
    assert end <= DISK_BYTES


class _Server:
    """Stands where HttpClient stands: gives one answer, or none."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer

    def get(self, path: str, *, limit: int) -> bytes:
        if self._answer is None:
            raise ServerUnreachable(path)
        return self._answer[:limit]


def relatives(raw: bytes) -> None:
    """The server's list of an image's relatives, and the document on the dongle that remembers it."""
    documents = Documents(Cache(scratch() / "relatives", Events("fuzz")), KEY)
    document = scratch() / f"relatives/documents/updates-{sha256(b'base')[:16]}.json"
    document.parent.mkdir(parents=True, exist_ok=True)

    def known(answer: bytes | None) -> tuple[Relative, ...]:
        found = tuple(relatives_of("base", MANIFEST, _Server(answer), documents))  # type: ignore[arg-type]
        assert all(is_digest(each.old) and is_digest(each.update) for each in found)
        assert len(found) <= 16
        return found

    document.unlink(missing_ok=True)
    told = known(raw)
    assert known(None) == told
    document.write_bytes(raw)
    known(None)
    try:
        rows = json.loads(raw)
        document.unlink(missing_ok=True)
        for body in (rows, {"manifest": MANIFEST, "updates": rows}):
            documents.write(document.stem, Document(0, body))
            known(None)
    except (ValueError, RecursionError):
        # No document holds this.
        return


def zstd(raw: bytes) -> None:
    """A zstd frame, after two bytes that are the size that the manifest says."""
    size = int.from_bytes(raw[:2], "big")
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    with suppress(MalformedManifest):
        assert len(zstd_frame.unpack(raw[2:], size)) == size
    assert peak_bytes() - before < size + ZSTD_BYTES


def peak_bytes() -> int:
    """Return the most memory that this process had since clear_refs was written; proc(5)."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def archive(raw: bytes) -> None:
    """An archive that an image is made of, plain or compressed."""
    path = scratch() / "archive.tar"
    path.write_bytes(raw)
    try:
        with ArchiveSource(path, limit_bytes=ARCHIVE_LIMIT_BYTES) as source:
            members = list(source.members())
            read = sum(len(data) for member in members for data in member.read())
    except NotAnImage:
        return
    assert read <= max(len(raw), ARCHIVE_LIMIT_BYTES)
    kinds = {member.entry.path: member.entry.kind for member in members}
    assert len(kinds) == len(members)
    for entry in (member.entry for member in members):
        if entry.path:
            check_plain(entry.path)
            assert kinds[entry.path.rpartition("/")[0]] is Kind.FOLDER
        if entry.kind is Kind.HARD:
            assert kinds[entry.target] is Kind.FILE


_BIG = file("z", b"12345")
_TREE = (
    [
        ROOT,
        folder("a", xattrs=(("user.a", b"\xff"),), mtime_ns=-5),
        Entry("a/c", Kind.CHARACTER, 0o600, 0, 0, 0, device=259),
        Entry("a/h", Kind.HARD, 0o644, 0, 0, 0, target="a/f"),
        Entry("l", Kind.LINK, 0o777, 0, 0, 0, target="/etc\N{SNOWMAN}"),
    ],
    [
        [Segment(file("a/f", b"1\0\0\0", ((1, 3),)), 0, 1), Segment(_BIG, 0, 2)],
        [Segment(_BIG, 2, 3)],
    ],
)
# Each but the first is refused for another reason.
_RANGES = [
    [[(512, 512), (4096, 1024)], [(8192, 512)]],
    [[(512, 1024), (1024, 512)]],
    [[(DISK_BYTES, 512)]],
]
_RELATIVES = [{"old": "a" * 64, "update": "c" * 64}, {"old": "0" * 64, "update": "1" * 64}]
_SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
_ARCHIVE = tar(
    tar_folder("d", pax={"mtime": "1.5", "SCHILY.xattr.user.x": "x", "SCHILY.acl.default": "user::rwx"}),
    tar_file("d/" + "n" * 120, b"x"),
    tar_file("s", b"1\n8\n1\n".ljust(512, b"\0") + b"x", pax=_SPARSE),
    hard("h", "s"),
    link("l", "/etc"),
    special("c", tarfile.CHRTYPE, devmajor=1, devminor=3),
)


_BOMB = zstd_frame.compress(bytes(16 * MIB), 3)


def _plain(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _hostile() -> list[bytes]:
    """Return what must be refused: names that lead out, what is below no folder, and numbers of no type."""
    entries = (
        *map(folder, ("..", "a/../../b", "/etc", "x/y")),
        replace(_TREE[0][3], path="h", target=".."),
    )
    frames = [index.dump([ROOT, entry], []) for entry in entries]
    return [*frames, frames[0].replace(b"493", b"null")]


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + zstd_frame.compress(data, 3)


def image_targets() -> dict[str, Target]:
    """Return the targets of this file by name."""
    return {
        "index": Target(index_piece, (index.dump(*_TREE), *_hostile())),
        "update": Target(update_index, (_plain([[["a" * 64, 5], ["c" * 64, 7]], [["0" * 64, 1]]]),)),
        "disk_index": Target(disk_piece, tuple(map(disk_index.dump, _RANGES))),
        "relatives": Target(relatives, (_plain(_RELATIVES), _plain([]))),
        "zstd_frame": Target(
            zstd,
            (_sized(bytes(range(256)) * 4), _sized(bytes(60_000)), _sized(b"x"), b"\0\x64" + _BOMB),
        ),
        "archive": Target(archive, (_ARCHIVE, zstd_frame.compress(_ARCHIVE, 3)), longest=16384),
    }
