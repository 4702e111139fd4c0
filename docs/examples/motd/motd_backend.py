"""A backend: whoever logs in to the node reads which slivers are on it."""

import hashlib
from pathlib import Path

from configmanager.backends.base import Action, Backend, Item, Verb, difference
from host.files import write_atomic
from wire.slivers import NodeSlivers

FILE = Path("etc/motd.d/slivers")


class Motd(Backend):
    """One file; it is there when the node has slivers."""

    name = "motd"
    claims = frozenset({"file:/etc/motd.d/slivers"})
    after = frozenset({"slivers"})

    def observe(self) -> tuple[Item, ...]:
        try:
            text = (self.node.root / FILE).read_text()
        except FileNotFoundError:
            return ()
        return (Item(FILE.name, _digest(text), running=True),)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        text = _text(desired)
        return difference({FILE.name: _digest(text)} if text else {}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
        else:
            write_atomic(self.node.root / FILE, _text(desired))

    def teardown(self, name: str) -> None:
        (self.node.root / FILE).unlink(missing_ok=True)


def _text(desired: NodeSlivers) -> str:
    return "".join(f"sliver {item.name}\n" for item in desired.slivers)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
