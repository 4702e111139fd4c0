"""Reports that nodes sent: kept unopened, the newest few of each node."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer

from bootserver.tables import Node, Report
from wire.errors import ConfigurationError

REPORTS_PER_NODE = 4


class NoSuchReport(ConfigurationError):
    """The node sent no such report, or it was replaced by newer ones."""

    code = "no-such-report"
    title = "There is no such report"
    hint = "List what there is with: bootserver node reports NAME."


def keep(session: Session, node: Node, archive: bytes, code: str) -> int:
    """Keep a report, dropping the node's oldest; return its id."""
    kept = Report(node_id=node.id, received=time.time(), code=code, size_bytes=len(archive), archive=archive)
    session.add(kept)
    session.flush()
    newest = select(Report.id).where(Report.node_id == node.id).order_by(Report.id.desc())
    session.execute(
        delete(Report).where(
            Report.node_id == node.id, Report.id.not_in(newest.limit(REPORTS_PER_NODE).scalar_subquery())
        )
    )
    return kept.id


def rows(session: Session, node: Node) -> list[dict[str, Any]]:
    """Return what there is of a node, oldest first."""
    query = select(Report).options(defer(Report.archive)).where(Report.node_id == node.id).order_by(Report.id)
    return [
        {"id": one.id, "received": one.received, "code": one.code, "size_bytes": one.size_bytes}
        for one in session.scalars(query)
    ]


def archive_of(session: Session, node: Node, number: int | None) -> bytes:
    """Return an archive as it came, the newest without a number. Raises NoSuchReport."""
    query = select(Report.archive).where(Report.node_id == node.id).order_by(Report.id.desc()).limit(1)
    if number is not None:
        query = query.where(Report.id == number)
    found = session.scalar(query)
    if found is None:
        raise NoSuchReport(f"{node.name}: {'none at all' if number is None else number}")
    return found
