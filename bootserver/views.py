"""Nodes and events as plain data: the same for the operator's pages, API and command line. No secrets."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bootserver.status import Status
from bootserver.tables import Event, Node
from wire.messages import RunLevel
from wire.structure import structure, unstructure

# A node that is up checks in at least this often (GetSlivers, every 600 to 900 s).
SILENT_SECONDS = 1800


def node_row(node: Node) -> dict[str, Any]:
    """Return a line of the fleet's table."""
    return {
        "id": node.id,
        "name": node.name,
        "boot_state": node.boot_state,
        "run_level": node.run_level,
        "run_id": node.run_id,
        "generation": node.generation,
        "contacted": node.contacted,
        "silent": _is_silent(node),
        "address": node.address,
        "site": node.site,
        "shared_key": node.shared_key,
        "status": unstructure(node_status(node)),
    }


def _is_silent(node: Node) -> bool:
    """Say whether a node that should be heard of is not; another system says nothing."""
    should = node.run_level != RunLevel.DISKIMAGE
    return should and 0 < node.contacted < time.time() - SILENT_SECONDS


def _disk_image_state(node: Node) -> str:
    """Say what became of the order of another system, "" where there is none."""
    if not node.disk_order:
        return ""
    if node.disk_record.get("id") != node.disk_order:
        return "ordered"
    return "written" if node.disk_record["whole"] else "being written"


def _power(node: Node) -> str:
    """Say what controls the node's power, "" if nothing does."""
    return f"{node.power.kind} {node.power.address}, user {node.power.user}" if node.power else ""


def node_status(node: Node) -> Status:
    """Return what the node is doing."""
    return structure(node.status, Status) if node.status else Status()


def node_whole(node: Node) -> dict[str, Any]:
    """Return all of a node that may be shown."""
    return {
        **node_row(node),
        "run_level_at": node.run_level_at,
        "shared_key_at": node.shared_key_at,
        "created": node.created,
        "key_changed": node.key_changed,
        "system_disk": node.system_disk,
        "data_disks": node.data_disks,
        "memory_mib": node.memory_mib,
        "disk_mib": node.disk_mib,
        "boot_mib": node.boot_mib,
        "swap_mib": node.swap_mib,
        "root_mib": node.root_mib,
        "cache_budget_mib": node.cache_budget_mib,
        "mirrors": node.mirrors,
        "bandwidth_kib": node.bandwidth_kib,
        "clean": node.clean,
        "neighbours": node.neighbours,
        "kernel_arguments": node.kernel_arguments,
        "base_image": node.base_image,
        "disk_image": node.disk_image,
        "disk_named": node.disk_named,
        "disk_image_state": _disk_image_state(node),
        "disk_record": node.disk_record,
        "images": node.images,
        "slices": sorted(sliver.slice.name for sliver in node.slivers),
        "classic": node.classic is not None,
        "power": _power(node),
        "services": sorted(service.name for service in node.services),
        "ssh_keys": node.ssh_keys,
        "ssh_host_keys": node.ssh_host_keys,
        "inventory": node.inventory,
    }


def events_after(session: Session, node: Node, after: int, limit: int) -> list[dict[str, Any]]:
    """Return events with an id above `after`, oldest first."""
    query = select(Event).where(Event.node_id == node.id, Event.id > after).order_by(Event.id).limit(limit)
    return [event_row(event) for event in session.scalars(query)]


def latest_events(session: Session, node: Node, limit: int) -> list[dict[str, Any]]:
    """Return the last events, oldest first."""
    query = select(Event).where(Event.node_id == node.id).order_by(Event.id.desc()).limit(limit)
    return [event_row(event) for event in reversed(list(session.scalars(query)))]


def event_row(event: Event) -> dict[str, Any]:
    """Return an event as the node told it, with its `id` and when it was `received` here."""
    return {**event.data, "id": event.id, "received": event.received}


def first_of_run(session: Session, node: Node) -> int:
    """Return the id before the first event of the node's present run; without any, that of the newest."""
    mine = select(func.min(Event.id)).where(
        Event.node_id == node.id, Event.data["run"].as_string() == node.run_id
    )
    last = select(func.max(Event.id)).where(Event.node_id == node.id)
    first = session.scalar(mine)
    return first - 1 if first is not None else session.scalar(last) or 0


_COMMON = {"id", "received", "seq", "time", "uptime", "program", "run", "boot", "event"}


def event_text(row: dict[str, Any]) -> str:
    """Return in one line what an event says besides its name and time."""
    return "  ".join(f"{key}={_short(value)}" for key, value in row.items() if key not in _COMMON)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
