"""What a proven node may call. Every method runs in one transaction; a fault undoes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy.orm import Session

from bootserver import events, neighbours, nodes, reports, slices
from bootserver.status import Status, fold
from bootserver.tables import Node
from wire.messages import DiskRecord, RunLevel, TargetState
from wire.neighbours import METHOD as MEET
from wire.neighbours import Offer
from wire.reports import GZIP_MAGIC, MAXIMUM_BYTES, MAXIMUM_CODE
from wire.reports import METHOD as SEND_REPORT
from wire.structure import MalformedMessage, structure, unstructure

EVENTS_PER_CALL = 1000
EVENT_BYTES = 16 * 1024
INVENTORY_BYTES = 512 * 1024
DISK_RECORD_BYTES = 4096
HOST_KEYS = 8
HOST_KEY_CHARACTERS = 4096


class FaultCode(IntEnum):
    """The fault codes of PLCAPI."""

    METHOD = 100
    COUNT = 101
    ARGUMENT = 102
    AUTHENTICATION = 103
    DATABASE = 106
    PERMISSION = 108
    INTERNAL = 111


class Faulty(Exception):
    """Ends a call with a fault; nothing was changed then."""

    def __init__(self, code: FaultCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Method:
    """A method and how many parameters it takes besides the auth struct."""

    run: Callable[..., object]
    least: int
    most: int


def chosen(methods: Mapping[str, Method], name: str, params: Sequence[object]) -> Callable[..., object]:
    """Return what runs a method. Raises Faulty for one that is not there or takes not so many parameters."""
    method = methods.get(name)
    if method is None:
        raise Faulty(FaultCode.METHOD, f"no method {name[:64]!r}")
    if not method.least <= len(params) <= method.most:
        raise Faulty(FaultCode.COUNT, f"{name}: {len(params)} parameters")
    return method.run


def get_node_details(session: Session, node: Node, _: object = None) -> object:
    """BootGetNodeDetails([{}]): the node's configuration."""
    return unstructure(nodes.details(session, node))


def update_node(session: Session, node: Node, changes: object) -> object:
    """BootUpdateNode({boot_state, run_id, ssh_host_keys | ssh_host_key, inventory, disk_record}).

    That is what a node may change.
    The only intent that it may change is the finished (re)installation that it names by its run, to boot.
    """
    fields = _struct(changes)
    known = {"boot_state", "run_id", "ssh_host_keys", "ssh_host_key", "inventory", "disk_record"}
    unknown = fields.keys() - known
    if unknown:
        raise Faulty(FaultCode.ARGUMENT, f"a node does not change {', '.join(sorted(unknown))}")
    if "boot_state" in fields:
        _finish(node, fields["boot_state"], fields.get("run_id"))
    if "ssh_host_keys" in fields:
        node.ssh_host_keys = _host_keys(fields["ssh_host_keys"])
    if "ssh_host_key" in fields:
        node.ssh_host_keys = _host_keys([fields["ssh_host_key"]])
    if "inventory" in fields:
        node.inventory = _bounded(_struct(fields["inventory"]), INVENTORY_BYTES, "inventory")
    if "disk_record" in fields:
        node.disk_record = _disk_record(fields["disk_record"])
    return 1


def _disk_record(said: object) -> dict[str, Any]:
    try:
        record = structure(_struct(said), DiskRecord)
    except MalformedMessage as error:
        raise Faulty(FaultCode.ARGUMENT, f"disk_record: {error}") from None
    return _bounded(unstructure(record), DISK_RECORD_BYTES, "disk_record")


def _finish(node: Node, boot_state: object, run_id: object) -> None:
    if boot_state != TargetState.BOOT:
        raise Faulty(FaultCode.PERMISSION, "the only intent that a node sets is boot")
    if run_id != node.run_id:
        raise Faulty(FaultCode.PERMISSION, "another run was asked for meanwhile")
    if node.boot_state == TargetState.BOOT:
        return
    if node.boot_state not in nodes.INSTALLING:
        raise Faulty(FaultCode.PERMISSION, f"the operator wants {node.boot_state}")
    nodes.set_intent(node, TargetState.BOOT)
    # Its own system is on the disk again.
    node.disk_record = {}


def _host_keys(keys: object) -> list[str]:
    if not isinstance(keys, list) or len(keys) > HOST_KEYS:
        raise Faulty(FaultCode.ARGUMENT, f"ssh_host_keys: at most {HOST_KEYS} texts wanted")
    for key in keys:
        if not isinstance(key, str) or len(key) > HOST_KEY_CHARACTERS:
            raise Faulty(FaultCode.ARGUMENT, "ssh_host_keys: texts wanted")
    return [key.strip() for key in keys if key.strip()]


