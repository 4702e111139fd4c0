"""From packs to a disk: fetched and verified ahead, unpacked and written by two threads, memory bounded.

At most WAITING packs and the first one are in memory, compressed, besides what the supply holds ahead,
and WRITERS unpacked. With packs of 8 MiB, as disk_make makes them, that is 48 MiB, and a MiB that is
written last; 97 MiB whatever a manifest says.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from images import disk_index, zstd_frame
from images.disk_index import SECTOR_BYTES, Range
from images.disk_target import DiskTarget, looked_at, opened
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack
from images.progress import Progress, silent
from images.rate import Rate
from wire.errors import VerificationError

WRITERS = 2
WAITING = WRITERS + 1
_MIB = 1024 * 1024
_ZEROS = bytes(_MIB)


class DiskDiffers(VerificationError):
    """A disk does not hold the image that was written to it."""

    code = "disk-differs"
    title = "A disk does not hold what was written to it"
    hint = "A disk that forgets or changes what it is given is to be replaced; look at the kernel's messages."


class NotADisk(VerificationError):
    """A tree of files where the image of a whole disk is wanted."""

    code = "not-a-disk"
    title = "The image is a tree of files, not a whole disk"
    hint = "Name an image of the right kind: bootserver image list."


class Supply(Protocol):
    """Where verified blobs come from."""

    def ahead(self, blobs: Iterable[Blob]) -> Generator[bytes, None, None]:
        """Yield the contents in order, while the next ones are being fetched."""


@dataclass(frozen=True)
class _Laid:
    """A pack, compressed, and where its bytes belong; the pack before it ends at the offset `begin`."""

    pack: Pack
    frame: bytes
    ranges: tuple[Range, ...]
    begin: int

    @property
    def holes(self) -> Iterator[Range]:
        """What is zeros between the pack before and this one's end."""
        at = self.begin
        for offset, length in self.ranges:
            if offset > at:
                yield at, offset - at
            at = offset + length

    def data(self, room: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Unpack into `room`; yield the ranges as (offset, data)."""
        data = room[: self.pack.data_bytes]
        zstd_frame.unpack_into(self.frame, data)
        at = 0
        for offset, length in self.ranges:
            yield offset, data[at : at + length]
            at += length


def write_disk(manifest: Manifest, path: Path, supply: Supply, on_progress: Progress = silent) -> None:
    """Make the disk, or a file that is there, equal to the image in each of its bytes, durably.

    Of a larger disk the rest is freed as well, where the disk can do that, and else its last MiB is
    zeroed. A file becomes as long as the image. The kernel is not told to read the partition table again.
    Where it raises, the disk is half written and does not boot. Raises NotADisk, TargetTooSmall, DiskBusy,
    DiskWriteFailed, MalformedManifest, and what the supply raises; nothing was changed where the disk is
    busy or too small or the first pack does not come.
    """
    with opened(path, manifest.disk_bytes) as target, closing(_laid(manifest, supply)) as laid:
        target.check_room(manifest.data_bytes)
        first = tuple(islice(laid, 1))
        target.blank()
        rooms: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(WRITERS):
            rooms.put(_room(manifest))
        end = _write(target, chain(first, laid), rooms, _counted(manifest, on_progress))
        target.hole(end, manifest.disk_bytes - end)
        target.finish()


def verify_disk(manifest: Manifest, path: Path, supply: Supply, on_progress: Progress = silent) -> None:
    """Read the disk, from itself rather than from memory, and compare each byte with the image.

    The image is asked of the supply again, since a pack's hash is of what is compressed: from a warm
    cache that is no transfer. The disk may be in use. Raises DiskDiffers, NotADisk, DiskWriteFailed,
    MalformedManifest, and what the supply raises.
    """
    with looked_at(path, manifest.disk_bytes) as target, closing(_laid(manifest, supply)) as laid:
        target.forget()
        count = _counted(manifest, on_progress)
        room = _room(manifest)
        end = 0
        for each in laid:
            for hole in each.holes:
                _compare_hole(path, target, *hole)
            for offset, data in each.data(room):
                if target.read(offset, len(data)) != data:
                    raise DiskDiffers(f"{path}, in the {len(data)} bytes at {offset}")
                end = offset + len(data)
            count(each.pack)
        _compare_hole(path, target, end, manifest.disk_bytes - end)


def image_head(manifest: Manifest, supply: Supply, size: int) -> bytes:
    """Return the first `size` bytes of the disk that was imaged. Raises as verify_disk() does."""
    head = bytearray(min(size, manifest.disk_bytes))
    room = _room(manifest)
    with closing(_laid(manifest, supply)) as laid:
        for each in laid:
            for offset, data in each.data(room):
                kept = data[: max(0, len(head) - offset)]
                head[offset : offset + len(kept)] = kept
            if each.ranges[-1][0] >= len(head):
                break
    return bytes(head)


def _laid(manifest: Manifest, supply: Supply) -> Generator[_Laid, None, None]:
    if manifest.kind is not ImageKind.DISK:
        raise NotADisk(manifest.name)
    if manifest.disk_bytes % SECTOR_BYTES:
        raise MalformedManifest(f"{manifest.name}: {manifest.disk_bytes} bytes are not whole sectors")
    end = 0
    with closing(supply.ahead(manifest.blobs)) as contents:
        for piece in manifest.pieces:
            raw = zstd_frame.unpack(next(contents), piece.index_bytes)
            packs = disk_index.load(raw, piece, manifest.disk_bytes, end)
            for pack, ranges in zip(piece.packs, packs, strict=True):
                yield _Laid(pack, next(contents), ranges, end)
                offset, length = ranges[-1]
                end = offset + length


def _room(manifest: Manifest) -> memoryview:
    """Return room for the largest pack, at the beginning of a page, as a disk's own transfers want it."""
    return memoryview(mmap.mmap(-1, max((pack.data_bytes for pack in manifest.packs), default=1)))


def _write(
    target: DiskTarget,
    laid: Iterable[_Laid],
    rooms: SimpleQueue[memoryview],
    count: Callable[[Pack], None],
) -> int:
    """Write all packs; return where the last one ends."""
    waiting: deque[tuple[Pack, Future[None]]] = deque()
    end = 0
    with ThreadPoolExecutor(WRITERS, "write") as pool:
        for each in laid:
            for hole in each.holes:
                target.hole(*hole)
            waiting.append((each.pack, pool.submit(_put, target, each, rooms)))
            if len(waiting) >= WAITING:
                _await(waiting, count)
            offset, length = each.ranges[-1]
            end = offset + length
        while waiting:
            _await(waiting, count)
    return end


def _put(target: DiskTarget, each: _Laid, rooms: SimpleQueue[memoryview]) -> None:
    room = rooms.get()
    try:
        for offset, data in each.data(room):
            target.put(offset, data)
    finally:
        rooms.put(room)


def _await(waiting: deque[tuple[Pack, Future[None]]], count: Callable[[Pack], None]) -> None:
    pack, written = waiting.popleft()
    written.result()
    count(pack)


def _counted(manifest: Manifest, on_progress: Progress) -> Callable[[Pack], None]:
    rate = Rate(manifest.data_bytes)

    def count(pack: Pack) -> None:
        rate.add(pack.data_bytes)
        estimate = rate.estimate()
        on_progress(estimate.fraction, estimate.text())

    return count


def _compare_hole(path: Path, target: DiskTarget, offset: int, length: int) -> None:
    for at in range(offset, offset + length, _MIB):
        size = min(_MIB, offset + length - at)
        if target.read(at, size) != _ZEROS[:size]:
            raise DiskDiffers(f"{path}, which has zeros in the {size} bytes at {at}")
