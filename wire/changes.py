"""Waiting for a change: a plain request that a server answers when the node's configuration changes.

It is no call of a session: it may be repeated, lost or answered by nobody without a trace, so that it
disturbs no counter. Who asks is proven by a MAC over the node and the generation that it has; the answer is
a hint and no more, because what changed is asked for by a signed call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wire.session import NodeKey, mac

# Proxies end what is silent for a minute.
WAIT_SECONDS = 50.0
CHANGED, UNCHANGED = b"changed\n", b"unchanged\n"
ROUTE = "/changes/{node_id}/{generation}/{value}"


@dataclass(frozen=True)
class ChangesKey:
    """What a node proves with that it may know of its changes; derived from its key."""

    node_id: int
    secret: bytes = field(repr=False)

    @classmethod
    def derive(cls, key: NodeKey, node_id: int) -> ChangesKey:
        """Return the key of a node."""
        return cls(node_id, key.derive("bootmanager changes 1"))

    def value(self, generation: int) -> str:
        """Return the MAC of a request of who has that generation."""
        return mac(self.secret, "changes", self.node_id, generation)

    def path(self, generation: int) -> str:
        """Return where to ask."""
        return f"/changes/{self.node_id}/{generation}/{self.value(generation)}"
