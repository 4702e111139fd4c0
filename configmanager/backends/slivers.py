"""Slivers: containers of systemd-nspawn, each over an image, with its own users, processes and network.

Of a sliver there are: its record (first to come, last to go), its slot, its folder (an overlay over the
image that it shares), an account of the node, and while it runs its unit sliver@MACHINE.service with all
that is in that. Its limits and the rules of its network are other backends'. docs/slivers.md says how it is
put together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from configmanager.backends import network_kernel, sliver_files, units
from configmanager.backends.base import Action, Backend, Item, Node, Verb
from configmanager.backends.sliver_accounts import Accounts
from configmanager.backends.sliver_images import SliverImages
from configmanager.backends.sliver_record import Made, NoSuchSliver, SliverRecords, is_of_another
from configmanager.backends.sliver_seed import seeds_of
from configmanager.backends.sliver_start import SliverFailed, Starter
from configmanager.backends.sliver_tree import NotOurSliver, SliverTree
from configmanager.kept import OfSlivers
from configmanager.notify import still_working
from configmanager.slots import Slot, Slots
from wire.errors import BootError, CommandError, ConfigurationError
from wire.messages import ImageRef
from wire.slivers import NodeSlivers, Sliver

log = logging.getLogger(__name__)


class NoSliverImage(ConfigurationError):
    """A sliver's image is not one that the server offers."""

    code = "no-sliver-image"
    title = "A sliver has no image"
    hint = (
        "Publish it at the server (bootserver image publish) or name another: bootserver slice set --image."
    )


class NetworkMissing(CommandError):
    """The packet filter does not know a sliver that shall start."""

    code = "network-missing"
    title = "A sliver is not started without the rules of its network"
    hint = "An error of the backend `network` says why there are none; the next pass tries again."


@dataclass(frozen=True)
class SliverItem(Item):
    """`active`: something of it runs or is about to; `held`: its owner stopped it here."""

    active: bool = False
    held: bool = False
    slice_id: int = 0


