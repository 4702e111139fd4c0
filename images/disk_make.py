"""Makes an image out of a whole disk: its used ranges, in packs.

Deterministic: the same content gives the same manifest and blobs, whether raw or qcow2 (with the same
zstd). No pack holds ranges of two windows of the disk, so images of two states of a disk share the packs
of every window that did not change in between.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from host.run import Runner
from images import disk_index
from images.disk_index import Range
from images.disk_source import STRETCH_BYTES, raw_disk, used_ranges
from images.manifest import ImageKind, MalformedManifest, Manifest, Pack, Piece, is_image_name, parse
from images.sources.base import NotAnImage
from images.store import BlobStore

# Data of a pack, before compression, at most.
PACK_BYTES = STRETCH_BYTES
WINDOW_BYTES = 4 * PACK_BYTES
PACKS_OF_A_PIECE = 64
LEVEL = 9


def make_disk_image(name: str, path: Path, store: BlobStore, run: Runner) -> Manifest:
    """Put the blobs of the disk in a raw or qcow2 file, and last its manifest, into the store.

    The manifest's `digest` is what nodes are told. Raises NotAnImage, CommandFailed, OSError, and then no
    manifest is stored.
    """
    if not is_image_name(name):
        raise NotAnImage(f"{name!r} cannot be the name of an image: a-z 0-9 . _ - and at most 64 of them")
    store.folder.mkdir(parents=True, exist_ok=True)
    with raw_disk(path, store.folder, run) as disk:
        before = os.fstat(disk)
        size = os.lseek(disk, 0, os.SEEK_END)
        pieces = tuple(_pieces(disk, store))
        after = os.fstat(disk)
    # A machine that runs from it would have given an image of no moment.
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise NotAnImage(f"{path} changed while it was read")
    manifest = Manifest(name, ImageKind.DISK, pieces, size)
    try:
        parse(manifest.to_bytes())
    except MalformedManifest as error:
        raise NotAnImage(error.detail) from None
    store.put(manifest.to_bytes())
    return manifest


def packs_of(ranges: Iterable[Range]) -> Iterator[tuple[Range, ...]]:
    """Put ranges together to packs: at most PACK_BYTES, of one window."""
    pack: list[Range] = []
    data_bytes = 0
    for offset, length in ranges:
        if pack and (
            data_bytes + length > PACK_BYTES or offset // WINDOW_BYTES != pack[0][0] // WINDOW_BYTES
        ):
            yield tuple(pack)
            pack, data_bytes = [], 0
        pack.append((offset, length))
        data_bytes += length
    if pack:
        yield tuple(pack)


def _pieces(disk: int, store: BlobStore) -> Iterator[Piece]:
    layout: list[tuple[Range, ...]] = []
    packs: list[Pack] = []
    made = 0
    for ranges, pack in _packs(disk, store):
        layout.append(ranges)
        packs.append(pack)
        if len(packs) == PACKS_OF_A_PIECE:
            yield _piece(layout, packs, store)
            layout, packs, made = [], [], made + 1
    # A disk of nothing but zeros has an index all the same.
    if packs or not made:
        yield _piece(layout, packs, store)


def _piece(layout: list[tuple[Range, ...]], packs: list[Pack], store: BlobStore) -> Piece:
    raw = disk_index.dump(layout)
    return Piece(store.put_compressed(raw, LEVEL), len(raw), tuple(packs))


def _packs(disk: int, store: BlobStore) -> Iterator[tuple[tuple[Range, ...], Pack]]:
    """Compress in as many threads as there are processors, each of which holds some three packs in memory."""
    threads = len(os.sched_getaffinity(0))
    waiting: deque[tuple[tuple[Range, ...], Future[Pack]]] = deque()
    with ThreadPoolExecutor(threads, "compress") as pool:
        for ranges in packs_of(used_ranges(disk)):
            waiting.append((ranges, pool.submit(_pack, disk, ranges, store)))
            # Finding ranges is faster than compressing; what is found is read again soon, from memory.
            if len(waiting) > 2 * threads:
                done, pack = waiting.popleft()
                yield done, pack.result()
        for done, pack in waiting:
            yield done, pack.result()


def _pack(disk: int, ranges: tuple[Range, ...], store: BlobStore) -> Pack:
    data = b"".join(os.pread(disk, length, offset) for offset, length in ranges)
    return Pack(store.put_compressed(data, LEVEL), len(data))
