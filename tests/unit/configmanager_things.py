"""A backend that makes nothing but notes."""

from __future__ import annotations

from typing import ClassVar

from configmanager.backends.base import Action, Backend, Item, Node, Reboot, Verb, difference
from host.run import CommandMissing
from wire.slivers import NodeSlivers


class Things(Backend):
    """Remembers what it was asked to do; things in `broken` fail."""

    name: ClassVar[str] = "things"
    claims: ClassVar[frozenset[str]] = frozenset({"things"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.there: dict[str, Item] = {}
        self.broken: set[str] = set()
        self.done: list[str] = []
        # Things that count after a reboot only, and after how many.
        self.reboots: dict[str, int] = {}

    def observe(self) -> tuple[Item, ...]:
        return tuple(self.there.values())

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({item.name: "digest" for item in desired.slivers}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> Reboot | None:
        if action.name in self.broken:
            raise CommandMissing(action.name)
        if self.reboots.get(action.name, 0):
            self.reboots[action.name] -= 1
            return Reboot("it counts after a reboot")
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
        else:
            self.there[action.name] = Item(action.name, "digest", True)
        self.done.append(f"{action.verb} {action.name}")
        return None

    def teardown(self, name: str) -> None:
        self.there.pop(name, None)
