"""Hand the machine over to the other system on the disk, by that disk's own boot loader."""

from __future__ import annotations

from pathlib import Path

from host import start_disk
from host.boot import Chain, ChainHow
from host.texts import _
from hwdetect.inventory import Disk, Inventory, describe_disk
from hwdetect.written import is_disk_of
from images.cache import Cache
from images.disk_record import DiskRecords, NoDongle
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import UnsupportedHardware, VerificationError
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration


class OtherSystemMissing(UnsupportedHardware):
    """The disk that the other system was written to is not there."""

    code = "other-system-missing"
    title = "The disk with the other system is not in this machine"
    hint = "Put the disk back, or order the image again: bootserver node disk-image NAME IMAGE."


class DiskNotStarted(VerificationError):
    """The machine was to start the disk, and started the boot medium again."""

    code = "disk-not-started"
    title = "The boot medium did not start the disk"
    hint = "The firmware must show the dongle and the disk to GRUB: try another USB port for the dongle."


class StartDisk(Step):
    """The disk with the other system is what the boot medium starts next."""

    name = "start_disk"
    title = "Start the other system"
    effect = Effect.CHANGES
    needs = (Inventory, NodeConfiguration, NodeDetails, Cache)
    gives = (Chain,)

    def observe(self, context: Context) -> Observation:
        disk, wish = _disk(context), _wish(context)
        if wish is not None and wish.boot == start_disk.this_boot():
            return holds(Chain(ChainHow.DISK))
        what = _("is started by its own boot loader: {disk}", disk=describe_disk(disk))
        return lacks(Change(Keeps.KEEP, disk.path, what))

    def run(self, context: Context) -> None:
        cache, disk, boot = context.facts[Cache], _disk(context), start_disk.this_boot()
        if cache.folder is None or not cache.stores:
            raise NoDongle("the boot medium's GRUB learns from it which disk to start")
        if _wish(context) is not None:
            # Clear it, so that the next try is a new one.
            cache.write_document(
                cache.folder / start_disk.ENVIRONMENT, start_disk.environment(boot, wished=False)
            )
            raise DiskNotStarted(f"it was asked before to start {describe_disk(disk)}")
        for name, data in (
            (start_disk.CHECKSUM, start_disk.checksum(disk.path)),
            (start_disk.ENVIRONMENT, start_disk.environment(boot, wished=True)),
        ):
            if not cache.write_document(cache.folder / name, data):
                raise NoDongle(f"{name} cannot be written to it")


def _disk(context: Context) -> Disk:
    order = context.facts[NodeDetails].disk_image
    record = DiskRecords(context.facts, context.host.events).of(order.id)
    if record is None:
        raise OtherSystemMissing("nothing is known of it")
    disk = next((disk for disk in context.facts[Inventory].disks if is_disk_of(record, disk)), None)
    if disk is None:
        raise OtherSystemMissing(f"serial {record.serial or record.wwn}, {record.size_mib} MiB")
    return disk


def _wish(context: Context) -> start_disk.Wish | None:
    cache = context.facts[Cache]
    folder = cache.folder if cache.folder is not None else Path("/nowhere")
    return start_disk.wish_of(cache.read_document(folder / start_disk.ENVIRONMENT, start_disk.BLOCK_BYTES))
