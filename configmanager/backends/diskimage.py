"""Another system in place of this one: a whole disk image, which bootmanager writes at the next boot."""

from __future__ import annotations

from typing import ClassVar

from configmanager.backends.base import Action, Backend, Item, Reboot, Verb
from hwdetect.content import MIB
from hwdetect.disks import DiskNotFound, DiskTooSmall, disk_to_replace
from hwdetect.inventory import Disk, describe_disk, detect
from wire.slivers import NodeSlivers


class DiskImage(Backend):
    """Nothing of its own on the node: the difference to an ordered image is a reboot.

    Nothing is written here. The image is brought into the dongle, so that the boot that writes it needs no
    network, and the disk is looked at, so that what cannot be done costs no reboot. bootmanager proves the
    disk once more before it writes.
    """

    name: ClassVar[str] = "diskimage"
    claims: ClassVar[frozenset[str]] = frozenset({"disks"})

    def observe(self) -> tuple[Item, ...]:
        return ()

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        """Say which disk is written, and what it holds.

        For that it looks at the disks, and not in observe(): nodes without an order need not be looked at.
        """
        order = desired.disk_image
        if not order.id:
            return ()
        lost = describe_disk(self._disk(order.disk))
        reason = f"is wanted: the next boot writes it over this disk and DESTROYS what it holds: {lost}"
        return (Action(Verb.CREATE, order.image.name, reason),)

    def apply(self, desired: NodeSlivers, action: Action) -> Reboot:
        order = desired.disk_image
        disk = self._disk(order.disk)
        size = self.node.bring(order.image)
        if size > disk.size_bytes:
            raise DiskTooSmall(f"{describe_disk(disk)} -- {-(-size // MIB)} MiB are needed")
        return Reboot(f"{action.name} is written over {describe_disk(disk)}")

    def teardown(self, name: str) -> None:
        """Do nothing: what a disk holds is taken away by whoever writes something else onto it."""

    def _disk(self, name: str) -> Disk:
        inventory = detect(self.node.run)
        found = disk_to_replace(name, inventory)
        if found is None:
            meant = name or "a disk that this node claimed for its system"
            there = "; ".join(map(describe_disk, inventory.disks))
            raise DiskNotFound(f"{meant}; there are: {there}")
        return found
