"""Nodes that may give each other blobs: who gives what, and who is near whom.

Near are nodes whose calls come from the same place and whose own addresses are in one subnet, and nodes of
the same site. Of more than a node can look after it is told those next to it in a ring of all, so that a
large LAN is one chain of overlapping groups.
"""

from __future__ import annotations

import ipaddress
import time

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from bootserver.tables import Giver, Node
from images.manifest import is_digest
from wire.neighbours import MAXIMUM_IMAGES, MAXIMUM_NEIGHBOURS, SEEN_SECONDS, Met, Neighbour, Offer

# Longer prefixes are none of a LAN, shorter ones may be of two.
_SUBNET_BITS = {4: 24, 6: 64}


def lan(address: str, peer: str) -> str:
    """Return what nodes of one LAN have in common: their subnet, and who translates their addresses if so.

    Raises ValueError for what is no address.
    """
    own = ipaddress.ip_address(address)
    subnet = ipaddress.ip_network(f"{own}/{_SUBNET_BITS[own.version]}", strict=False)
    return f"{subnet} by {peer}" if peer != address else str(subnet)


def meet(session: Session, node: Node, offer: Offer) -> Met:
    """Note what a node gives, and return its neighbours.

    Raises ValueError where its address or its offer cannot be that of a node.
    """
    own = Neighbour(node.address, offer.port)
    if len(offer.images) > MAXIMUM_IMAGES or not all(map(is_digest, offer.images)):
        raise ValueError(f"images: at most {MAXIMUM_IMAGES} manifests by SHA-256 wanted")
    place, now = lan(own.address, node.peer), time.time()
    giver = Giver(
        node_id=node.id,
        address=own.address,
        port=own.port,
        lan=place,
        images=list(offer.images),
        seen=now,
    )
    session.merge(giver)
    same_site = and_(Node.site == node.site, Node.site != "")
    query = (
        select(Giver)
        .join(Node, Node.id == Giver.node_id)
        .where(Giver.seen > now - SEEN_SECONDS, or_(Giver.lan == place, same_site))
        .where(Giver.node_id != node.id, Node.neighbours)
        .order_by(Giver.node_id)
    )
    wanted = set(offer.images)
    near = [other for other in session.scalars(query) if wanted & set(other.images)]
    return Met(tuple(Neighbour(other.address, other.port) for other in _next_to(node.id, near)))


def _next_to(node_id: int, others: list[Giver]) -> list[Giver]:
    """Return those before and behind a node in the ring of `others`, which are in the order of their ids."""
    if len(others) <= MAXIMUM_NEIGHBOURS:
        return others
    behind = sum(other.node_id < node_id for other in others)
    ring = others[behind:] + others[:behind]
    half = MAXIMUM_NEIGHBOURS // 2
    return ring[: MAXIMUM_NEIGHBOURS - half] + ring[-half:]
