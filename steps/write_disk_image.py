"""Write the image of a whole disk onto the one disk that a technician names. Part of no state's plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.disks import refuse_in_use, release
from hwdetect.content import MIB, DiskState, human_size
from hwdetect.disks import named_disk
from hwdetect.inventory import Disk, Inventory
from hwdetect.media import Media
from images.cache import Cache
from images.disk_write import DiskDiffers, verify_disk, write_disk
from images.fetch import Supply, pins
from images.manifest import Manifest
from images.source import Source, source_of
from images.trust import SignedImages
from images.unpack import load_manifest
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import BootError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration


class WriteDiskImage(Step):
    """The disk is equal to the image in each of its bytes, read back from the disk itself.

    Naming the disk, by serial number or WWN, is the consent to lose what is on it, as in the node's
    configuration; media, disks in use and write-protected ones are refused, named or not.
    """

    name = "write_disk_image"
    title = "Write the image of a whole disk"
    effect = Effect.DESTROYS
    needs = (NodeConfiguration, NodeDetails, SignedImages, Cache, Inventory, Media)

    def __init__(self, image: str, disk: str) -> None:
        self._image = image
        self._disk = disk

    def observe(self, context: Context) -> Observation:
        with self._supply(context) as (manifest, supply):
            disk = self._chosen(context, manifest)
            try:
                verify_disk(manifest, Path(disk.path), supply, context.progress)
            except DiskDiffers:
                return lacks(*_changes(disk, manifest))
        return holds()

    def run(self, context: Context) -> None:
        with self._supply(context) as (manifest, supply):
            disk = self._chosen(context, manifest)
            refuse_in_use(disk.path)
            release(context.host.run, disk.path)
            write_disk(manifest, Path(disk.path), supply, context.progress)
        moved = supply.transfer
        context.host.events.tell(
            "transfer",
            image=manifest.name,
            network_bytes=moved.network_bytes,
            cache_bytes=moved.cache_bytes,
        )

    @contextmanager
    def _supply(self, context: Context) -> Iterator[tuple[Manifest, Supply]]:
        details, cache = context.facts[NodeDetails], context.facts[Cache]
        cache.budget_bytes = details.cache_budget_mib * MIB
        source = source_of(context.facts[NodeConfiguration], details)
        manifest, _ = load_manifest(context.facts[SignedImages].named(self._image), source, cache)
        keep = pins([manifest, *_own(context, source, cache)])
        with Supply(source, cache, keep) as supply:
            yield manifest, supply

    def _chosen(self, context: Context, manifest: Manifest) -> Disk:
        needed_mib = -(-manifest.disk_bytes // MIB)
        return named_disk(self._disk, needed_mib, context.facts[Inventory], context.facts[Media])


def _own(context: Context, source: Source, cache: Cache) -> Iterator[Manifest]:
    """Yield the node's own images, as far as they can be had: the dongle must not lose them for this one."""
    details, signed = context.facts[NodeDetails], context.facts[SignedImages]
    for ref in (details.base_image, *details.images) if cache.stores else ():
        try:
            yield load_manifest(signed.vouch(ref), source, cache)[0]
        except BootError:
            # Then the node could not be installed from it either.
            continue


def _changes(disk: Disk, manifest: Manifest) -> Iterator[Change]:
    name = f"{disk.model}, serial {disk.serial or 'unknown'}, {human_size(disk.size_bytes)}"
    if disk.state is not DiskState.BLANK:
        what = "; ".join(disk.content) or "nothing known"
        yield Change(Keeps.DESTROY, disk.path, f"{name}: {what}")
    image = f"image {manifest.name} ({manifest.digest[:12]})"
    yield Change(
        Keeps.CREATE, disk.path, f"{image}, {human_size(manifest.data_bytes)} onto {name}; the rest zeros"
    )
