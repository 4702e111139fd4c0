"""Slices, slivers, services and delegates: what nodes are told to run, and by whom they may be told more."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from bootserver import nodes
from bootserver.catalogue import NoSuchImage, current_image
from bootserver.generations import changed
from bootserver.tables import Delegate, Node, Service, Slice
from bootserver.tables import Sliver as SliverRow
from wire import xmlrpc
from wire.errors import ConfigurationError
from wire.messages import ImageRef
from wire.session import NodeKey
from wire.slivers import (
    DELEGATE,
    Account,
    Attribute,
    Instantiation,
    NodeService,
    NodeSlivers,
    Sliver,
    SliverKey,
)
from wire.structure import MalformedMessage, unstructure
from wire.tickets import Ticket, TicketKey


class NoSuchSlice(ConfigurationError):
    """No slice has that name."""

    code = "no-such-slice"
    title = "There is no such slice"
    hint = "See `bootserver slice list`; make one with `bootserver slice add NAME`."


class SliceExists(ConfigurationError):
    """The name is taken."""

    code = "slice-exists"
    title = "There is such a slice already"
    hint = "Choose another name, or remove that slice first: bootserver slice remove NAME."


class BadRole(ConfigurationError):
    """A slice or service breaks a rule of what nodes accept."""

    code = "bad-role"
    title = "A node would refuse this"
    hint = "Correct what is named; nothing was changed."


def find(session: Session, name: str) -> Slice:
    """Return the slice of that name. Raises NoSuchSlice."""
    found = session.scalar(select(Slice).where(Slice.name == name))
    if found is None:
        raise NoSuchSlice(name)
    return found


def add(session: Session, new: Slice) -> None:
    """Add a slice. Raises SliceExists, BadRole."""
    if session.scalar(select(Slice).where(Slice.name == new.name)):
        raise SliceExists(new.name)
    session.add(new)
    session.flush()
    try:
        _sliver(new)
    except ValueError as error:
        raise BadRole(str(error)) from None


def place(session: Session, chosen: Slice, node: Node) -> bool:
    """Put a slice on a node; returns whether that is new. Raises BadRole."""
    if session.get(SliverRow, (chosen.id, node.id)):
        return False
    session.add(SliverRow(slice_id=chosen.id, node_id=node.id))
    _changed(session, node)
    return True


def withdraw(session: Session, chosen: Slice, node: Node) -> bool:
    """Take a slice off a node; returns whether it was there."""
    found = session.get(SliverRow, (chosen.id, node.id))
    if found is None:
        return False
    session.delete(found)
    _changed(session, node)
    return True


def remove(session: Session, chosen: Slice) -> None:
    """Remove a slice from everywhere."""
    changed(*(sliver.node for sliver in chosen.slivers))
    session.delete(chosen)


def set_service(session: Session, node: Node, name: str, unit: str) -> None:
    """Add a service to a node, or change its unit. Raises BadRole."""
    try:
        NodeService(name, unit)
    except ValueError as error:
        raise BadRole(str(error)) from None
    session.merge(Service(node_id=node.id, name=name, unit=unit))
    _changed(session, node)


def remove_service(session: Session, node: Node, name: str) -> bool:
    """Take a service off a node; returns whether it was there."""
    found = session.get(Service, (node.id, name))
    if found is None:
        return False
    session.delete(found)
    _changed(session, node)
    return True


def set_delegate(session: Session, node: Node, name: str, keys: Sequence[str]) -> None:
    """Add a delegate to a node, or change its keys. Raises BadRole."""
    session.merge(Delegate(node_id=node.id, name=name, keys=list(keys)))
    _changed(session, node)


def remove_delegate(session: Session, node: Node, name: str) -> bool:
    """Take a delegate off a node; returns whether it was there."""
    found = session.get(Delegate, (node.id, name))
    if found is None:
        return False
    session.delete(found)
    _changed(session, node)
    return True


def ticket(session: Session, key: NodeKey, chosen: Slice, node: Node, seconds: int) -> str:
    """Return a ticket for a slice's sliver on a node, good for so long, and put the slice there.

    Without that the node would hear with its next GetSlivers that the slice is not there. Raises BadRole.
    """
    now = int(time.time())
    if chosen.expires <= now:
        raise BadRole(f"the slice {chosen.name} has expired")
    place(session, chosen, node)
    image = _published(session, chosen.image)
    said = Ticket(node.id, now, now + seconds, _sliver(chosen), (image,) if image else ())
    return TicketKey.derive(key, node.id).sign(said)


def for_node(session: Session, node: Node) -> NodeSlivers:
    """Return the reply to GetSlivers. An image that was never published is left out, its sliver is not."""
    now = int(time.time())
    chosen = [sliver.slice for sliver in node.slivers if sliver.slice.expires > now]
    images = dict.fromkeys([*node.images, *(item.image for item in chosen if item.image)])
    return NodeSlivers(
        timestamp=now,
        node_id=node.id,
        hostname=node.name,
        slivers=tuple(_sliver(item) for item in sorted(chosen, key=lambda item: item.name)),
        services=tuple(NodeService(item.name, item.unit) for item in node.services),
        images=tuple(ref for ref in (_published(session, name) for name in images) if ref),
        accounts=tuple(Account(item.name, tuple(item.keys), DELEGATE) for item in node.delegates),
        generation=node.generation,
        disk_image=nodes.disk_order(session, node),
    )


def _published(session: Session, name: str) -> ImageRef | None:
    try:
        return current_image(session, name)
    except NoSuchImage:
        return None


def _sliver(row: Slice) -> Sliver:
    return Sliver(
        name=row.name,
        slice_id=row.id,
        expires=row.expires,
        instantiation=Instantiation(row.instantiation),
        image=row.image,
        keys=tuple(SliverKey("ssh", key) for key in row.keys),
        attributes=tuple(Attribute(name, value) for name, value in sorted(row.attributes.items())),
        initscript=row.initscript,
    )


def _changed(session: Session, node: Node) -> None:
    """Count the change, and refuse one that the node would refuse. Raises BadRole."""
    changed(node)
    session.flush()
    session.refresh(node, ["slivers", "services", "delegates"])
    try:
        xmlrpc.dump_reply(unstructure(for_node(session, node)))
    except ValueError as error:
        raise BadRole(str(error)) from None
    except MalformedMessage as error:
        raise BadRole(error.detail) from None
