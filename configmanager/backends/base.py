"""The contract of a backend: one kind of thing that a node can be made to run.

A backend is found by its entry point in the group `configmanager.backends`. In each pass the manager
lets it observe what there is, plan the difference to what shall be, and apply that plan one action at a
time. An action that fails does not keep the others from being tried. A pass may end at any point (power
cut, kill): the next one observes what that left and carries on, so whatever a backend makes it must find
again, also half made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from host.events import Events
from host.run import Runner
from images.plan import OldTree
from wire.messages import ImageRef
from wire.slivers import NodeSlivers


class Verb(StrEnum):
    """What an action does to its object."""

    CREATE = "create"
    CHANGE = "change"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"


@dataclass(frozen=True)
class Action:
    """One thing to be done, and why."""

    verb: Verb
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.verb} {self.name}: {self.reason}"


@dataclass(frozen=True)
class Reboot:
    """An outcome of an action: what it did counts when the node has rebooted.

    The manager finishes the pass, notes the wish durably, and reboots; the pass after it observes and
    plans anew, so a backend whose goal holds then asks for nothing more.
    """

    reason: str


@dataclass(frozen=True)
class Item:
    """One thing that is there. `digest` names the settings it was made with, "" if it was not finished."""

    name: str
    digest: str
    running: bool


def _bring_nothing(ref: ImageRef) -> int:
    raise RuntimeError(f"this node brings no disk images: {ref.name}")


@dataclass(frozen=True)
class Node:
    """The node as backends see it; `root` is "/" but in tests.

    `unpack` lays an image into an existing empty folder, verified: from trees that images were laid into
    before, the cache, or the network. `bring` brings the image of a whole disk into the cache, as far as it
    has room, and returns the size of that disk in bytes.
    """

    run: Runner
    events: Events
    unpack: Callable[[ImageRef, Path, Sequence[OldTree]], None]
    root: Path = Path("/")
    bring: Callable[[ImageRef], int] = _bring_nothing


class Backend(ABC):
    """One kind of thing that a node can be made to run.

    `claims` names the resources that only this backend may touch ("machines", "units:bm-"); two
    backends with a claim in common are refused before either does anything. `after` names backends whose
    pass comes before this one's, and whose removals come after; one that is not installed does not matter.
    """

    name: ClassVar[str]
    claims: ClassVar[frozenset[str]]
    after: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, node: Node) -> None:
        self.node = node

    @abstractmethod
    def observe(self) -> tuple[Item, ...]:
        """Say what there is, whole or half made, without changing anything."""

    @abstractmethod
    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        """Say what apply() would have to do; looks at nothing but its arguments."""

    @abstractmethod
    def apply(self, desired: NodeSlivers, action: Action) -> Reboot | None:
        """Do one action of a plan; say if a reboot has to follow. Raises any BootError."""

    @abstractmethod
    def teardown(self, name: str) -> None:
        """Remove one thing and every trace of it; doing so again changes nothing. Raises any BootError."""

    def unit(self, _name: str) -> str:
        """Return the systemd unit whose journal is about a thing that is there, "" if there is none."""
        return ""


def difference(wanted: Mapping[str, str], observed: tuple[Item, ...]) -> tuple[Action, ...]:
    """Return the actions that make what is observed what is wanted (name to digest), removals first."""
    there = {item.name: item for item in observed}
    actions = [Action(Verb.REMOVE, name, "is no longer wanted") for name in there if name not in wanted]
    for name, digest in wanted.items():
        item = there.get(name)
        if item is None:
            actions.append(Action(Verb.CREATE, name, "is not there"))
        elif not item.digest:
            actions.append(Action(Verb.CREATE, name, "was not finished"))
        elif item.digest != digest:
            actions.append(Action(Verb.CHANGE, name, "has other settings"))
        elif not item.running:
            actions.append(Action(Verb.START, name, "does not run"))
    return tuple(actions)
