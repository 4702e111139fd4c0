"""Where each file of an image comes from: decided before the first byte of data is fetched or written.

A pack of the image is fetched whole, unless all that is in it can be had for less: from packs that are in the
cache because another image brought them, from an update's, or from a tree that an older image was laid into.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path

from host.events import Events
from images import index, zstd_frame
from images.cache import Cache
from images.contents import Contents
from images.fetch import Supply
from images.index import Segment
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack, is_digest, parse
from images.rate import Rates
from images.update import contents_in, contents_of, is_content
from wire.errors import BootError

log = logging.getLogger(__name__)

# A file of an old tree is read whole, so that what is written is what was hashed.
MOST_FROM_TREE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Relative:
    """Another image of the same name, and the update that leads from it: the digests of their manifests."""

    old: str
    update: str


@dataclass(frozen=True)
class OldTree:
    """A folder that the image with the manifest `digest` was laid into; files may have changed since."""

    folder: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A file from `offset` of another pack's data. The image's `own` has it from `own_offset`."""

    segment: Segment
    offset: int
    own: Pack
    own_offset: int


@dataclass(frozen=True)
class Origins:
    """Bytes by where they are to come from: files of a tree on the disk, blobs of the cache, blobs to fetch.

    Which of the last will come from neighbours is not known before.
    """

    tree_bytes: int
    cache_bytes: int
    fetch_bytes: int


@dataclass
class Plan:
    """`index` has the compressed pieces. Of the packs, counted over all pieces, some are done `without`.

    What is in those is `taken` from other packs, or comes from the old tree. Of `blobs` some are `cached`.
    """

    manifest: Manifest
    index: tuple[bytes, ...]
    without: set[int] = field(default_factory=set)
    taken: dict[Pack, list[Taken]] = field(default_factory=dict)
    from_tree: list[Taken] = field(default_factory=list)
    cached: frozenset[Blob] = frozenset()

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The packs that are needed, in the order of use: the image's own, then others."""
        own = (pack for number, pack in enumerate(self.manifest.packs) if number not in self.without)
        return tuple(pack.blob for pack in (*own, *self.taken))

    @property
    def origins(self) -> Origins:
        """Where it all comes from."""
        return _origins(self.blobs, self.cached, sum(taken.segment.length for taken in self.from_tree))

    @property
    def rates(self) -> Rates:
        """Counters for `blobs`."""
        return Rates(self.origins.cache_bytes, self.origins.fetch_bytes)

    @property
    def others(self) -> frozenset[Blob]:
        """Packs of other images and of updates: nobody promised that the server has them, or what is in."""
        own = {pack.blob for pack in self.manifest.packs}
        return frozenset(pack.blob for pack in self.taken if pack.blob not in own)


def has_all(cache: Cache, digest: str) -> bool:
    """Say whether the cache has the image with the manifest `digest`, as far as names and sizes tell."""
    manifest = _manifest_in(cache, digest)
    return manifest is not None and all(cache.has(blob) for blob in manifest.blobs)


def whole(manifest: Manifest, cache: Cache) -> Origins:
    """Return where an image comes from without a plan: all of it, its index too, from the cache or afar."""
    return _origins(manifest.blobs, {blob for blob in manifest.blobs if cache.has(blob)})


def foreseen(digest: str, cache: Cache) -> Origins | None:
    """Return the same of the image with the manifest `digest`, None where the cache has not its manifest.

    A plan can only make less of what is to be fetched. Nothing in the cache is changed.
    """
    seen = Cache(cache.folder, cache.events, writable=False)
    manifest = _manifest_in(seen, digest)
    return whole(manifest, seen) if manifest is not None else None


def _manifest_in(cache: Cache, digest: str) -> Manifest | None:
    raw = cache.get(digest) if is_digest(digest) else None
    try:
        return parse(raw) if raw is not None else None
    except MalformedManifest:
        return None


def tell(events: Events, image: str, origins: Origins) -> None:
    """Tell, before anything is fetched or written, what comes from where."""
    events.tell("image.planned", image=image, **asdict(origins))


def _origins(blobs: Iterable[Blob], cached: Set[Blob], tree_bytes: int = 0) -> Origins:
    sizes = {True: 0, False: 0}
    for blob in blobs:
        sizes[blob in cached] += blob.size
    return Origins(tree_bytes, sizes[True], sizes[False])


