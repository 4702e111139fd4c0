"""From blobs to a tree: blobs are fetched and verified ahead, unpacked and written by several threads.

Everything is bounded: how many blobs are in memory (Supply's bound, and `_WRITERS` packs more), and how long
each is, compressed and not, which the signed manifest says. The threads are of use because Python gives up
its lock in hashing, in zstd and in the kernel.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from queue import SimpleQueue

from host.files import read_regular
from host.http import NotAtServer
from host.texts import _
from images import index, zstd_frame
from images.cache import Cache
from images.fetch import Supply, Transfer, pins
from images.index import Segment
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack, SignedImage
from images.neighbours import Neighbours
from images.plan import OldTree, Plan, Relative, Taken, make_plan, tell
from images.progress import Progress, silent
from images.source import CorruptImage, Source
from images.walk import Walk
from images.write import TargetFull, TreeWriter
from wire.errors import VerificationError

_WRITERS = 2
_MIB = 1024 * 1024
# Files of an old tree between two words about them.
_TOLD_FILES = 256

log = logging.getLogger(__name__)
# Writes what it wants of a pack, which it is given compressed, with room to unpack it in.
Task = Callable[[bytes, memoryview], None]


class NotATree(VerificationError):
    """A whole-disk image where a tree of files is wanted."""

    code = "not-a-tree"
    title = "The image is a whole disk, not a tree of files"
    hint = "Name an image of the right kind: bootserver image list."


def install(
    signed: SignedImage,
    target: Path,
    source: Source,
    cache: Cache,
    relatives: Sequence[Relative] = (),
    tree: OldTree | None = None,
    near: Neighbours | None = None,
    keep: Collection[str] = (),
    on_progress: Progress = silent,
) -> Transfer:
    """Unpack a signed image into the empty folder `target`; `keep` as pins() gives.

    Raises what unpack() raises, and MalformedManifest.
    """
    manifest, transfer = load_manifest(signed, source, cache, near)
    return transfer + unpack(
        manifest, target, source, cache, on_progress, keep=keep, relatives=relatives, tree=tree, near=near
    )


def load_manifest(
    signed: SignedImage, source: Source, cache: Cache, near: Neighbours | None = None
) -> tuple[Manifest, Transfer]:
    """Return the image's manifest. Raises MalformedManifest, CorruptImage, NotAtServer, ServerUnreachable."""
    with Supply(source, cache, near=near) as supply:
        return supply.manifest(signed), supply.transfer


def unpack(
    manifest: Manifest,
    target: Path,
    source: Source,
    cache: Cache,
    on_progress: Progress = silent,
    keep: Collection[str] = (),
    relatives: Sequence[Relative] = (),
    tree: OldTree | None = None,
    near: Neighbours | None = None,
) -> Transfer:
    """Make the image's tree in the empty folder `target`; `keep` as pins() gives.

    What `relatives` or an older `tree` have of it already is not fetched, what is `near` not from afar.
    Nothing is synced. Where it raises, the tree is half made and has to be emptied (see tree.empty).
    Raises NotATree, TargetFull, CannotWrite, CorruptImage, MalformedManifest, NotAtServer, ServerUnreachable.
    """
    if manifest.kind is not ImageKind.TREE:
        raise NotATree(manifest.name)
    _check_room(manifest, target)
    keep = pins([manifest]) | frozenset(keep)
    with Supply(source, cache, keep, near=near) as supply, closing(TreeWriter(target)) as writer:
        plan = make_plan(manifest, supply, cache, relatives, tree)
        tell(cache.events, manifest.name, plan.origins)
        _Unpacking(plan, supply, writer, on_progress).run(tree)
    # Leaving the with block waits for the dongle, so the figures are read after it.
    return supply.transfer


