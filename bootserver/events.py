"""The events of nodes: what they told, and what the server says of them, in one timeline."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from bootserver.tables import Event, Node
from wire.canonical import canonical

# Who tells an event that the server itself adds; no node may use the name.
PROGRAM = "bootserver"
# Enough for a dozen installations with their progress; older ones make room.
EVENTS_KEPT = 20_000


def tell(session: Session, node: Node, name: str, **data: Any) -> None:
    """Add an event of the server's own to a node's timeline."""
    now = time.time()
    common = {"seq": 0, "time": now, "program": PROGRAM, "run": node.run_id, "boot": "", "event": name}
    keep(session, node, {**common, **data}, now)
    prune(session, node)


def keep(session: Session, node: Node, event: dict[str, Any], received: float) -> bool:
    """Store an event. Returns whether it is new: an event told again is the same event."""
    # Sequence numbers begin anew with each start of a program, and a clock may do so with each boot.
    # The whole content, with its boot, is what makes an event that one.
    digest = hashlib.sha256(canonical(event)).digest()
    row = {"node_id": node.id, "digest": digest, "received": received, "data": event}
    done = session.execute(insert(Event).values(row).on_conflict_do_nothing().returning(Event.id))
    return done.first() is not None


def prune(session: Session, node: Node) -> None:
    """Let the oldest events beyond EVENTS_KEPT go."""
    newest_first = select(Event.id).where(Event.node_id == node.id).order_by(Event.id.desc())
    found = session.scalar(newest_first.offset(EVENTS_KEPT).limit(1))
    if found is not None:
        session.execute(delete(Event).where(Event.node_id == node.id, Event.id <= found))
