"""Services of the node for slivers: a folder of FIFOs for each, and the program behind them.

The folder is made here and mounted in the sliver; what is in it, vsys.service makes and removes as /vsys
changes. What that refuses is looked at here as well, so that the server learns of it. docs/vsys.md.
"""

from __future__ import annotations

import os
from typing import ClassVar

from configmanager.backends import units
from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.backends.sliver_tree import remove_folder
from configmanager.slots import Slots
from configmanager.vsys import catalog
from configmanager.vsys.folder import SLICES, is_finished
from host.run import CommandFailed
from wire.errors import CommandError, ConfigurationError
from wire.slivers import NodeSlivers, machine_name

UNIT = "vsys.service"
_DIGEST = "made"


class VsysRefused(ConfigurationError):
    """Something in /vsys is not as it must be, and is offered to nobody."""

    code = "vsys-refused"
    title = "Something in /vsys is refused"
    hint = "Correct it or take it away; what else is offered goes on. docs/vsys.md says what is accepted."


class VsysFailed(CommandError):
    """The program behind the FIFOs does not start."""

    code = "vsys-failed"
    title = "Services for slivers do not start"
    hint = "`journalctl -u vsys` on the node says more. Slivers run without them."


class Vsys(Backend):
    """A folder for each sliver that is instantiated, as a place of its own that no pass of others touches."""

    name: ClassVar[str] = "vsys"
    claims: ClassVar[frozenset[str]] = frozenset(
        {f"units:{UNIT}", f"folder:/{catalog.FOLDER}", f"folder:/{SLICES}"}
    )

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._slots = Slots(node.root)

    def observe(self) -> tuple[Item, ...]:
        held = self._slots.held(self.name)
        # A sliver's start makes an empty one where nobody did.
        known = {machine_name(name): name for name in self._slots.all()}
        folder = self.node.root / SLICES
        up = units.state(self.node.run, UNIT).up
        items = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = known.get(path.name, path.name)
            whole = name in held and is_finished(path.lstat(), held[name].first_user)
            items.append(Item(name, _DIGEST if whole else "", up))
        # After a boot there are the numbers only.
        there = {item.name for item in items}
        items += [Item(name, "", up) for name in held if name not in there]
        faults = catalog.read(self.node.root).faults
        # One for each file, whatever is wrong with it: an action is known by its name.
        items += [Item(path, _DIGEST, False) for path in dict.fromkeys(fault.path for fault in faults)]
        return tuple(items)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        refused = tuple(item for item in observed if _is_refusal(item.name))
        folders = tuple(item for item in observed if item not in refused)
        wanted = {sliver.name: _DIGEST for sliver in desired.instantiated}
        complaints = (Action(Verb.CHANGE, item.name, "is refused") for item in refused)
        return (*difference(wanted, folders), *complaints)

    def apply(self, _desired: NodeSlivers, action: Action) -> None:
        if _is_refusal(action.name):
            faults = catalog.read(self.node.root).faults
            why = "; ".join(str(fault) for fault in faults if fault.path == action.name)
            if why:
                raise VsysRefused(why)
        elif action.verb is Verb.REMOVE:
            self.teardown(action.name)
        else:
            self._make(action.name)
            self._start()

    def teardown(self, name: str) -> None:
        self._remove(name)
        self._slots.release(name, self.name)

    def unit(self, name: str) -> str:
        # What it says is about all slivers together.
        return UNIT if name == self.name else ""

    def _remove(self, name: str) -> None:
        folder = self.node.root / SLICES / machine_name(name)
        gone = folder.with_name(f".gone-{folder.name}")
        if folder.exists():
            # Without its name it is no longer served: what runs for the slice ends.
            remove_folder(self.node.run, gone)
            folder.rename(gone)
        remove_folder(self.node.run, gone)

    def _make(self, name: str) -> None:
        slot = self._slots.take(name, self.name)
        folder = self.node.root / SLICES / machine_name(name)
        if folder.exists() and is_finished(folder.lstat(), slot.first_user):
            return
        self._remove(name)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        os.chown(folder, slot.first_user, slot.first_user)

    def _start(self) -> None:
        try:
            units.start(self.node.run, UNIT)
        except CommandFailed:
            said = units.last_words(self.node.run, UNIT) or "it said nothing"
            raise VsysFailed(said) from None


def _is_refusal(name: str) -> bool:
    """Whether it is a path, which no slice's name is."""
    return "/" in name