class Slivers(Backend):
    """A sliver for each that is instantiated.

    start(), stop(), recreate() and destroy() are for whoever acts for a slice on this node. What they decide
    is kept first. It is done at once, or by what is at work on slivers just then, or by the next pass.
    """

    name: ClassVar[str] = "slivers"
    claims: ClassVar[frozenset[str]] = frozenset({"machines", "units:sliver@", "accounts:slivers"})
    # A sliver never runs without its limits, and finds the services that it is offered.
    after: ClassVar[frozenset[str]] = frozenset({"network", "resources", "vsys"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._turn = threading.RLock()
        self._records = SliverRecords(node.root)
        self._slots = Slots(node.root)
        self._images = SliverImages(node)
        self._accounts = Accounts(node.run, node.root)
        self._starter = Starter(node.run, node.events)
        self._noted: set[str] = set()
        # Of what was noted, that which had its turn in this pass.
        self._had_turn: set[str] = set()
        self._digests = OfSlivers(sliver_files.digest)

    # --- the manager's passes ---

    def observe(self) -> tuple[Item, ...]:
        made = self._records.all()
        states = units.states(self.node.run, [_unit(item.machine) for item in made])
        whole = self._whole(made)
        found = []
        for item in made:
            state = states[_unit(item.machine)]
            digest = item.digest if item.name in whole else ""
            running = state.active == "active"
            found.append(SliverItem(item.name, digest, running, not state.stopped, item.held, item.slice_id))
        return tuple(found)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        self._had_turn.clear()
        there = {item.name: item for item in observed}
        wanted = desired.instantiated
        names = {sliver.name for sliver in wanted}
        actions = [Action(Verb.REMOVE, name, "is no longer wanted") for name in there if name not in names]
        for sliver in wanted:
            action = self._action(sliver, there.get(sliver.name))
            if action is not None:
                actions.append(action)
        return tuple(actions)

    def _action(self, sliver: Sliver, item: Item | None) -> Action | None:
        if item is None:
            return Action(Verb.CREATE, sliver.name, "is not there")
        if isinstance(item, SliverItem) and is_of_another(item.slice_id, sliver):
            return Action(Verb.CREATE, sliver.name, "is of another slice of this name: its disk is removed")
        if not item.digest:
            return Action(Verb.CREATE, sliver.name, "was not finished")
        if item.digest != self._digests.get(sliver):
            return Action(Verb.CHANGE, sliver.name, "has other settings")
        held = isinstance(item, SliverItem) and item.held
        active = isinstance(item, SliverItem) and item.active
        if sliver.rspec.enabled and not held:
            return None if item.running else Action(Verb.START, sliver.name, "does not run")
        return Action(Verb.STOP, sliver.name, "shall not run") if active else None

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        self._do_noted(desired)
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
        else:
            self._converge(desired, action.name, fresh=action.verb in (Verb.CREATE, Verb.CHANGE))

    def teardown(self, name: str) -> None:
        with self._turn:
            made = self._records.get(name)
            if made is None:
                return
            # Wanted again before it is gone, it is still not what it was.
            self._records.change(name, digest="", manifest="", anew=True)
            self._stop(made)
            slot = self._slots.all().get(name)
            if slot is not None:
                self._accounts.remove(name, slot.account)
            SliverTree(self.node.root, made.machine).remove(self.node.run)
            self.node.run(["systemctl", "stop", "--", units.sliver_slice(made.machine)], ok=(0, 5))
            units.forget_failure(self.node.run, _unit(made.machine))
            self._collect_images()
            self._slots.release(name, self.name)
            self._records.forget(name)
        self.node.events.tell("sliver.removed", name=name)

    def unit(self, name: str) -> str:
        # Events name files and much else, of which there can be no record.
        made = next((made for made in self._records.all() if made.name == name), None)
        return _unit(made.machine) if made is not None else ""

    # --- what a slice asks for on this node; each says whether it is done, and raises any BootError ---

    def start(self, desired: NodeSlivers, name: str) -> bool:
        """Start a sliver, also one that was stopped here or failed too often."""
        self._records.change(name, held=False, digest="")
        return self._at_once(name, lambda: self._converge(desired, name, fresh=True))

    def stop(self, name: str) -> bool:
        """Stop a sliver and keep its disk; it stays stopped, over reboots too, until start()."""
        made = self._records.change(name, held=True)
        return self._at_once(name, lambda: self._stop(made))

    def recreate(self, desired: NodeSlivers, name: str) -> bool:
        """Make a sliver's disk again, of the image that its slice has now."""
        self._records.change(name, anew=True, digest="")
        return self._at_once(name, lambda: self._converge(desired, name, fresh=True))

    def destroy(self, name: str) -> bool:
        """Remove a sliver that is no longer wanted, if it is there."""
        return self._at_once(name, lambda: self.teardown(name))

    def _at_once(self, name: str, work: Callable[[], None]) -> bool:
        if not self._turn.acquire(blocking=False):
            self._noted.add(name)
            return False
        try:
            work()
        finally:
            self._turn.release()
        return True

    def _do_noted(self, desired: NodeSlivers) -> None:
        """Do what was decided since the pass began, which may take an hour where many slivers start.

        Each sliver has one turn a pass, or whoever goes on deciding would keep it from all else. What is left
        is in the records, and the next pass was asked for.
        """
        while left := self._noted - self._had_turn:
            name = left.pop()
            self._noted.discard(name)
            self._had_turn.add(name)
            still_working()
            try:
                self._converge(desired, name, fresh=True)
            except (BootError, OSError) as error:
                log.warning("%s is left to the next pass: %s", name, error)

    # --- making ---

    def _converge(self, desired: NodeSlivers, name: str, *, fresh: bool) -> None:
        sliver = next((item for item in desired.slivers if item.name == name), None)
        if sliver is None:
            raise NoSuchSliver(name)
        with self._turn:
            slot, made = self._begin(sliver)
            if made.anew:
                made = self._clear(made)
            made = self._make_tree(desired, sliver, slot, made)
            made = self._write(sliver, slot, made)
            self._accounts.ensure(sliver.name, slot.account, sliver_files.keys_text(sliver))
            # Where only settings are others, no image has become unused.
            if not made.digest:
                self._collect_images()
            made = self._records.change(name, digest=self._digests.get(sliver))
            if sliver.rspec.enabled and not made.held:
                if not network_kernel.knows(self.node.run, slot):
                    raise NetworkMissing(name)
                self._starter.start(name, _unit(made.machine), fresh=fresh)
            else:
                self._stop(made)

    def _begin(self, sliver: Sliver) -> tuple[Slot, Made]:
        made = self._records.get(sliver.name)
        if made is None and SliverTree(self.node.root, sliver.machine).folder.exists():
            raise NotOurSliver(str(SliverTree(self.node.root, sliver.machine).folder))
        if made is None:
            slot = self._slots.all().get(sliver.name)
            self._accounts.check(sliver.name, slot.account if slot is not None else None)
            made = self._records.save(Made(sliver.name, sliver.machine, sliver.slice_id))
        elif made.slice_id != sliver.slice_id:
            made = self._hand_over(sliver, made)
        return self._slots.take(sliver.name, self.name), made

    def _hand_over(self, sliver: Sliver, made: Made) -> Made:
        """Have a sliver be this slice's: nothing of another one stays."""
        if not is_of_another(made.slice_id, sliver):
            return self._records.change(made.name, slice_id=sliver.slice_id)
        slot = self._slots.all().get(made.name)
        if slot is not None:
            # Who is connected could begin new sessions, in the sliver that is made now.
            self._accounts.remove(made.name, slot.account)
        return self._records.change(made.name, slice_id=sliver.slice_id, digest="", held=False, anew=True)

    def _clear(self, made: Made) -> Made:
        self._stop(made)
        SliverTree(self.node.root, made.machine).remove(self.node.run)
        return self._records.change(made.name, anew=False, manifest="", start_digest="")

    def _make_tree(self, desired: NodeSlivers, sliver: Sliver, slot: Slot, made: Made) -> Made:
        tree = SliverTree(self.node.root, made.machine)
        exists = tree.folder.exists()
        # What a sliver wrote belongs to the image that it was made from, and to no newer one.
        manifest = (made.manifest or sliver_files.image_in(tree.folder)) if exists else ""
        ref = ImageRef(sliver.image, manifest) if manifest else desired.image(sliver.image)
        if ref is None:
            raise NoSliverImage(f"{sliver.name} wants the image {sliver.image!r}")
        if ref.manifest != made.manifest:
            made = self._records.change(made.name, manifest=ref.manifest, digest="")
        image = self._images.obtain(ref)
        if not exists:
            tree.make(self.node.run, slot, image, seeds_of(sliver, image))
        return made

    def _write(self, sliver: Sliver, slot: Slot, made: Made) -> Made:
        """Write what takes effect at the next start, which a change of it brings about."""
        tree = SliverTree(self.node.root, made.machine)
        files = sliver_files.files_of(sliver, slot, made.manifest)
        digest = sliver_files.start_digest(files)
        if made.start_digest != digest or not all((tree.folder / file.path).is_file() for file in files):
            self._stop(made)
            made = self._records.change(made.name, start_digest="")
            sliver_files.write(files, tree.folder, slot)
        return self._records.change(made.name, start_digest=digest)

    def _stop(self, made: Made) -> None:
        state = units.stop(self.node.run, _unit(made.machine))
        if not state.stopped:
            raise SliverFailed(f"{made.name} does not end: it is {state.active}")

    def _collect_images(self) -> None:
        self._images.collect({made.manifest for made in self._records.all()})

    def _whole(self, made: list[Made]) -> set[str]:
        """Return the names of those of which everything is there."""
        slots, accounts = self._slots.all(), self._accounts.whole()
        trees, images = sliver_files.written(self.node.root), self._images.all()
        return {
            item.name
            for item in made
            if not item.anew
            and item.machine in trees
            and item.manifest in images
            and item.name in slots
            and accounts.get(item.name) == slots[item.name].account
        }


def _unit(machine: str) -> str:
    # As systemd-escape(1) has it: a dash would be a slash to systemd.
    escaped = machine.replace("-", "\\x2d")
    return f"sliver@{escaped}.service"