class _Unpacking:
    """One image on its way from blobs to entries."""

    def __init__(self, plan: Plan, supply: Supply, writer: TreeWriter, on_progress: Progress) -> None:
        self._plan = plan
        self._supply = supply
        self._writer = writer
        self._on_progress = on_progress
        self._rates = plan.rates
        # None waits: what is ahead is the supply's business, and compressed. The rooms are used again and
        # again, because new memory is zeroed page by page by the kernel.
        self._rooms: SimpleQueue[memoryview] = SimpleQueue()
        largest = max((pack.data_bytes for pack in (*plan.manifest.packs, *plan.taken)), default=1)
        for _room in range(_WRITERS):
            self._rooms.put(memoryview(mmap.mmap(-1, largest)))
        self._wrong: list[Taken] = []

    def run(self, tree: OldTree | None) -> None:
        with (
            ThreadPoolExecutor(_WRITERS, "write") as pool,
            closing(self._supply.as_they_come(self._plan.blobs, self._plan.others)) as contents,
        ):
            writing, tasks = _Running(), _Tasks(chain(self._own(), self._taken()))
            for blob, content in contents:
                room = self._rooms.get()
                writing.add(pool.submit(self._in_room, tasks.of(blob), content, room))
                # The loop's variable would keep the content alive while the next one is waited for.
                del content
                self._rates.add(blob.size, afar=blob not in self._plan.cached)
                estimate = self._rates.estimate()
                self._on_progress(estimate.fraction, estimate.text())
            tasks.end()
            writing.wait()
        if tree is not None:
            self._from_tree(tree)
        self._make_up()
        self._writer.finish()

    def _own(self) -> Iterator[tuple[Pack, Task]]:
        """Make what has no data, and yield the packs that are used whole."""
        walk, number = Walk(), 0
        for piece, raw in zip(self._plan.manifest.pieces, self._plan.index, strict=True):
            found = index.read(raw, piece)
            walk.judge(found)
            self._writer.frame(found.frame)
            for pack, segments in zip(piece.packs, found.packs, strict=True):
                if number not in self._plan.without:
                    yield pack, partial(self._write_all, pack, segments)
                number += 1
        walk.end()

    def _taken(self) -> Iterator[tuple[Pack, Task]]:
        """Yield the packs that some files are taken from."""
        for pack, taken in self._plan.taken.items():
            yield pack, partial(self._write_some, pack, taken)

    def _in_room(self, task: Task, compressed: bytes, room: memoryview) -> None:
        try:
            task(compressed, room)
        finally:
            self._rooms.put(room)

    def _write_all(
        self, pack: Pack, segments: Sequence[Segment], compressed: bytes, room: memoryview
    ) -> None:
        data = room[: pack.data_bytes]
        zstd_frame.unpack_into(compressed, data)
        self._writer.segments(segments, data)

    def _write_some(self, pack: Pack, taken: Sequence[Taken], compressed: bytes, room: memoryview) -> None:
        data = room[: pack.data_bytes]
        try:
            zstd_frame.unpack_into(compressed, data)
        except MalformedManifest as error:
            # Nobody signed this one; it is empty if it could not be had.
            log.info("pack %s is of no use: %s", pack.blob.sha256, error)
            self._wrong.extend(taken)
            return
        for each in taken:
            self._write_checked([each], data[each.offset : each.offset + each.segment.length])

    def _from_tree(self, tree: OldTree) -> None:
        # The parts of a large file follow one another.
        files = groupby(self._plan.from_tree, key=lambda taken: taken.segment.entry)
        for number, (entry, parts) in enumerate(files):
            if number % _TOLD_FILES == 0:
                self._on_progress(None, _("{n} files taken from what was there", n=number))
            try:
                content = memoryview(read_regular(tree.folder / entry.path, entry.size + 1))
            except OSError:
                content = memoryview(b"")
            self._write_checked(list(parts), content)

    def _write_checked(self, parts: Sequence[Taken], content: memoryview) -> None:
        """Write a file, all that is wanted of it, if `content` is the whole of it."""
        entry = parts[0].segment.entry
        if hashlib.sha256(content).hexdigest() == entry.sha256:
            for segment in (taken.segment for taken in parts):
                self._writer.segments([segment], content[segment.offset : segment.offset + segment.length])
        else:
            log.info("%r is not what the image has; taken from its own pack", entry.path)
            self._wrong.extend(parts)

    def _make_up(self) -> None:
        """Fetch what was not where it was expected, each pack once."""
        wrong: dict[Pack, list[Taken]] = {}
        for taken in self._wrong:
            wrong.setdefault(taken.own, []).append(taken)
        for pack, lacking in wrong.items():
            data = memoryview(zstd_frame.unpack(self._supply.blob(pack.blob), pack.data_bytes))
            for taken in lacking:
                own = data[taken.own_offset : taken.own_offset + taken.segment.length]
                self._writer.segments([taken.segment], own)


