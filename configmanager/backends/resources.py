"""Limits of slivers: processors, memory, processes, the disk's time by control groups, its room by quotas.

A sliver's limits are there before the sliver is, as a drop-in of its slice unit, and stay for as long as
anything of the sliver is there. The units, the folders and the slots are the backend `slivers`' to make.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from configmanager.backends import quota, slice_files, units
from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.backends.cpu_weights import GUARANTEED_PART, cpu_weights
from configmanager.backends.quota import Quotas, Room
from configmanager.backends.slice_files import ALL, ALL_PROPERTIES, ALL_TEXT, Limits, Written
from configmanager.kept import OfSlivers, ReadFiles
from configmanager.slots import Slots
from host.files import sync_folder, write_atomic
from wire.errors import ConfigurationError
from wire.slivers import NodeSlivers, machine_name

log = logging.getLogger(__name__)

SLIVERS = Path("var/lib/slivers")
CONTROL_GROUPS = Path("sys/fs/cgroup")
# Where systemd keeps what was set by `systemctl set-property --runtime`.
SET_PROPERTIES = Path("run/systemd/system.control")
_ALL_DIGEST = "as written"
_NO_LIMITS = Room(0, 0)


class ProcessorsGiven(ConfigurationError):
    """The guarantees of processor time are more than the node can give."""

    code = "processors-given-away"
    title = "The node cannot guarantee a sliver its processor time"
    hint = (
        "The sliver runs by its cpu_share alone. Lower a guarantee on this node: "
        "bootserver slice set NAME --attribute cpu_min=MS."
    )


class Resources(Backend):
    """A drop-in for each sliver's slice unit, a project quota for its folder; a drop-in for all slivers."""

    name: ClassVar[str] = "resources"
    claims: ClassVar[frozenset[str]] = frozenset({"units:slivers-", "quota"})

    def __init__(self, node: Node, processors: int | None = None) -> None:
        super().__init__(node)
        self._slots = Slots(node.root)
        self._slivers = node.root / SLIVERS
        self._processors = processors or os.cpu_count() or 1
        self._told_of_quota = False
        self._files = ReadFiles(slice_files.read)
        self._digests = OfSlivers(lambda sliver, weight: Limits.of(sliver.name, sliver.rspec, weight).digest)

    def observe(self) -> tuple[Item, ...]:
        written = self._all_written()
        rooms = self._rooms()
        by_hand, groups = self._units_by_hand(), self._groups()
        items = []
        if self._file(ALL).exists():
            good = self._file(ALL).read_text() == ALL_TEXT and ALL not in by_hand
            good = good and slice_files.in_force(str(self._group(ALL)), slice_files.shown(ALL_PROPERTIES))
            items.append(Item(ALL, _ALL_DIGEST if good else "", True))
        for each in written:
            good = each.unit not in by_hand and self._has_room(each, rooms)
            if good and each.unit in groups:
                good = slice_files.in_force(groups[each.unit], each.shown)
            items.append(Item(each.limits.sliver, each.limits.digest if good else "", True))
        # A power cut came between the number and what was to be written with it.
        known = {item.name for item in items}
        items += [Item(name, "", True) for name in self._slots.held(self.name) if name not in known]
        return tuple(items)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        weights = cpu_weights(desired.instantiated, self._processors)
        wanted = {ALL: _ALL_DIGEST} if desired.instantiated else {}
        for sliver in desired.instantiated:
            wanted[sliver.name] = self._digests.get(sliver, weights.by_name[sliver.name])
        actions = difference(wanted, observed)
        planned = {action.name for action in actions}
        complaints = (
            Action(Verb.CHANGE, name, "cannot have its cpu_min") for name in sorted(weights.refused - planned)
        )
        return (*actions, *complaints)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        if action.name == ALL:
            self._write(ALL, ALL_TEXT)
            self._put_in_force(ALL, ALL_PROPERTIES)
            return
        weights = cpu_weights(desired.instantiated, self._processors)
        sliver = next(item for item in desired.instantiated if item.name == action.name)
        limits = Limits.of(sliver.name, sliver.rspec, weights.by_name[sliver.name])
        slot = self._slots.take(sliver.name, self.name)
        text = slice_files.text(limits, slot.number)
        self._write(_unit(sliver.name), text)
        self._make_room(sliver.name, slot.number, Room(limits.disk, limits.inodes))
        self._put_in_force(_unit(sliver.name), slice_files.read(text).properties)
        if sliver.name in weights.refused:
            raise ProcessorsGiven(
                f"{sliver.name} wants {sliver.rspec.cpu_min} ms/s, older slices have what there is of the "
                f"{int(1000 * self._processors * GUARANTEED_PART)} ms/s of {self._processors} processors"
            )

    def teardown(self, name: str) -> None:
        if name == ALL:
            if not self._populated(ALL):
                self._forget(ALL)
            return
        if self._populated(_unit(name)) or self._folder(name).exists():
            log.info("%s keeps its limits until nothing of it is left", name)
            return
        slot = self._slots.held(self.name).get(name)
        if slot is not None:
            quotas = Quotas(self.node.run, self.node.root / SLIVERS)
            if quotas.kept:
                quotas.limit(slot.number, _NO_LIMITS)
            # The quota is all that goes by the number; the drop-in has the name.
            self._slots.release(name, self.name)
        self._forget(_unit(name))

    # --- control groups ---

    def _file(self, unit: str) -> Path:
        return self.node.root / slice_files.FOLDER / f"{unit}.d" / slice_files.FILE_NAME

    def _all_written(self) -> list[Written]:
        found = []
        for name, path in sorted(_entries(self.node.root / slice_files.FOLDER).items()):
            if not (name.startswith("slivers-") and name.endswith(".slice.d")):
                continue
            try:
                found.append(self._files.get(f"{path}/{slice_files.FILE_NAME}"))
            except FileNotFoundError:
                # Somebody else's drop-in.
                continue
            except ValueError as error:
                # Where the sliver is still wanted it is written again.
                log.error("%s is damaged: %s", path, error)
        return found

    def _write(self, unit: str, text: str) -> None:
        write_atomic(self._file(unit), text)
        self._files.forget(self._file(unit))
        sync_folder(self._file(unit).parent.parent)

    def _put_in_force(self, unit: str, properties: Mapping[str, str]) -> None:
        """Set what the drop-in says: reading it again, systemd does not touch a group that is there."""
        words = [f"{name}={value}" for name, value in properties.items()]
        self.node.run(["systemctl", "set-property", "--runtime", "--", unit, *words])
        # It would go before the drop-in from now on, also when that says something else.
        self._remove_by_hand(unit)

    def _units_by_hand(self) -> set[str]:
        return {name.removesuffix(".d") for name in _entries(self.node.root / SET_PROPERTIES)}

    def _by_hand(self, unit: str) -> Path:
        return self.node.root / SET_PROPERTIES / f"{unit}.d"

    def _remove_by_hand(self, unit: str) -> None:
        for file in self._by_hand(unit).glob("*.conf"):
            file.unlink()
        with suppress(FileNotFoundError):
            self._by_hand(unit).rmdir()

    def _forget(self, unit: str) -> None:
        """Remove drop-ins and the empty group, so that nothing has the limits any more."""
        units.stop(self.node.run, unit)
        self._remove_by_hand(unit)
        file = self._file(unit)
        file.unlink(missing_ok=True)
        self._files.forget(file)
        with suppress(OSError):
            # It stays when somebody else has a drop-in there.
            file.parent.rmdir()
        sync_folder(file.parent.parent)

    def _group(self, unit: str) -> Path:
        return self.node.root / CONTROL_GROUPS / (unit if unit == ALL else f"{ALL}/{unit}")

    def _groups(self) -> dict[str, str]:
        return _entries(self.node.root / CONTROL_GROUPS / ALL)

    def _populated(self, unit: str) -> bool:
        try:
            return "populated 1" in (self._group(unit) / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    # --- room on the disk ---

    def _folder(self, name: str) -> Path:
        return self.node.root / SLIVERS / machine_name(name)

    def _rooms(self) -> dict[int, Room] | None:
        """Return the limits of all projects, None where there are no quotas."""
        quotas = Quotas(self.node.run, self.node.root / SLIVERS)
        return quotas.limits() if quotas.kept else None

    def _has_room(self, written: Written, rooms: dict[int, Room] | None) -> bool:
        if rooms is None:
            return True
        if rooms.get(written.project, _NO_LIMITS) != written.room:
            return False
        try:
            return quota.project_of(f"{self._slivers}/{written.machine}") == written.project
        except FileNotFoundError:
            return True

    def _make_room(self, name: str, project: int, room: Room) -> None:
        quotas = Quotas(self.node.run, self.node.root / SLIVERS)
        if not quotas.kept:
            if not self._told_of_quota:
                self.node.events.tell("quota.missing", place=str(quotas.place), option=quota.OPTION)
            self._told_of_quota = True
            return
        quotas.limit(project, room)
        folder = self._folder(name)
        if folder.exists() and quota.project_of(folder) != project:
            quota.attach(self.node.run, folder, project)


def _entries(folder: Path) -> dict[str, str]:
    """Return the paths of what is in a folder, by names; as text, for there are thousands."""
    try:
        return {entry.name: entry.path for entry in os.scandir(folder)}
    except FileNotFoundError:
        return {}


def _unit(name: str) -> str:
    return units.sliver_slice(machine_name(name))