def report_run_level(session: Session, node: Node, report: object) -> object:
    """ReportRunlevel({run_level}): what is observed of the node; the intent stays as it is."""
    value = _struct(report).get("run_level")
    if value not in list(RunLevel):
        raise Faulty(FaultCode.ARGUMENT, f"run_level: one of {', '.join(RunLevel)} wanted")
    node.run_level = str(value)
    node.run_level_at = time.time()
    return 1


def report_events(session: Session, node: Node, told: object) -> object:
    """BootReportEvents([event, ...]): returns how many were new. Telling an event again changes nothing."""
    if not isinstance(told, list) or len(told) > EVENTS_PER_CALL:
        raise Faulty(FaultCode.ARGUMENT, f"events: a list of at most {EVENTS_PER_CALL} wanted")
    now = time.time()
    status = structure(node.status, Status) if node.status else Status()
    new = 0
    for item in told:
        event = _event(item)
        if events.keep(session, node, event, now):
            status = fold(status, event, now)
            new += 1
    if new:
        node.status = unstructure(status)
        events.prune(session, node)
    return new


def _event(item: object) -> dict[str, Any]:
    event = _bounded(_struct(item), EVENT_BYTES, "event")
    match event:
        case {"event": str(name), "program": str(program), "seq": int(), "time": float() | int()}:
            # What the server says of a node, a node cannot say.
            if len(name) <= 64 and len(program) <= 64 and program != events.PROGRAM:
                return event
    raise Faulty(FaultCode.ARGUMENT, "event: event, program, seq and time wanted")


def get_slivers(session: Session, node: Node, options: object = None) -> object:
    """GetSlivers([{form}]): what the node shall run; as one text of JSON where `form` is "json".

    A thousand slivers are a hundred thousand XML elements, and cost both sides ten times as much.
    """
    found = unstructure(slices.for_node(session, node))
    as_text = isinstance(options, dict) and options.get("form") == "json"
    return json.dumps(found, separators=(",", ":")) if as_text else found


def meet_neighbours(session: Session, node: Node, offer: object) -> object:
    """BootMeetNeighbours({port, images}): the node gives what it has of these; returns who near it does."""
    if not node.neighbours:
        raise Faulty(FaultCode.PERMISSION, "neighbours are switched off for this node")
    try:
        return unstructure(neighbours.meet(session, node, structure(_struct(offer), Offer)))
    except (ValueError, MalformedMessage) as error:
        raise Faulty(FaultCode.ARGUMENT, f"neighbours: {error}") from None


def send_report(session: Session, node: Node, report: object) -> object:
    """BootSendReport({archive, code}): keeps it for the operator; returns its id."""
    fields = _struct(report)
    archive, code = fields.get("archive"), fields.get("code", "")
    if not isinstance(archive, bytes) or not archive.startswith(GZIP_MAGIC):
        raise Faulty(FaultCode.ARGUMENT, "archive: a .tar.gz in base64 wanted")
    if len(archive) > MAXIMUM_BYTES:
        raise Faulty(FaultCode.ARGUMENT, f"archive: {len(archive)} bytes, {MAXIMUM_BYTES} allowed")
    if not isinstance(code, str) or len(code) > MAXIMUM_CODE:
        raise Faulty(FaultCode.ARGUMENT, f"code: a text of at most {MAXIMUM_CODE} characters wanted")
    return reports.keep(session, node, archive, code)


def _struct(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Faulty(FaultCode.ARGUMENT, "a struct wanted")
    return value


def _bounded(value: dict[str, Any], limit: int, what: str) -> dict[str, Any]:
    """Return `value` if JSON can hold it in `limit` bytes."""
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise Faulty(FaultCode.ARGUMENT, f"{what}: holds what JSON cannot") from None
    if size > limit:
        raise Faulty(FaultCode.ARGUMENT, f"{what}: {size} bytes, {limit} allowed")
    return value


METHODS = {
    "BootGetNodeDetails": Method(get_node_details, 0, 1),
    "BootUpdateNode": Method(update_node, 1, 1),
    "BootReportEvents": Method(report_events, 1, 1),
    "ReportRunlevel": Method(report_run_level, 1, 1),
    MEET: Method(meet_neighbours, 1, 1),
    "GetSlivers": Method(get_slivers, 0, 1),
    SEND_REPORT: Method(send_report, 1, 1),
}
