"""A node's API without sockets: the real calls over a word of the server's, and who is asked to do what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configmanager.api.answer import Answers
from configmanager.api.callers import ANYONE, OPERATOR, Caller, Who
from configmanager.api.node import NodeSide
from configmanager.backends.sliver_record import NoSuchSliver
from configmanager.decisions import Decisions
from host.events import Event, Events
from wire.messages import ImageRef
from wire.session import NodeKey
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver, SliverKey
from wire.structure import structure
from wire.tickets import TicketKey

KEY = TicketKey.derive(NodeKey(bytes(range(32))), 7)
MINE = Sliver(
    "mine",
    1,
    5000,
    keys=(SliverKey("ssh", "ssh-ed25519 AAAA me"),),
    attributes=(Attribute("cpu_share", "100"),),
)
OTHER = Sliver("other", 2, 5000)
LEFT = Sliver(
    "left", 3, 5000, Instantiation.DELEGATED, attributes=(Attribute("delegations", "someone, another"),)
)
SAID = NodeSlivers(1000, 7, "node1", (MINE, OTHER, LEFT))
CALLERS = {
    "anyone": ANYONE,
    "slice": Caller(Who.SLICE, "left"),
    "another slice": Caller(Who.SLICE, "mine"),
    "delegate": Caller(Who.DELEGATE, "someone"),
    "another delegate": Caller(Who.DELEGATE, "nobody"),
    "operator": OPERATOR,
}


class FakeNode:
    """Stands where manager, records and the slivers' backend stand; `done` is what they were asked."""

    def __init__(self, root: Path, said: NodeSlivers | None = SAID) -> None:
        self.word = said
        self.time = 1500.0
        self.done: list[str] = []
        self.told: list[Event] = []
        self.there = {"mine", "other"}
        self.fail: Exception | None = None
        self.decisions = Decisions(root)
        self.side = NodeSide(
            self,
            self,
            self.decisions,
            self,
            lambda: KEY,
            self.wake,
            Events("test", (self.told.append,)),
            root,
        )
        self.answers = Answers(self.side)

    def call(self, caller: Caller, method: str, *arguments: Any) -> Any:
        """Make a call. Raises Fault."""
        return self.answers.call(caller, method, list(arguments))

    def said(self) -> NodeSlivers | None:
        return self.word

    def now(self) -> float:
        return self.time

    def wake(self) -> None:
        self.done.append("wake")

    def deliver(self, item: Mapping[str, Any], time: int, images: Sequence[ImageRef] = ()) -> bool:
        """As Records does, without a disk."""
        if self.word is None or time <= self.word.timestamp:
            return False
        sliver = structure(item, Sliver)
        others = tuple(each for each in self.word.slivers if each.name != sliver.name)
        self.word = replace(self.word, slivers=(*others, sliver), images=tuple(images))
        return True

    def start(self, desired: NodeSlivers, name: str) -> bool:
        return self._do("start", name)

    def stop(self, name: str) -> bool:
        return self._do("stop", name)

    def recreate(self, desired: NodeSlivers, name: str) -> bool:
        return self._do("recreate", name)

    def destroy(self, name: str) -> bool:
        self.done.append(f"destroy {name}")
        return True

    def _do(self, what: str, name: str) -> bool:
        if self.fail is not None:
            raise self.fail
        if name not in self.there:
            raise NoSuchSliver(name)
        self.done.append(f"{what} {name}")
        return True
