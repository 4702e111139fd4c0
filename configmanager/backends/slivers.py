"""Slivers: containers of systemd-nspawn, each from an image, with its own users, processes and network.

Of a sliver there are: its record (first to come, last to go, so nothing is ever left behind that is not
known), its tree, its .nspawn file. The tree is unpacked beside and renamed when it is whole and on the
disk; it is never laid over again, since it is the slice's from then on. systemd.nspawn(5) has the rest:
a veth pair, addresses by the node's systemd-networkd, user namespace with mapped ownership.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from configmanager.backends import sliver_files, units
from configmanager.backends.base import Action, Backend, Item, Verb, difference
from configmanager.backends.inside import write_inside
from host.files import sync_folder, write_atomic
from host.mounts import mount_table
from host.run import CommandFailed, CommandTimedOut
from images.plan import OldTree
from wire.errors import CommandError, ConfigurationError, VerificationError
from wire.slivers import Instantiation, NodeSlivers, Sliver, check_name, machine_name
from wire.structure import MalformedMessage, structure_json, unstructure

log = logging.getLogger(__name__)

MACHINES = Path("var/lib/machines")
SETTINGS = Path("etc/systemd/nspawn")
RECORDS = Path("var/lib/configmanager/slivers")
REMOVE_SECONDS = 1800.0


class SliverFailed(CommandError):
    """A sliver does not come up."""

    code = "sliver-failed"
    title = "A sliver does not start"
    hint = "`journalctl -u systemd-nspawn@NAME` on the node says more; the next pass tries again."


class NoSliverImage(ConfigurationError):
    """A sliver's image is not one that the server offers."""

    code = "no-sliver-image"
    title = "A sliver has no image"
    hint = "Publish the image and name it for the slice at the server: bootserver image publish NAME PATH."


class NotOurSliver(VerificationError):
    """There is a machine of that name that configmanager did not make."""

    code = "not-our-sliver"
    title = "Something else has the name of a sliver"
    hint = "Look at it with `machinectl`; rename or remove it by hand, it is not touched."


class LiveMounts(CommandError):
    """Something is still mounted in what should be removed."""

    code = "live-mounts"
    title = "A sliver's folder holds mounts"
    hint = "Unmount it by hand; nothing was removed. The next pass goes on."


@dataclass(frozen=True)
class Made:
    """The record of a sliver: what it was made from. The digests are "" until it is finished."""

    name: str
    machine: str
    manifest: str = ""
    start_digest: str = ""
    digest: str = ""


