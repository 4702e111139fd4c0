"""Unpack the base filesystem onto the root volume, and lay in the sliver images for later.

A tree that a power cut left half unpacked is emptied and unpacked anew rather than laid over: files that
the cut tore, or that only an older image had, would stay behind and belong to no image. Emptying is
enough because the format step has made this file system in this very run, or set aside what was on it, so
all else that is on it is ours. What says that a tree is whole is a file written after everything else is on
the disk.

A former root that was set aside is looked into for files, and removed when the new tree is whole. If there
is anything wrong with it the file system is made anew, and the image unpacked as onto any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from host import unpacked
from host.files import read_regular
from host.filesystems import ROOT_LABEL, filesystems
from host.former import Former
from host.http import http_of
from host.run import CommandFailed, Runner
from host.storage import Layout
from host.target import NoBootPartition, read_all_installed, target, target_read_only
from host.texts import _
from host.unpacked import Unpacked, load_unpacked, write_unpacked
from images import tree
from images.cache import Cache
from images.documents import Documents
from images.fetch import Transfer, pins
from images.manifest import Manifest
from images.neighbours import Neighbours
from images.plan import OldTree, Relative, foreseen
from images.progress import Progress
from images.relatives import relatives_of
from images.source import Source, source_of
from images.trust import SignedImages
from images.unpack import load_manifest, prefetch, unpack
from images.write import TargetFull
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import BootError, CommandError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration

SYNC_SECONDS = 1800.0
_MIB = 1024 * 1024
_RECORD_BYTES = 64 * 1024
# What a former root may fail with: no room beside it, a disk or file system with errors, files that refuse
# to be removed.
_UNUSABLE = (TargetFull, CommandError, OSError)


class Unpack(Step):
    """The root volume holds exactly the base image, unpacked in this run.

    The other images in the dongle are no part of the goal: without them configmanager fetches them.
    """

    name = "unpack"
    title = "Unpack the base filesystem"
    effect = Effect.DESTROYS
    needs = (NodeConfiguration, NodeDetails, SignedImages, Cache, Layout)

    def observe(self, context: Context) -> Observation:
        details = context.facts[NodeDetails]
        is_whole, former = _found(context)
        if is_whole and former is None:
            return holds()
        if is_whole:
            return lacks(Change(Keeps.DESTROY, _("root volume"), _("the former root is removed")))
        image = f"{details.base_image.name} ({details.base_image.manifest[:12]})"
        origins = _foreseen(context)
        if _has_files(context.host.run):
            what = _(
                "image {image} is unpacked, all else is removed; {origins}", image=image, origins=origins
            )
            return lacks(Change(Keeps.DESTROY, _("root volume"), what))
        what = _("image {image} is unpacked; {origins}", image=image, origins=origins)
        return lacks(Change(Keeps.CREATE, _("root volume"), what))

    def run(self, context: Context) -> None:
        is_whole, former = _found(context)
        if is_whole and former is not None and _is_removed(context, former):
            return
        details = context.facts[NodeDetails]
        cache = context.facts[Cache]
        cache.budget_bytes = details.cache_budget_mib * _MIB
        source = source_of(context.facts[NodeConfiguration], details)
        signed = context.facts[SignedImages]
        near = context.facts.get(Neighbours)
        manifest, transfer = load_manifest(signed.vouch(details.base_image), source, cache, near)
        later = _manifests(context, source, cache)
        keep = pins([manifest, *later])
        progress = _Shares(context.progress, manifest.size + sum(each.size for each in later))
        base = _Base(context, manifest, source, keep, progress.next(manifest.size))
        _tell(context, manifest.name, transfer + base.lay())
        for manifest, before in later.items():
            share = progress.next(manifest.size)
            try:
                relatives = _relatives(context, manifest)
                moved = prefetch(manifest, source, cache, share, keep, relatives, near)
                _tell(context, manifest.name, before + moved)
            except BootError as error:
                _tell_failed(context, manifest.name, error)


@dataclass(frozen=True)
class _Base:
    """The base image on its way to the root volume."""

    context: Context
    manifest: Manifest
    source: Source
    keep: frozenset[str]
    on_progress: Progress

    def lay(self) -> Transfer:
        """Lay it, with what a former root has of it."""
        _, former = _found(self.context)
        if former is not None:
            try:
                return self._lay(former)
            except _UNUSABLE as error:
                _make_anew(self.context, error)
        return self._lay(None)

    def _lay(self, former: Former | None) -> Transfer:
        context, run = self.context, self.context.host.run
        with target(run) as root:
            context.progress(None, _("emptying the root volume"))
            tree.empty(root, (former.tree, former.record) if former is not None else ())
            tree.empty(root / "boot")
            moved = unpack(
                self.manifest,
                root,
                self.source,
                context.facts[Cache],
                self.on_progress,
                self.keep,
                _relatives(context, self.manifest),
                _old_tree(root, former) if former is not None else None,
                context.facts.get(Neighbours),
            )
            context.progress(None, _("writing it out to the disk"))
            run(["sync", "--file-system", root, root / "boot"], timeout=SYNC_SECONDS)
            write_unpacked(root / unpacked.PATH, _wanted(context))
            if former is not None:
                context.progress(None, _("removing the former root"))
                former.remove(run, root)
        return moved


def _foreseen(context: Context) -> str:
    """Say where the base image comes from, as far as the dongle tells; the rest is planned by run()."""
    origins = foreseen(context.facts[NodeDetails].base_image.manifest, context.facts[Cache])
    if origins is None:
        return _("how much of it is to be fetched is not known: the dongle does not have its manifest")
    cached, fetched = -(-origins.cache_bytes // _MIB), -(-origins.fetch_bytes // _MIB)
    return _("{cached} MiB from the dongle, at most {fetched} MiB to fetch", cached=cached, fetched=fetched)


def _found(context: Context) -> tuple[bool, Former | None]:
    """Say whether the root volume has the image whole, and the former root if there is one beside it."""
    former = Former(context.facts[NodeDetails].run_id)
    record = Path(former.record)
    texts = read_all_installed(context.host.run, (unpacked.PATH, record))
    is_whole = load_unpacked(texts[unpacked.PATH]) == _wanted(context)
    return is_whole, former if texts[record] is not None else None


def _old_tree(root: Path, former: Former) -> OldTree:
    try:
        record = load_unpacked(read_regular(root / former.record, _RECORD_BYTES).decode(errors="replace"))
    except OSError:
        record = None
    return OldTree(root / former.tree, record.manifest if record is not None else "")


def _is_removed(context: Context, former: Former) -> bool:
    """Remove what a power cut left of the former root; where that fails, make the file system anew."""
    try:
        with target(context.host.run) as root:
            former.remove(context.host.run, root)
        return True
    except _UNUSABLE as error:
        _make_anew(context, error)
        return False


def _make_anew(context: Context, reason: Exception) -> None:
    context.host.events.tell("root.formatted", reason=str(reason))
    layout = context.facts[Layout]
    next(one for one in filesystems(layout) if one.label == ROOT_LABEL).make(context.host.run)


def _relatives(context: Context, manifest: Manifest) -> Sequence[Relative]:
    configuration = context.facts[NodeConfiguration]
    documents = Documents(context.facts[Cache], configuration.key)
    return relatives_of(manifest.name, manifest.digest, http_of(configuration), documents)


def _manifests(context: Context, source: Source, cache: Cache) -> dict[Manifest, Transfer]:
    """Return the manifests of the images that the dongle shall hold for later, as far as they can be had."""
    found, signed = {}, context.facts[SignedImages]
    for ref in context.facts[NodeDetails].images if cache.stores else ():
        try:
            near = context.facts.get(Neighbours)
            manifest, transfer = load_manifest(signed.vouch(ref), source, cache, near)
        except BootError as error:
            _tell_failed(context, ref.name, error)
        else:
            found[manifest] = transfer
    return found


def _tell(context: Context, image: str, transfer: Transfer) -> None:
    context.host.events.tell("transfer", image=image, **asdict(transfer))


def _tell_failed(context: Context, image: str, error: BootError) -> None:
    # Not a reason to stop: who needs the image asks for it again, and fails then if it is still not there.
    context.host.events.tell("prefetch.failed", image=image, code=error.code, detail=error.detail)


class _Shares:
    """One bar for several images, each with the share of its bytes."""

    def __init__(self, progress: Progress, total_bytes: int) -> None:
        self._progress = progress
        self._total = total_bytes
        self._before = 0

    def next(self, size: int) -> Progress:
        """Return the progress of the next part of `size` bytes."""
        start = self._before
        self._before += size

        def share(fraction: float | None, text: str) -> None:
            self._progress(None if fraction is None else (start + fraction * size) / self._total, text)

        return share


def _has_files(run: Runner) -> bool:
    try:
        with target_read_only(run) as root:
            return not tree.is_empty(root)
    except (CommandFailed, NoBootPartition, OSError):
        # No such volume yet, nothing made on it, or damaged beyond reading.
        return False


def _wanted(context: Context) -> Unpacked:
    """Return what says that the image was unpacked whole in this run."""
    details = context.facts[NodeDetails]
    return Unpacked(details.base_image.name, details.base_image.manifest, details.run_id)
