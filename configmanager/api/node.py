"""What the API's calls work with: the server's word, what was decided here, the slivers, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from configmanager.api.callers import Caller, caller_of
from configmanager.backends.delegates import delegates_of
from configmanager.decisions import Decisions
from configmanager.slots import Slots
from host.events import Events
from wire.messages import ImageRef
from wire.slivers import NodeSlivers
from wire.tickets import TicketKey


class SliverControl(Protocol):
    """What is needed of the backend `slivers`; each may raise any BootError.

    Where something else is at work on slivers they return False: the decision is kept, and done later.
    """

    def start(self, desired: NodeSlivers, name: str) -> bool:
        """Start a sliver and have it stay started."""

    def stop(self, name: str) -> bool:
        """Stop a sliver and have it stay stopped."""

    def recreate(self, desired: NodeSlivers, name: str) -> bool:
        """Make a sliver's disk again."""

    def destroy(self, name: str) -> bool:
        """Remove a sliver, if it is there."""


class Words(Protocol):
    """What is needed of the manager's records."""

    def deliver(self, item: Mapping[str, Any], time: int, images: Sequence[ImageRef] = ()) -> bool:
        """Keep a word on one sliver if it is newer than what is known."""


class Manager(Protocol):
    """What is needed of the manager."""

    def said(self) -> NodeSlivers | None:
        """What the server said."""

    def now(self) -> float:
        """The authenticated time."""


@dataclass(frozen=True)
class NodeSide:
    """The node as calls see it. `ticket_key` may raise any BootError; `wake` asks for a pass."""

    manager: Manager
    words: Words
    decisions: Decisions
    slivers: SliverControl
    ticket_key: Callable[[], TicketKey]
    wake: Callable[[], None]
    events: Events
    root: Path = Path("/")

    def caller(self, user: int) -> Caller:
        """Return who a user of the node is. Raises SlotsDamaged."""
        return caller_of(user, Slots(self.root).all(), delegates_of(self.root))