class Slivers(Backend):
    """One machine of systemd-nspawn for each sliver that the server instantiates."""

    name: ClassVar[str] = "slivers"
    claims: ClassVar[frozenset[str]] = frozenset({"machines", "units:systemd-nspawn@"})

    def observe(self) -> tuple[Item, ...]:
        made = self._all_made()
        states = units.states(self.node.run, [_unit(item.machine) for item in made])
        return tuple(
            Item(item.name, item.digest if self._whole(item) else "", states[_unit(item.machine)].up)
            for item in made
        )

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({item.name: sliver_files.digest(item) for item in _ours(desired)}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        sliver = next(item for item in _ours(desired) if item.name == action.name)
        made = self._made(sliver.name) or self._begin(sliver)
        if not self._tree(made.machine).exists():
            made = self._unpack(desired, sliver, made)
        start_digest = sliver_files.start_digest(sliver)
        if made.start_digest != start_digest or not self._whole(made):
            units.stop(self.node.run, _unit(made.machine))
            self._write(sliver, made)
        write_inside(self._tree(made.machine), sliver_files.keys_file(sliver))
        self._start(made)
        self._save(replace(made, start_digest=start_digest, digest=sliver_files.digest(sliver)))

    def teardown(self, name: str) -> None:
        made = self._made(name)
        if made is None:
            return
        units.stop(self.node.run, _unit(made.machine))
        state = units.state(self.node.run, _unit(made.machine))
        if not state.stopped:
            raise SliverFailed(f"{name} does not end: it is {state.active}")
        tree = self._tree(made.machine)
        self._refuse_mounts(tree)
        (self.node.root / SETTINGS / f"{made.machine}.nspawn").unlink(missing_ok=True)
        units.forget_failure(self.node.run, _unit(made.machine))
        self._remove_beside(made.machine)
        if tree.exists():
            # Renamed first, so that what is left of it after a power cut never looks like a sliver.
            tree.rename(self._beside(made.machine))
            self._remove_beside(made.machine)
        self._record(name).unlink(missing_ok=True)
        sync_folder(self.node.root / RECORDS)
        self.node.events.tell("sliver.removed", name=name)

    def unit(self, name: str) -> str:
        return next((_unit(made.machine) for made in self._all_made() if made.name == name), "")

    # --- the record ---

    def _record(self, name: str) -> Path:
        return self.node.root / RECORDS / f"{check_name(name)}.json"

    def _made(self, name: str) -> Made | None:
        try:
            return structure_json(self._record(name).read_bytes(), Made)
        except FileNotFoundError:
            return None
        except MalformedMessage as error:
            # Its name is what matters: the sliver is ours, and its settings are written again.
            log.error("%s is damaged: %s", self._record(name), error)
            return Made(name, machine_name(name))

    def _all_made(self) -> list[Made]:
        found = [self._made(path.stem) for path in sorted((self.node.root / RECORDS).glob("*.json"))]
        return [made for made in found if made is not None]

    def _save(self, made: Made) -> None:
        write_atomic(self._record(made.name), json.dumps(unstructure(made)) + "\n")

    # --- making ---

    def _begin(self, sliver: Sliver) -> Made:
        if self._tree(sliver.machine).exists():
            raise NotOurSliver(str(self._tree(sliver.machine)))
        made = Made(sliver.name, sliver.machine)
        self._save(made)
        return made

    def _whole(self, made: Made) -> bool:
        settings = self.node.root / SETTINGS / f"{made.machine}.nspawn"
        return self._tree(made.machine).is_dir() and settings.is_file()

    def _unpack(self, desired: NodeSlivers, sliver: Sliver, made: Made) -> Made:
        ref = desired.image(sliver.image)
        if ref is None:
            raise NoSliverImage(f"{sliver.name} wants the image {sliver.image!r}")
        machines = self.node.root / MACHINES
        machines.mkdir(parents=True, exist_ok=True)
        # Trees hold set-user-id programs that the node's own users must not reach.
        machines.chmod(0o700)
        self._remove_beside(made.machine)
        beside = self._beside(made.machine)
        beside.mkdir()
        others = [each for each in self._all_made() if each.digest and each.machine != made.machine]
        self.node.unpack(ref, beside, [OldTree(self._tree(each.machine), each.digest) for each in others])
        self.node.run(["sync", "--file-system", machines], timeout=600)
        beside.rename(self._tree(made.machine))
        sync_folder(machines)
        made = Made(made.name, made.machine, ref.manifest)
        self._save(made)
        return made

    def _write(self, sliver: Sliver, made: Made) -> None:
        for file in sliver_files.inside_files(sliver):
            write_inside(self._tree(made.machine), file)
        path = self.node.root / SETTINGS / f"{made.machine}.nspawn"
        write_atomic(path, sliver_files.nspawn_text(sliver))

    def _start(self, made: Made) -> None:
        unit = _unit(made.machine)
        try:
            units.start(self.node.run, unit)
        except (CommandFailed, CommandTimedOut):
            said = units.last_words(self.node.run, unit) or "it said nothing"
            raise SliverFailed(f"{made.name}: {said}") from None
        self.node.events.tell("sliver.started", name=made.name)

    # --- the tree ---

    def _tree(self, machine: str) -> Path:
        return self.node.root / MACHINES / machine

    def _beside(self, machine: str) -> Path:
        """Where a tree is made and removed; machinectl passes over names that begin with a dot."""
        name = hashlib.sha256(machine.encode()).hexdigest()[:16]
        return self.node.root / MACHINES / f".bm-{name}"

    def _remove_beside(self, machine: str) -> None:
        beside = self._beside(machine)
        if not beside.exists():
            return
        self._refuse_mounts(beside)
        # rm copes with trees of any depth, never follows a link and stays on one file system.
        words = ["rm", "--recursive", "--force", "--one-file-system", "--", str(beside)]
        self.node.run(words, timeout=REMOVE_SECONDS)

    def _refuse_mounts(self, folder: Path) -> None:
        live = [mount.target for mount in mount_table() if mount.target.is_relative_to(folder)]
        if live:
            raise LiveMounts(", ".join(str(path) for path in live))


def _ours(desired: NodeSlivers) -> list[Sliver]:
    """Return the slivers that the node brings up by itself; a delegated one is its delegate's to make."""
    return [item for item in desired.slivers if item.instantiation is Instantiation.PLC]


def _unit(machine: str) -> str:
    return f"systemd-nspawn@{machine}.service"
