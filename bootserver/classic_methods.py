"""What a classic boot manager may call: the methods of 2007 and of the later years, and no others.

A node sees and changes itself only. The intent stays the operator's: what a classic boot manager writes
into boot_state is taken for what it observed (the run level), but for the finished installation, to boot.
XML-RPC nil is never used: the older clients cannot read it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from bootserver import nodes
from bootserver.classic_nodes import MAC
from bootserver.methods import HOST_KEY_CHARACTERS, FaultCode, Faulty, Method, report_events
from bootserver.tables import ClassicNode, Node
from wire.messages import RunLevel, TargetState

PROGRAM = "classic"
# What the later years call our intents; the methods of 2007 use the older names, which are ours.
LATER_STATES = {
    TargetState.NEW: "install",
    TargetState.INST: "install",
    TargetState.RINS: "reinstall",
    TargetState.BOOT: "boot",
    TargetState.DBG: "safeboot",
}
# What a node that names a state is doing then.
_LEVELS = {
    **dict.fromkeys(("new", "inst", "rins", "rcnf"), RunLevel.REINSTALL),
    **dict.fromkeys(("install", "reinstall", "upgrade"), RunLevel.REINSTALL),
    **dict.fromkeys(("safeboot", "disabled", "diag"), RunLevel.SAFEBOOT),
    "boot": RunLevel.BOOT,
    "failboot": RunLevel.FAILBOOT,
}
# The messages that boot managers send, and what the operator reads for them; failures in the first table.
FAILURES = {
    "insufficientmemory": "The machine has too little memory",
    "insufficientdisk": "The machine has too little disk space",
    "authfail": "The node's calls were refused",
    "noconfig": "The node found no configuration file",
    "notinstalled": "The node is not installed",
    "filesystemcorrupted": "A file system is damaged",
    "mountfailed": "A file system cannot be mounted",
    "missingkernel": "No kernel in the installed system",
    "hostnamenotresolve": "The node's name does not resolve",
    "nodetectednetwork": "The machine has no network interface that works",
}
NOTICES = ("installfinished", "newdisks")
_NETWORK = ("method", "mac", "gateway", "network", "broadcast", "netmask", "dns1", "dns2")
_VALUE = re.compile(r"[\x20-\x7e]{0,64}")


@dataclass(frozen=True)
class Visit:
    """A proven call: in which transaction, by whom, and how it gets a session."""

    session: Session
    node: Node
    marked: ClassicNode
    session_text: Callable[[], str]


def authentic(visit: Visit) -> object:
    """BootCheckAuthentication() of 2007, AuthCheck() later: that the call got here says all."""
    return 1


def get_session(visit: Visit) -> object:
    """GetSession(): a session, or the one that the call came with."""
    return visit.session_text()


def get_node_details(visit: Visit) -> object:
    """BootGetNodeDetails() of 2007: states by the older names."""
    node = visit.node
    return {
        "hostname": node.name,
        "boot_state": node.boot_state,
        "model": "",
        "networks": [_interface(visit)],
        "session": visit.session_text(),
    }


def update_node(visit: Visit, changes: object) -> object:
    """BootUpdateNode({boot_state, primary_network, ssh_host_key}): each is optional, others are ignored."""
    if not isinstance(changes, dict):
        raise Faulty(FaultCode.ARGUMENT, "a struct wanted")
    if "boot_state" in changes:
        _observe(visit.node, changes["boot_state"], told_as_intent=True)
    if "primary_network" in changes:
        _set_network(visit.marked, changes["primary_network"])
    # The later clients have another name for it.
    for name in ("ssh_host_key", "ssh_rsa_key"):
        if name in changes:
            visit.node.ssh_host_keys = [_host_key(name, changes[name])]
    return 1


def _observe(node: Node, state: object, *, told_as_intent: bool) -> None:
    # In 2007 "dbg" meant both: what the operator wanted, and that something had failed.
    in_debug = RunLevel.SAFEBOOT if node.boot_state == TargetState.DBG else RunLevel.FAILBOOT
    level = in_debug if state == "dbg" else _LEVELS.get(state) if isinstance(state, str) else None
    if level is None:
        raise Faulty(FaultCode.ARGUMENT, "no state of that name")
    node.run_level = str(level)
    node.run_level_at = time.time()
    if told_as_intent and level is RunLevel.BOOT and node.boot_state in nodes.INSTALLING:
        nodes.set_intent(node, TargetState.BOOT)


def _set_network(marked: ClassicNode, told: object) -> None:
    if not isinstance(told, dict):
        raise Faulty(FaultCode.ARGUMENT, "primary_network: a struct wanted")
    known = {name: told[name] for name in _NETWORK if name in told}
    for name, value in known.items():
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise Faulty(FaultCode.ARGUMENT, f"primary_network: {name}: a short text wanted")
    marked.network = {**marked.network, **known}
    mac = str(known.get("mac", "")).upper()
    if MAC.fullmatch(mac):
        marked.mac = mac


def _host_key(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > HOST_KEY_CHARACTERS:
        raise Faulty(FaultCode.ARGUMENT, f"{name}: a text wanted")
    return value.strip()


def notify_owners(visit: Visit, message: object, *include: object) -> object:
    """BootNotifyOwners(message_id, include_pis, include_techs, include_support): the operator reads it.

    No mail is sent: mail about a fleet whose server was away is a storm. An unknown message is ignored, as
    the originals do.
    """
    if not isinstance(message, str) or not all(isinstance(item, int) for item in include):
        raise Faulty(FaultCode.ARGUMENT, "message_id and three numbers wanted")
    envelope = {"seq": 0, "time": time.time(), "uptime": 0.0, "run": visit.node.run_id, "boot": ""}
    if message in FAILURES:
        told = {"event": "error", "code": message, "title": FAILURES[message], "detail": "", "hint": ""}
    elif message in NOTICES:
        told = {"event": "notice", "code": message}
    else:
        return 1
    report_events(visit.session, visit.node, [{**envelope, "program": PROGRAM, **told}])
    return 1


def get_nodes(visit: Visit, wanted: object = None, fields: object = None) -> object:
    """GetNodes([id or filter], [fields]): the calling node, where it is asked for; states by later names."""
    node = visit.node
    record = {
        "node_id": visit.marked.classic_id,
        "hostname": node.name,
        "boot_state": LATER_STATES[TargetState(node.boot_state)],
        "run_level": node.run_level,
        "model": "",
        "version": "",
        "site_id": 1,
        "node_type": "regular",
        "interface_ids": [visit.marked.classic_id],
        "nodenetwork_ids": [visit.marked.classic_id],
        "nodegroup_ids": [],
        "ssh_rsa_key": node.ssh_host_keys[0] if node.ssh_host_keys else "",
        "last_contact": int(node.contacted),
    }
    return _selected(record, wanted, ("node_id", "hostname"), fields)


def get_interfaces(visit: Visit, wanted: object = None, fields: object = None) -> object:
    """GetInterfaces([ids or filter], [fields]): the calling node's one interface."""
    return _selected(_interface(visit), wanted, ("interface_id", "ip", "mac"), fields)


