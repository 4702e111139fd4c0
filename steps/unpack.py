"""Unpack the base filesystem onto the root volume, and lay in the sliver images for later.

A tree that a power cut left half unpacked is emptied and unpacked anew rather than laid over: files that
the cut tore, or that only an older image had, would stay behind and belong to no image. Emptying is
enough because the format step has made this file system in this very run, so all that is on it is ours;
making it again is that step's business, and slower. What says that a tree is whole is a file written
after everything else is on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from host.files import write_atomic
from host.http import http_of
from host.run import CommandFailed, Runner
from host.target import read_installed, target, target_read_only
from images import tree
from images.cache import Cache
from images.documents import Documents
from images.fetch import Transfer, pins
from images.manifest import Manifest
from images.plan import Relative
from images.progress import Progress
from images.relatives import relatives_of
from images.source import Source, source_of
from images.trust import SignedImages
from images.unpack import load_manifest, prefetch, unpack
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import BootError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration

UNPACKED = Path("etc/bootmanager/unpacked.json")
SYNC_SECONDS = 1800.0
_MIB = 1024 * 1024


class Unpack(Step):
    """The root volume holds exactly the base image, unpacked in this run.

    The other images in the dongle are no part of the goal: without them configmanager fetches them.
    """

    name = "unpack"
    title = "Unpack the base filesystem"
    effect = Effect.DESTROYS
    needs = (NodeConfiguration, NodeDetails, SignedImages, Cache)

    def observe(self, context: Context) -> Observation:
        details = context.facts[NodeDetails]
        if read_installed(context.host.run, UNPACKED) == _unpacked(details):
            return holds()
        image = f"image {details.base_image.name} ({details.base_image.manifest[:12]})"
        if _has_files(context.host.run):
            return lacks(Change(Keeps.DESTROY, "root volume", f"emptied, then {image} is unpacked"))
        return lacks(Change(Keeps.CREATE, "root volume", f"{image} is unpacked"))

    def run(self, context: Context) -> None:
        details = context.facts[NodeDetails]
        cache = context.facts[Cache]
        cache.budget_bytes = details.cache_budget_mib * _MIB
        source = source_of(context.facts[NodeConfiguration], details)
        signed = context.facts[SignedImages]
        base, transfer = load_manifest(signed.vouch(details.base_image), source, cache)
        later = _manifests(context, source, cache)
        keep = pins([base, *later])
        progress = _Shares(context.progress, base.size + sum(manifest.size for manifest in later))
        with target(context.host.run) as root:
            _make_empty(context, root)
            relatives = _relatives(context, base)
            transfer += unpack(base, root, source, cache, progress.next(base.size), keep, relatives)
            _tell(context, base.name, transfer)
            context.progress(None, "writing it out to the disk")
            context.host.run(["sync", "--file-system", root, root / "boot"], timeout=SYNC_SECONDS)
            write_atomic(root / UNPACKED, _unpacked(details))
        for manifest, before in later.items():
            share = progress.next(manifest.size)
            try:
                relatives = _relatives(context, manifest)
                moved = prefetch(manifest, source, cache, share, keep, relatives)
                _tell(context, manifest.name, before + moved)
            except BootError as error:
                _tell_failed(context, manifest.name, error)


def _relatives(context: Context, manifest: Manifest) -> Sequence[Relative]:
    configuration = context.facts[NodeConfiguration]
    documents = Documents(context.facts[Cache], configuration.key)
    return relatives_of(manifest.name, manifest.digest, http_of(configuration), documents)


def _make_empty(context: Context, root: Path) -> None:
    context.progress(None, "emptying the root volume")
    for folder in (root, root / "boot"):
        tree.empty(folder)


def _manifests(context: Context, source: Source, cache: Cache) -> dict[Manifest, Transfer]:
    """Return the manifests of the images that the dongle shall hold for later, as far as they can be had."""
    found, signed = {}, context.facts[SignedImages]
    for ref in context.facts[NodeDetails].images if cache.stores else ():
        try:
            manifest, transfer = load_manifest(signed.vouch(ref), source, cache)
        except BootError as error:
            _tell_failed(context, ref.name, error)
        else:
            found[manifest] = transfer
    return found


def _tell(context: Context, image: str, transfer: Transfer) -> None:
    context.host.events.tell(
        "transfer",
        image=image,
        network_bytes=transfer.network_bytes,
        cache_bytes=transfer.cache_bytes,
    )


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
    except (CommandFailed, OSError):
        # No such volume yet, nothing made on it, or damaged beyond reading.
        return False


def _unpacked(details: NodeDetails) -> str:
    """Return the content of the file that says which image was unpacked whole, in which run."""
    image = details.base_image
    content = {"name": image.name, "manifest": image.manifest, "run_id": details.run_id}
    return json.dumps(content, indent=1) + "\n"
