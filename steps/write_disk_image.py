"""Write the image of a whole disk: onto the one that a technician names, or as the operator ordered it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from host.disks import refuse_in_use, release
from host.storage import DiskRole, claim_guid, claimed_role
from host.texts import Text, _
from hwdetect.content import MIB, DiskState, human_size
from hwdetect.disks import image_disk, named_disk
from hwdetect.inventory import Disk, Firmware, Inventory
from hwdetect.media import Media
from hwdetect.written import HEAD_BYTES, head_of, recognised, table_id
from images.cache import Cache
from images.disk_record import DiskRecords
from images.disk_write import DiskDiffers, image_head, verify_disk, write_disk
from images.fetch import Supply, pins
from images.manifest import Manifest
from images.own import own_manifests
from images.plan import tell, whole
from images.source import source_of
from images.trust import SignedImages
from images.unpack import load_manifest
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import ConfigurationError, UnsupportedHardware
from wire.messages import DiskOrder, DiskRecord, ImageRef, NodeDetails
from wire.nodeconf import NodeConfiguration


class NothingOrdered(ConfigurationError):
    """The node shall run no other system."""

    code = "nothing-ordered"
    title = "The operator has ordered no disk image for this node"
    hint = "Order one at the server: bootserver node disk-image NAME IMAGE."


class DiskImageNameless(ConfigurationError):
    """A disk that holds the image could not be recognised later."""

    code = "disk-image-nameless"
    title = "The disk image has no partition table with an id"
    hint = "Publish an image of a disk with a GPT, or an MBR whose disk id is not 0."


class FirmwareUnsupported(UnsupportedHardware):
    """The machine was started by a firmware that could not start the other system from the disk."""

    code = "firmware-unsupported"
    title = "The machine was not started by a BIOS, which another system's disk needs"
    hint = "Switch the firmware to legacy (BIOS) boot."


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
        with _supply(context, self._image) as (manifest, supply):
            disk = self._chosen(context, manifest)
            try:
                verify_disk(manifest, Path(disk.path), supply, context.progress)
            except DiskDiffers:
                return lacks(*_changes(disk, manifest))
        return holds()

    def run(self, context: Context) -> None:
        with _supply(context, self._image) as (manifest, supply):
            _write(context, self._chosen(context, manifest), manifest, supply)

    def _chosen(self, context: Context, manifest: Manifest) -> Disk:
        facts = context.facts
        return named_disk(self._disk, _needed_mib(manifest), facts[Inventory], facts[Media])


class WriteOrderedImage(Step):
    """The disk was made equal to the image that the operator ordered, and that is noted durably.

    It is the disk that the order names, else the node's system disk, which must be blank, ours or named.
    An order is carried out once: what becomes of the disk afterwards is the other system's business.
    """

    name = "write_ordered_image"
    title = "Write the image of another system onto the disk"
    effect = Effect.DESTROYS
    needs = WriteDiskImage.needs

    def observe(self, context: Context) -> Observation:
        order = context.facts[NodeDetails].disk_image
        if not order.id:
            raise NothingOrdered("its configuration names none")
        if context.facts[Inventory].firmware is not Firmware.BIOS:
            raise FirmwareUnsupported("the medium was started by UEFI")
        record = self._records(context).of(order.id)
        if record is not None and record.whole:
            return holds()
        with _supply(context, order.image.name) as (manifest, supply):
            disk = self._chosen(context, manifest)
            if self._is_there(disk, _table(manifest, supply)):
                what = _("holds image {image} already", image=manifest.name)
                return lacks(Change(Keeps.KEEP, disk.path, what))
        return lacks(*_changes(disk, manifest))

    def run(self, context: Context) -> None:
        order, records = context.facts[NodeDetails].disk_image, self._records(context)
        with _supply(context, order.image.name) as (manifest, supply):
            disk, table = self._chosen(context, manifest), _table(manifest, supply)
            begun = DiskRecord(
                id=order.id,
                image=ImageRef(manifest.name, manifest.digest),
                serial=disk.serial,
                wwn=disk.wwn,
                size_mib=disk.size_bytes // MIB,
                table=table,
                claim=claim_guid(order.id, _role(order, disk), disk.serial or disk.wwn),
                whole=False,
            )
            if not self._is_there(disk, table):
                records.note(begun)
                _write(context, disk, manifest, supply)
                # Now, because the other system will change what is there.
                verify_disk(manifest, Path(disk.path), supply, context.progress)
        records.note(replace(begun, whole=True))

    def _records(self, context: Context) -> DiskRecords:
        return DiskRecords(context.facts, context.host.events)

    def _chosen(self, context: Context, manifest: Manifest) -> Disk:
        facts, details = context.facts, context.facts[NodeDetails]
        ours = recognised(facts[Inventory], self._records(context).known())
        return image_disk(details.disk_image.disk, details.disks, _needed_mib(manifest), ours, facts[Media])

    def _is_there(self, disk: Disk, table: str) -> bool:
        """Say whether a disk that no note tells of holds the image: who lost all notes wipes nothing.

        The beginning of an image is written last, so that where it is there, all of it was.
        """
        return disk.state is DiskState.FOREIGN and table_id(head_of(disk.path)) == table


def _role(order: DiskOrder, disk: Disk) -> DiskRole:
    """Say what the disk is to the node when it is its own again: what it was, else what the order says."""
    return claimed_role(disk.table_guid) or (DiskRole.DATA if order.disk else DiskRole.SYSTEM)


def _write(context: Context, disk: Disk, manifest: Manifest, supply: Supply) -> None:
    refuse_in_use(disk.path)
    release(context.host.run, disk.path)
    tell(context.host.events, manifest.name, whole(manifest, context.facts[Cache]))
    write_disk(manifest, Path(disk.path), supply, context.progress)
    context.host.events.tell("transfer", image=manifest.name, **asdict(supply.transfer))


def _table(manifest: Manifest, supply: Supply) -> str:
    table = table_id(image_head(manifest, supply, HEAD_BYTES))
    if not table:
        raise DiskImageNameless(manifest.name)
    return table


@contextmanager
def _supply(context: Context, image: str) -> Iterator[tuple[Manifest, Supply]]:
    details, cache = context.facts[NodeDetails], context.facts[Cache]
    cache.budget_bytes = details.cache_budget_mib * MIB
    source = source_of(context.facts[NodeConfiguration], details)
    signed = context.facts[SignedImages]
    manifest, _ = load_manifest(signed.named(image), source, cache)
    keep = pins([manifest, *own_manifests(details, signed, source, cache)])
    with Supply(source, cache, keep) as supply:
        yield manifest, supply


def _needed_mib(manifest: Manifest) -> int:
    return -(-manifest.disk_bytes // MIB)


def _changes(disk: Disk, manifest: Manifest) -> Iterator[Change]:
    name = _(
        "{model}, serial {serial}, {size}",
        model=disk.model,
        serial=disk.serial or _("unknown"),
        size=human_size(disk.size_bytes),
    )
    if disk.state is not DiskState.BLANK:
        what = "; ".join(disk.content) or _("nothing known")
        yield Change(Keeps.DESTROY, disk.path, Text("{disk}: {what}", disk=name, what=what))
    what = _(
        "image {image}, {size} onto {disk}; the rest zeros",
        image=f"{manifest.name} ({manifest.digest[:12]})",
        size=human_size(manifest.data_bytes),
        disk=name,
    )
    yield Change(Keeps.CREATE, disk.path, what)