class _Tasks:
    """What is to be done with each blob, read no further than to the one that came.

    Blobs may come in another order, but only within a window (see images.swarm), so little waits here.
    """

    def __init__(self, unread: Iterator[tuple[Pack, Task]]) -> None:
        self._unread = unread
        self._waiting: dict[Blob, list[Task]] = {}

    def of(self, blob: Blob) -> Task:
        """Return what is to be done with a blob; as often as it is used. Raises what reading on raises."""
        while blob not in self._waiting:
            pack, task = next(self._unread)
            self._waiting.setdefault(pack.blob, []).append(task)
        same = self._waiting[blob]
        task = same.pop()
        if not same:
            del self._waiting[blob]
        return task

    def end(self) -> None:
        """Read what has no data behind the last pack. Raises as of()."""
        for _pack in self._unread:
            raise RuntimeError("a pack did not come")


class _Running:
    """Tasks under way; the first that fails is told as soon as somebody looks."""

    def __init__(self) -> None:
        self._futures: list[Future[None]] = []

    def add(self, future: Future[None]) -> None:
        for each in self._futures:
            if each.done():
                each.result()
        self._futures = [each for each in self._futures if not each.done()]
        self._futures.append(future)

    def wait(self) -> None:
        for each in self._futures:
            each.result()


def prefetch(
    manifest: Manifest,
    source: Source,
    cache: Cache,
    on_progress: Progress = silent,
    keep: Collection[str] = (),
    relatives: Sequence[Relative] = (),
    near: Neighbours | None = None,
) -> Transfer:
    """Bring what unpack() will need into the cache, for later; ends early where the cache takes no more.

    In the Transfer, bytes that were in the cache already are counted without being read.
    Raises CorruptImage, MalformedManifest, NotAtServer, ServerUnreachable.
    """
    keep = pins([manifest]) | frozenset(keep)
    with Supply(source, cache, keep, near=near) as supply:
        if supply.refused:
            return supply.transfer
        plan = make_plan(manifest, supply, cache, relatives)
        tell(cache.events, manifest.name, plan.origins)
        try:
            _bring(plan, supply, on_progress)
        except (CorruptImage, NotAtServer) as error:
            if not plan.others:
                raise
            log.info("%s is brought without what others have of it: %s", manifest.name, error)
            _bring(Plan(manifest, plan.index), supply, on_progress)
    return supply.transfer


def _bring(plan: Plan, supply: Supply, on_progress: Progress) -> None:
    rates = plan.rates
    for blob in supply.bring_all(plan.blobs):
        rates.add(blob.size, afar=blob not in plan.cached)
        estimate = rates.estimate()
        what = _("{image} into the cache, {estimate}", image=plan.manifest.name, estimate=estimate.text())
        on_progress(estimate.fraction, what)


def _check_room(manifest: Manifest, target: Path) -> None:
    """Refuse before anything is written what cannot fit."""
    room = os.statvfs(target)
    wanted, free = manifest.data_bytes, room.f_bavail * room.f_frsize
    if wanted > free:
        raise TargetFull(
            f"{manifest.name} needs {wanted // _MIB} MiB in {target}, {free // _MIB} MiB are free"
        )
