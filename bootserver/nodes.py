"""Nodes as an operator handles them: register, find, change, and what the node is told of itself."""

from __future__ import annotations

import re
import secrets
import time

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bootserver import console
from bootserver.catalogue import current_image
from bootserver.events import tell
from bootserver.generations import changed
from bootserver.tables import Node, Waiting
from wire.errors import ConfigurationError
from wire.messages import (
    NO_DISK_ORDER,
    DiskOrder,
    DiskPolicy,
    DiskRecord,
    Minimum,
    NodeDetails,
    TargetState,
    VolumeSizes,
)
from wire.sealing import MasterKey
from wire.session import NodeKey
from wire.structure import structure

# The intents that begin another installation.
INSTALLING = (TargetState.NEW, TargetState.INST, TargetState.RINS)
SHARED_KEY_SECONDS = 3600
# One label or several, as in a host name (RFC 1123).
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


class NoSuchNode(ConfigurationError):
    """No node has that name."""

    code = "no-such-node"
    title = "There is no such node"
    hint = "See `bootserver node list`; register one with `bootserver node add NAME`."


class NodeExists(ConfigurationError):
    """The name is taken."""

    code = "node-exists"
    title = "There is such a node already"
    hint = "Choose another name, or remove that node first: bootserver node remove NAME."


class BadNodeName(ConfigurationError):
    """The name cannot be a host name."""

    code = "bad-node-name"
    title = "This cannot be a node's name"
    hint = "Use letters, digits and dashes, with dots between labels, such as node1.example.org."


def add(session: Session, master: MasterKey, name: str, state: TargetState, base_image: str) -> Node:
    """Register a node with a new key and a first run. Raises BadNodeName, NodeExists."""
    name = checked_name(name)
    if session.scalar(select(Node).where(Node.name == name)):
        raise NodeExists(name)
    node = Node(
        name=name,
        sealed_key=b"",
        created=time.time(),
        key_changed=time.time(),
        boot_state=str(state),
        run_id=new_run_id(),
        base_image=base_image,
    )
    session.add(node)
    session.flush()
    node.sealed_key = master.seal(NodeKey.generate().secret, purpose(node.id))
    return node


def checked_name(name: str) -> str:
    """Return a host name in lower case. Raises BadNodeName."""
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise BadNodeName(repr(name))
    return name


def purpose(node_id: int) -> str:
    """Return what a node's key is sealed for."""
    return f"node {node_id}"


def find(session: Session, name: str) -> Node:
    """Return the node of that name. Raises NoSuchNode."""
    node = session.scalar(select(Node).where(Node.name == name.lower()))
    if node is None:
        raise NoSuchNode(name)
    return node


def everyone(session: Session) -> list[Node]:
    """Return all nodes by name."""
    return list(session.scalars(select(Node).order_by(Node.name)))


def new_run_id() -> str:
    """Return a name for one (re)installation: 32 hex digits."""
    return secrets.token_hex(16)


def set_intent(node: Node, state: TargetState, *, clean: bool = False) -> None:
    """Change what is wanted of a node. Asking for an installation always begins a new run.

    It takes back a disk image, too: the node shall be itself. `clean` is for a reinstallation that takes
    nothing from the former root.
    """
    node.boot_state = str(state)
    node.clean = clean
    if state in INSTALLING:
        node.run_id = new_run_id()
        _forget_order(node)
    changed(node)


def order_reinstallation(session: Session, node: Node, **how: str) -> None:
    """Let a node reinstall itself now. One that nobody else starts again reboots for it, if it is up."""
    set_intent(node, TargetState.RINS)
    node.reboot_run = "" if how else node.run_id
    tell(session, node, "reinstall.ordered", **how)


def reboot_ordered(node: Node) -> str:
    """Return the run for which the installed node shall reboot, "" for none."""
    ordered = node.boot_state == TargetState.RINS and node.reboot_run == node.run_id
    return node.run_id if ordered else ""


def order_disk_image(node: Node, image: str, disk: str) -> None:
    """Let a node run another system; `disk` "" means its system disk. A new order, also of the same image."""
    node.disk_order, node.disk_image, node.disk_named = new_run_id(), image, disk
    changed(node)


def drop_disk_image(node: Node) -> bool:
    """Let a node be itself again; returns whether that takes a reinstallation, which is its intent then."""
    if node.disk_record:
        set_intent(node, TargetState.RINS)
        return True
    _forget_order(node)
    changed(node)
    return False


def disk_order(session: Session, node: Node) -> DiskOrder:
    """Return the order of another system. Raises NoSuchImage."""
    if not node.disk_order:
        return NO_DISK_ORDER
    return DiskOrder(node.disk_order, current_image(session, node.disk_image), node.disk_named)


def _forget_order(node: Node) -> None:
    node.disk_order = node.disk_image = node.disk_named = ""


def details(session: Session, node: Node) -> NodeDetails:
    """Return the node's configuration. Raises NoSuchImage when one that it needs was never published."""
    names = dict.fromkeys([*node.images, *sorted(sliver.slice.image for sliver in node.slivers)])
    return NodeDetails(
        node_id=node.id,
        hostname=node.name,
        boot_state=TargetState(node.boot_state),
        run_id=node.run_id,
        generation=node.generation,
        base_image=current_image(session, node.base_image),
        images=tuple(current_image(session, name) for name in names),
        ssh_keys=tuple(node.ssh_keys),
        minimum=Minimum(node.memory_mib, node.disk_mib),
        disks=DiskPolicy(node.system_disk, node.data_disks),
        volumes=VolumeSizes(node.boot_mib, node.swap_mib, node.root_mib),
        kernel_arguments=node.kernel_arguments,
        cache_budget_mib=node.cache_budget_mib,
        mirrors=tuple(node.mirrors),
        bandwidth_kib=node.bandwidth_kib,
        clean=node.clean,
        neighbours=node.neighbours,
        disk_image=disk_order(session, node),
        console_password=console.password_of(session, node),
        disk_records=(structure(node.disk_record, DiskRecord),) if node.disk_record else (),
    )


def rotate_key(session: Session, master: MasterKey, node: Node) -> None:
    """Give the node a new key. Every session made with the old one has ended with this transaction."""
    node.sealed_key = master.seal(NodeKey.generate().secret, purpose(node.id))
    node.key_changed = time.time()
    node.shared_key, node.shared_key_at = "", 0.0
    # Whoever fetched the old key with the key pair of an enrolment does not fetch this one.
    session.execute(delete(Waiting).where(Waiting.node_id == node.id))
    # Who waits with the old key is let go, and it is forgotten.
    changed(node)
    if node.classic is not None and node.classic.sealed_key:
        # Its key from another deployment is as old, and only the operator can bring the next one.
        node.classic = None
    tell(session, node, "key.rotated")


def mark_shared_key(session: Session, node: Node, places: str) -> None:
    """Mark that the node's key is used from two places at once; its timeline says so once an hour."""
    now = time.time()
    if now - node.shared_key_at >= SHARED_KEY_SECONDS or not node.shared_key:
        tell(session, node, "key.shared", places=places)
        node.shared_key_at = now
    node.shared_key = places


def accept_key(session: Session, node: Node) -> None:
    """Take that mark away without another key: the operator knows why it was."""
    node.shared_key, node.shared_key_at = "", 0.0
    tell(session, node, "key.accepted")


def key_of(master: MasterKey, node: Node) -> NodeKey:
    """Return the node's key. Raises CannotUnseal."""
    return NodeKey(master.unseal(node.sealed_key, purpose(node.id)))
