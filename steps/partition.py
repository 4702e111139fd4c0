"""Partition the disks."""

from __future__ import annotations

from host.storage import Layout, LayoutDisk
from host.texts import Text, _
from hwdetect.content import DiskState, human_size
from hwdetect.inventory import Disk, Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks


class Partition(Step):
    """The disks have partitions and volumes as the layout says, and carry this run's claim."""

    name = "partition"
    title = "Partition the disks"
    effect = Effect.DESTROYS
    needs = (Inventory, Layout)

    def observe(self, context: Context) -> Observation:
        layout, storage = context.facts[Layout], context.host.storage
        if storage.matches(layout):
            return holds()
        known = {disk.path: disk for disk in context.facts[Inventory].disks}
        if storage.keeps(layout):
            return lacks(*(_kept(disk, known[disk.path]) for disk in layout.disks))
        return lacks(
            *(change for disk in layout.disks for change in _changes(layout, disk, known[disk.path]))
        )

    def run(self, context: Context) -> None:
        context.host.storage.apply(context.facts[Layout])


def _kept(planned: LayoutDisk, disk: Disk) -> Change:
    what = _("{disk}: partitions and volumes, claimed for this run", disk=_name(disk))
    return Change(Keeps.KEEP, planned.path, what)


def _changes(layout: Layout, planned: LayoutDisk, disk: Disk) -> list[Change]:
    what = "; ".join(disk.content) or _("nothing known")
    changes = []
    if disk.state is not DiskState.BLANK:
        changes.append(
            Change(Keeps.DESTROY, planned.path, Text("{disk}: {what}", disk=_name(disk), what=what))
        )
    for part in layout.partitions(planned):
        size = human_size(part.size)
        text = _("partition {number} ({name}), {size}", number=part.number, name=part.name, size=size)
        changes.append(Change(Keeps.CREATE, planned.path, text))
    if planned == layout.system:
        volumes = ", ".join((*(name for name, _size in layout.volumes), "slivers"))
        changes.append(Change(Keeps.CREATE, planned.path, _("volumes {names}", names=volumes)))
    return changes


def _name(disk: Disk) -> str:
    return _(
        "{model}, serial {serial}, {size}",
        model=disk.model,
        serial=disk.serial or _("unknown"),
        size=human_size(disk.size_bytes),
    )