def get_node_tags(visit: Visit, wanted: object = None, fields: object = None) -> object:
    """GetNodeTags([filter], [fields]): there are none."""
    return []


def get_node_flavour(visit: Visit, wanted: object) -> object:
    """GetNodeFlavour(id): which archive the base filesystem is."""
    if wanted not in (visit.marked.classic_id, visit.node.name) or isinstance(wanted, bool):
        raise Faulty(FaultCode.ARGUMENT, "no such node")
    distribution, release, architecture = visit.marked.flavour.split("-")
    return {
        "arch": architecture,
        "fcdistro": release,
        "pldistro": distribution,
        "virt": "lxc",
        "nodefamily": visit.marked.flavour,
        "extensions": [],
        "plain": False,
    }


def report_run_level(visit: Visit, report: object, whom: object = None) -> object:
    """ReportRunlevel({run_level}, [id]): what is observed; the intent stays as it is.

    The id is for callers that are not the node and is ignored.
    """
    level = report.get("run_level") if isinstance(report, dict) else None
    _observe(visit.node, level, told_as_intent=False)
    return 1


def _interface(visit: Visit) -> dict[str, Any]:
    known = {name: str(visit.marked.network.get(name, "")) for name in _NETWORK}
    return {
        **known,
        "method": known["method"] or "dhcp",
        "mac": visit.marked.mac,
        # Not what the node says of itself, but where its calls come from.
        "ip": visit.marked.peer,
        "type": "ipv4",
        "hostname": "",
        "is_primary": True,
        "node_id": visit.marked.classic_id,
        "interface_id": visit.marked.classic_id,
        "nodenetwork_id": visit.marked.classic_id,
        "interface_tag_ids": [],
        "bwlimit": -1,
    }


def _selected(
    record: dict[str, Any], wanted: object, keys: tuple[str, ...], fields: object
) -> list[dict[str, Any]]:
    """Return a list with the record if it is asked for, reduced to the fields asked for."""
    if not _matches(record, wanted, keys):
        return []
    if fields is None:
        return [record]
    if not isinstance(fields, list) or not all(isinstance(name, str) and name in record for name in fields):
        raise Faulty(FaultCode.ARGUMENT, f"fields: some of {', '.join(record)} wanted")
    return [{name: record[name] for name in fields}]


def _matches(record: dict[str, Any], wanted: object, keys: tuple[str, ...]) -> bool:
    own = [record[key] for key in keys]
    match wanted:
        case None:
            return True
        case bool():
            pass
        case int() | str():
            return wanted in own
        case list():
            return any(item in own for item in wanted if not isinstance(item, bool))
        case dict() if set(wanted) <= set(keys):
            return all(
                record[key] in value if isinstance(value, list) else record[key] == value
                for key, value in wanted.items()
            )
    raise Faulty(FaultCode.ARGUMENT, f"a filter by {', '.join(keys)} wanted")


METHODS = {
    # 2007
    "BootCheckAuthentication": Method(authentic, 0, 0),
    "BootGetNodeDetails": Method(get_node_details, 0, 0),
    "BootUpdateNode": Method(update_node, 1, 1),
    "BootNotifyOwners": Method(notify_owners, 4, 4),
    # later
    "AuthCheck": Method(authentic, 0, 0),
    "GetSession": Method(get_session, 0, 0),
    "GetNodes": Method(get_nodes, 0, 2),
    "GetInterfaces": Method(get_interfaces, 0, 2),
    "GetNodeFlavour": Method(get_node_flavour, 1, 1),
    "GetNodeTags": Method(get_node_tags, 0, 2),
    "ReportRunlevel": Method(report_run_level, 1, 2),
}