def make_plan(
    manifest: Manifest,
    supply: Supply,
    cache: Cache,
    relatives: Sequence[Relative] = (),
    tree: OldTree | None = None,
) -> Plan:
    """Return the plan for a tree. Raises what Supply raises for the image's index, MalformedManifest."""
    plan = Plan(manifest, tuple(supply.ahead(piece.blob for piece in manifest.pieces)))
    missing = {pack for pack in manifest.packs if not cache.has(pack.blob)}
    contents = _contents(missing, supply, cache, relatives, tree) if missing else Contents()
    if not contents.is_empty or tree is not None:
        do_without(plan, missing, contents, tree)
    plan.cached = frozenset(blob for blob in plan.blobs if cache.has(blob))
    return plan


def do_without(plan: Plan, missing: Set[Pack], contents: Contents, tree: OldTree | None = None) -> None:
    """Plan to fetch none of the `missing` packs that can be done without. Raises MalformedManifest."""
    number = 0
    for piece, raw in zip(plan.manifest.pieces, plan.index, strict=True):
        for pack, segments in zip(piece.packs, index.read(raw, piece).packs, strict=True):
            if pack in missing and _take(plan, pack, segments, contents, tree):
                plan.without.add(number)
            number += 1


def _take(
    plan: Plan, pack: Pack, segments: Sequence[Segment], contents: Contents, tree: OldTree | None
) -> bool:
    """Plan to do without a pack, if that is possible for all that is in it."""
    found: list[tuple[Pack | None, Taken]] = []
    own_offset = 0
    for segment in segments:
        place = contents.find(segment.entry) if is_content(segment) else None
        if place is not None:
            found.append((place.pack, Taken(segment, place.offset, pack, own_offset)))
        elif tree is not None and _is_likely_in(tree.folder, segment):
            found.append((None, Taken(segment, 0, pack, own_offset)))
        else:
            return False
        own_offset += segment.length
    for source, taken in found:
        (plan.from_tree if source is None else plan.taken.setdefault(source, [])).append(taken)
    return True


def _is_likely_in(folder: Path, segment: Segment) -> bool:
    if segment.entry.holes or segment.entry.size > MOST_FROM_TREE_BYTES:
        return False
    try:
        status = (folder / segment.entry.path).lstat()
    except (OSError, ValueError):
        # ValueError: a name with NUL. Names are judged later, and nothing is opened here.
        return False
    return status.st_size == segment.entry.size


def _contents(
    missing: Set[Pack],
    supply: Supply,
    cache: Cache,
    relatives: Sequence[Relative],
    tree: OldTree | None,
) -> Contents:
    """Return what the packs of related images hold that are in the cache, and an update's if that is less."""
    contents = Contents()
    for relative in relatives:
        is_whole = _add_cached(contents, relative.old, cache)
        if not (is_whole or (tree is not None and tree.digest == relative.old)):
            continue
        try:
            update = supply.update(relative.update)
            if update.size < sum(pack.blob.size for pack in missing):
                add_update(contents, update, supply.ahead(piece.blob for piece in update.pieces))
        except BootError as error:
            # The whole packs are there all the same.
            log.warning("an update is of no use: %s", error)
        break
    return contents


def _add_cached(contents: Contents, digest: str, cache: Cache) -> bool:
    """Add what the cache has of an image; say whether that is all of it."""
    try:
        raw = cache.get(digest)
        manifest = parse(raw) if raw is not None else None
        if manifest is None or manifest.kind is not ImageKind.TREE:
            return False
        is_whole = True
        for piece in manifest.pieces:
            stored = cache.get(piece.blob.sha256, piece.blob.size)
            if stored is None:
                return False
            for pack, segments in zip(piece.packs, index.read(stored, piece).packs, strict=True):
                if cache.has(pack.blob):
                    contents.add(pack, contents_in(segments))
                else:
                    is_whole = False
    except MalformedManifest as error:
        log.warning("an image in the cache is of no use: %s", error)
        return False
    return is_whole


def add_update(contents: Contents, update: Manifest, frames: Iterable[bytes]) -> None:
    """Add what the packs of an update hold, by the compressed pieces of its index.

    Raises MalformedManifest, and what reading `frames` raises.
    """
    for piece, frame in zip(update.pieces, frames, strict=True):
        raw = zstd_frame.unpack(frame, piece.index_bytes)
        for pack, found in zip(piece.packs, contents_of(raw, piece), strict=True):
            contents.add(pack, found)
