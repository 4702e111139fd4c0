"""Notices a node's key that is used from two places at once, by how its sessions take turns.

One machine uses one session after another: a new one at each boot, a new one when the old was lost. So a
session that was overtaken stays silent. One that speaks again has *returned*, and how many returns of a
session are too many depends on how the two sessions differ:

- in their boot (as the node's events tell it): one. A machine's boot does not come back after a later one.
- in the node's own address and in where its connection comes from: one.
- in one of both: two. A call on its way while a DHCP server gives another address, or while a
  network address translator changes its mind, is one return.
- in nothing that is known: three of both sessions. A technician's `bootmanager plan` beside the program
  takes turns for a moment.

Addresses are compared as they are at the time of the call, not as they were when the session began.
Nothing is asked of the node for this; what an outsider sends is not looked at before its MAC was right.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from bootserver.sessions import SESSIONS_PER_NODE, Auth

RETURNS_ONE_DIFFERENCE = 2
RETURNS_NO_DIFFERENCE = 3
_EVENTS_METHOD = "BootReportEvents"


@dataclass(frozen=True)
class Place:
    """Where a call came from: the node's own address, the connection's, and its boot where it is known."""

    address: str
    peer: str
    boot: str = ""

    def __str__(self) -> str:
        connection = f" by {self.peer}" if self.peer and self.peer != self.address else ""
        boot = f" (boot {self.boot})" if self.boot else ""
        return f"{self.address or 'an unknown address'}{connection}{boot}"


@dataclass
class _Voice:
    """A session that spoke; `returns` counts how often it did so after another one, by what differed."""

    place: Place
    returns: dict[int, int] = field(default_factory=dict)


class Turns:
    """Watches the proven calls of all nodes; forgets with the process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[int, OrderedDict[str, _Voice]] = {}

    def spoke(self, auth: Auth, peer: str, method: str, params: list[object]) -> tuple[Place, Place] | None:
        """Take note of a proven call. Returns the two places when it shows that the key is in both."""
        boot = _boot(params) if method == _EVENTS_METHOD else ""
        with self._lock:
            voices = self._nodes.setdefault(auth.node_id, OrderedDict())
            other = voices[next(reversed(voices))] if voices else None
            voice = voices.get(auth.session)
            returned = voice is not None and voice is not other
            if voice is None:
                voice = voices[auth.session] = _Voice(Place(auth.node_ip, peer))
                while len(voices) > SESSIONS_PER_NODE:
                    voices.popitem(last=False)
            voice.place = Place(auth.node_ip, peer, boot or voice.place.boot)
            voices.move_to_end(auth.session)
            if returned and other is not None and _too_often(voice, other):
                return other.place, voice.place
        return None


def _too_often(voice: _Voice, other: _Voice) -> bool:
    """Count a return of `voice` after `other`, and say whether it is one too many."""
    one, two = voice.place, other.place
    if one.boot and two.boot and one.boot != two.boot:
        return True
    differences = (one.address != two.address) + (one.peer != two.peer)
    if one.peer == two.peer and one.peer in (one.address, two.address):
        # No translator between: both do come from there, and one of them knows its address of before.
        differences = 0
    returns = voice.returns[differences] = voice.returns.get(differences, 0) + 1
    if differences == 0:
        return min(returns, other.returns.get(0, 0)) >= RETURNS_NO_DIFFERENCE
    return differences == 2 or returns >= RETURNS_ONE_DIFFERENCE


def _boot(params: list[object]) -> str:
    match params:
        case [[*_, {"boot": str(boot)}]]:
            return boot[:64]
    return ""
