"""Which nodes may speak the classic protocol, with which key: marked one by one by the operator."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from bootserver import nodes
from bootserver.tables import ClassicNode, Node
from wire.errors import ConfigurationError
from wire.plc import classic_key
from wire.sealing import MasterKey
from wire.session import KEY_BYTES, NodeKey

# pldistro, distribution, architecture: what names the archive that a classic boot manager asks for.
DEFAULT_FLAVOUR = "planetlab-trixie-x86_64"
MAXIMUM_ID = 2**31 - 1
FLAVOUR = re.compile(r"[A-Za-z0-9_.]{1,20}(-[A-Za-z0-9_.]{1,20}){2}")
MAC = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")


class BadClassicSetting(ConfigurationError):
    """What a classic node is to be marked with cannot be."""

    code = "bad-classic-setting"
    title = "A node cannot be marked classic like this"
    hint = "See `bootserver node classic --help`; nothing was changed."


@dataclass(frozen=True)
class Identity:
    """A key to compute with for who calls itself `classic_id`; `node_id` is 0 where nobody may."""

    classic_id: int
    node_id: int
    key: NodeKey = field(repr=False)
    since: float = 0.0


class Identities:
    """Finds the keys of marked nodes. A node that is not marked or not there costs the same work."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._decoy = master.seal(bytes(KEY_BYTES), nodes.purpose(0))

    def find(self, session: Session, classic_id: int) -> Identity:
        """Return who that is. Raises CannotUnseal."""
        # Joined, so that a node that is not marked is no row, exactly like one that does not exist.
        columns = ClassicNode.node_id, ClassicNode.since, ClassicNode.sealed_key, Node.sealed_key
        query = select(*columns).join(Node, Node.id == ClassicNode.node_id)
        found = session.execute(query.where(ClassicNode.classic_id == classic_id)).first()
        node_id, since, other, own = found if found is not None else (0, 0.0, b"", self._decoy)
        if other:
            key = NodeKey(self._master.unseal(other, purpose(node_id)))
        else:
            # The classic scheme takes NODE_KEY as it stands on the medium, and never decodes it.
            key = classic_key(NodeKey(self._master.unseal(own, nodes.purpose(node_id))).to_text())
        return Identity(classic_id, node_id, key, since)


def purpose(node_id: int) -> str:
    """Return what a key from another deployment is sealed for."""
    return f"classic key of node {node_id}"


def mark(session: Session, node: Node, classic_id: int | None = None) -> ClassicNode:
    """Let a node speak the classic protocol; one that may already stays as it is but for what is given.

    `classic_id` is its NODE_ID from another deployment. Raises BadClassicSetting.
    """
    marked = session.get(ClassicNode, node.id)
    if marked is None:
        marked = ClassicNode(node_id=node.id, since=time.time(), flavour=DEFAULT_FLAVOUR)
        wanted = classic_id or node.id
    else:
        wanted = classic_id or marked.classic_id
    taken = select(ClassicNode).where(ClassicNode.classic_id == wanted, ClassicNode.node_id != node.id)
    if session.scalar(taken) is not None:
        raise BadClassicSetting(f"another node calls itself {wanted} already")
    marked.classic_id = wanted
    session.add(marked)
    session.flush()
    return marked


def unmark(session: Session, node: Node) -> None:
    """End that; a key from another deployment is forgotten."""
    marked = session.get(ClassicNode, node.id)
    if marked is not None:
        session.delete(marked)


def set_key(marked: ClassicNode, master: MasterKey, text: str) -> None:
    """Give a node the key that it has from another deployment. Raises BadNodeKey."""
    marked.sealed_key = master.seal(classic_key(text).secret, purpose(marked.node_id))


def set_flavour(marked: ClassicNode, flavour: str) -> None:
    """Say which archive the node is pointed to. Raises BadClassicSetting."""
    if not FLAVOUR.fullmatch(flavour):
        raise BadClassicSetting(f"{flavour!r} is not of the form PLDISTRO-DISTRIBUTION-ARCHITECTURE")
    marked.flavour = flavour


def set_mac(marked: ClassicNode, mac: str) -> None:
    """Say which network card the node has. Raises BadClassicSetting."""
    if not MAC.fullmatch(mac.upper()):
        raise BadClassicSetting(f"{mac!r} is not a MAC address like 52:54:00:AB:CD:EF")
    marked.mac = mac.upper()


def only_one(found: list[ClassicNode]) -> ClassicNode | None:
    """Return the one node found; several fit nobody, because a guess would be somebody else's."""
    return found[0] if len(found) == 1 else None


def by_mac(session: Session, mac: str) -> ClassicNode | None:
    """Return the marked node with that card, in any case of letters."""
    mac = mac.strip().upper()
    query = select(ClassicNode).where(ClassicNode.mac == mac).limit(2)
    return only_one(list(session.scalars(query))) if MAC.fullmatch(mac) else None


def at(session: Session, peer: str) -> list[ClassicNode]:
    """Return the marked nodes whose last proven call came from that address."""
    return list(session.scalars(select(ClassicNode).where(ClassicNode.peer == peer))) if peer else []
