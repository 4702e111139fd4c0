"""Making the layout with blivet: the only file that imports it, and only when something is to be made.

A power cut at any instant leaves disks that carry a claim of this node, or that are as they were, or
that the configuration names; running again then tears down what does not fit and starts over. Nothing
on the disks is taken for finished because a record says so: `matches` reads it from the disks.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from host import disks, lvm
from host.run import Runner
from host.storage import (
    EXTENT_MIB,
    MIB,
    VOLUME_GROUP,
    Layout,
    LayoutDisk,
    PartitionType,
    partition_node,
)
from wire.errors import CommandError, UnsupportedHardware

log = logging.getLogger(__name__)

_APPEAR_SECONDS = 30.0


class VolumeGroupElsewhere(UnsupportedHardware):
    """A disk that is not in the layout carries a volume group of our name."""

    code = "volume-group-elsewhere"
    title = f"Another disk carries a volume group named {VOLUME_GROUP}"
    hint = "Take that disk out, wipe it, or name it as a data disk of this node at the server."


class StorageFailed(CommandError):
    """blivet could not make the layout."""

    code = "storage-failed"
    title = "The disks could not be given their layout"
    hint = "Look at the kernel's messages for a failing disk; set the state again to retry."


class BlivetStorage:
    """The disks of this machine."""

    def __init__(self, run: Runner | None = None) -> None:
        self._run = run or Runner()

    def matches(self, layout: Layout) -> bool:
        """Say whether the disks have exactly this layout and its claims; changes nothing.

        Raises VolumeGroupElsewhere.
        """
        tables = self._tables(layout)
        return _claimed(layout, tables) and self._fits(layout, tables) and not _missing(layout)

    def keeps(self, layout: Layout) -> bool:
        """Say whether partitions and volumes are what they shall be; changes nothing.

        Raises VolumeGroupElsewhere.
        """
        return self._fits(layout, self._tables(layout))

    def apply(self, layout: Layout) -> None:
        """Make the disks have this layout, destroying what is on them where it does not fit.

        Raises VolumeGroupElsewhere, DiskBusy, DiskWriteFailed, StorageFailed, CommandFailed.
        """
        disks.settle(self._run)
        tables = self._tables(layout)
        if self._fits(layout, tables):
            for disk, table in zip(layout.disks, tables, strict=True):
                if table is None or table.guid != disk.claim:
                    disks.renew_claim(self._run, disk)
            lvm.activate(self._run, VOLUME_GROUP, _members(layout))
        else:
            self._make(layout)
        self._wait_for(layout)

    def activate(self, paths: tuple[str, ...]) -> None:
        """Make the volumes on these disks, all of them ours, appear in /dev. Writes to no disk.

        A group that also lies on other disks, or is not whole, is left alone, and the log says so.
        """
        if not paths:
            return
        try:
            reason = self._activate(paths)
        except CommandError as error:
            # Whoever needs the volumes will say that they are missing; making new ones must stay possible.
            reason = str(error)
        if reason:
            log.warning("volume group %s is not activated: %s", VOLUME_GROUP, reason)

    def _activate(self, paths: tuple[str, ...]) -> str:
        members = sorted(lvm.physical_volumes(self._run, VOLUME_GROUP))
        elsewhere = [node for node in members if disks.disk_of(node) not in paths]
        if elsewhere or not members:
            return f"it is also on {', '.join(elsewhere)}" if elsewhere else "there is none"
        group = lvm.read_group(self._run, VOLUME_GROUP, members)
        if group is None or group.incomplete:
            return "it is not whole"
        lvm.activate(self._run, VOLUME_GROUP, members)
        return ""

    def _tables(self, layout: Layout) -> list[disks.Table | None]:
        return [disks.read_table(self._run, disk.path) for disk in layout.disks]

    def _fits(self, layout: Layout, tables: Sequence[disks.Table | None]) -> bool:
        found = self._group_members(layout)
        if not _partitioned(layout, tables):
            return False
        members = _members(layout)
        if found != set(members):
            return False
        group = lvm.read_group(self._run, VOLUME_GROUP, members)
        if group is None or group.incomplete or group.free:
            return False
        sizes = {volume.name: volume.size for volume in group.volumes}
        fixed = dict(layout.volumes)
        if set(sizes) != {"slivers", *fixed} or any(v.segments != "linear" for v in group.volumes):
            return False
        home = f"{members[0]}("
        return all(
            v.size == fixed[v.name] * MIB and v.devices.startswith(home)
            for v in group.volumes
            if v.name in fixed
        )

    def _group_members(self, layout: Layout) -> frozenset[str]:
        """Return the members of our volume group. Raises VolumeGroupElsewhere."""
        ours = {disk.path for disk in layout.disks}
        members = lvm.physical_volumes(self._run, VOLUME_GROUP)
        elsewhere = sorted(node for node in members if disks.disk_of(node) not in ours)
        if elsewhere:
            raise VolumeGroupElsewhere(", ".join(elsewhere))
        return members

    def _make(self, layout: Layout) -> None:
        for disk in layout.disks:
            disks.refuse_in_use(disk.path)
        # blivet takes seconds to load, which pass while the commands below run.
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(_load_blivet)
            self._empty(layout)
            loading.result()
        _make_with_blivet(layout)

    def _empty(self, layout: Layout) -> None:
        # The old root dies first: a half-made layout must not bring an older installation back to life.
        root = layout.volume_device("root")
        if Path(root).exists():
            disks.zero_start(root)
        for disk in layout.disks:
            disks.release(self._run, disk.path)
        for disk in layout.disks:
            disks.claim_and_empty(self._run, disk)
        for disk in layout.disks:
            disks.zero(disk, layout.partitions(disk))

    def _wait_for(self, layout: Layout) -> None:
        deadline = time.monotonic() + _APPEAR_SECONDS
        disks.settle(self._run)
        while missing := _missing(layout):
            if time.monotonic() > deadline:
                raise StorageFailed(f"waited {_APPEAR_SECONDS:.0f} s for {', '.join(missing)}")
            time.sleep(0.1)
            disks.settle(self._run)


def _claimed(layout: Layout, tables: Sequence[disks.Table | None]) -> bool:
    pairs = zip(layout.disks, tables, strict=True)
    return all(table is not None and table.guid == disk.claim for disk, table in pairs)


def _partitioned(layout: Layout, tables: Sequence[disks.Table | None]) -> bool:
    for disk, table in zip(layout.disks, tables, strict=True):
        planned = tuple((part.number, part.type, part.start, part.size) for part in layout.partitions(disk))
        if table is None or table.kind != "gpt" or table.partitions != planned:
            return False
    return True


def _members(layout: Layout) -> tuple[str, ...]:
    """Return the device nodes of the partitions that make up the volume group."""
    return tuple(partition_node(disk.path, layout.partitions(disk)[-1].number) for disk in layout.disks)


def _missing(layout: Layout) -> list[str]:
    """Return the device nodes that are not there."""
    volumes = [layout.volume_device(name) for name in ("slivers", *(name for name, _ in layout.volumes))]
    nodes = [layout.esp_device, layout.boot_device, *_members(layout), *volumes]
    return [node for node in nodes if not Path(node).exists()]


def _load_blivet() -> None:
    # At the level of warnings they complain of every plug-in that the medium leaves out on purpose.
    for name in ("blivet", "program", "testdata", "dasbus", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    udev: Any = importlib.import_module("blivet.udev")
    importlib.import_module("blivet.blivet")
    if not isinstance(udev.settle, disks.SettleWhenNeeded):
        udev.settle = disks.SettleWhenNeeded(udev.settle)


def _make_with_blivet(layout: Layout) -> None:
    """Make partitions and volumes on disks that are empty but for their claims. Raises StorageFailed."""
    import blivet
    from blivet.errors import StorageError
    from blivet.flags import flags
    from gi.repository import GLib

    # No list of devices and no copies of metadata: they would be written to RAM and mean nothing.
    flags.lvm_devices_file = False
    flags.lvm_metadata_backup = False
    session = blivet.Blivet()
    # Nothing else may be written, nor even be looked at.
    session.exclusive_disks = [Path(disk.path).name for disk in layout.disks]
    try:
        session.reset()
        _create(session, layout)
    except (StorageError, GLib.GError, OSError) as error:
        raise StorageFailed(f"{type(error).__name__}: {error}") from None


def _create(session: Any, layout: Layout) -> None:
    from blivet.devices.lvm import LVPVSpec
    from blivet.partitioning import do_partitioning
    from blivet.size import Size

    members = [part for disk in layout.disks for part in _partition(session, layout, disk)]
    do_partitioning(session)
    group = session.new_vg(name=VOLUME_GROUP, parents=members, pe_size=Size(EXTENT_MIB * MIB))
    session.create_device(group)
    for name, mib in layout.volumes:
        size = Size(mib * MIB)
        # On the system disk: a data disk that dies must not take the system with it.
        place = LVPVSpec(members[0], size)
        session.create_device(session.new_lv(name=name, parents=[group], size=size, pvs=[place]))
    session.do_it()
    # Made last, because blivet orders volumes by itself and this one may take extents anywhere.
    session.create_device(session.new_lv(name="slivers", parents=[group], size=group.free_space))
    session.do_it()


def _partition(session: Any, layout: Layout, disk: LayoutDisk) -> list[Any]:
    """Plan the partitions of a disk; return the one that becomes a member of the volume group."""
    device = session.devicetree.get_device_by_path(disk.path)
    if device is None or device.format.type != "disklabel":
        raise StorageFailed(f"blivet does not see the partition table on {disk.path}")
    sector = device.format.parted_device.sectorSize
    members = []
    for part in layout.partitions(disk):
        partition = session.new_partition(
            fmt_type="lvmpv" if part.type is PartitionType.LVM else None,
            part_type_uuid=UUID(part.type),
            parents=[device],
            start=part.start // sector,
            end=(part.start + part.size) // sector - 1,
        )
        # What it wipes by this was wiped before the partition existed.
        partition._wipe = lambda: None
        session.create_device(partition)
        if part.type is PartitionType.LVM:
            members.append(partition)
    return members
