"""Slices, slivers, services, files and delegates: what nodes are told, and by whom they may be told more."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from bootserver import nodes
from bootserver.catalogue import NoSuchImage, current_image
from bootserver.generations import changed
from bootserver.tables import Base, Delegate, Node, NodeFile, Service, Slice
from bootserver.tables import Sliver as SliverRow
from wire import xmlrpc
from wire.conf_files import ConfFile
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
from wire.structure import MalformedMessage, structure, unstructure
from wire.tickets import Ticket, TicketKey

# Of one node, in bytes: they travel in one reply, with all else.
MAXIMUM_FILES = 1024 * 1024


class NoSuchSlice(ConfigurationError):
    """No slice has that name."""

    code = "no-such-slice"
    title = "There is no such slice"
    hint = "See `bootserver slice list`; make one with `bootserver slice add NAME`."


class SliceExists(ConfigurationError):
    """The name is taken."""

    code = "slice-exists"
    title = "There is such a slice already"
    hint = "Choose another name, or change that slice: bootserver slice set NAME."


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
    _check(new)


def change(session: Session, chosen: Slice, **fields: object) -> None:
    """Change fields of a slice, on all nodes that have it. Raises BadRole."""
    for field, value in fields.items():
        setattr(chosen, field, value)
    _check(chosen)
    _changed(session, *(sliver.node for sliver in chosen.slivers))


def place(session: Session, chosen: Slice, node: Node) -> bool:
    """Put a slice on a node; returns whether that is new. Raises BadRole."""
    if session.get(SliverRow, (chosen.id, node.id)):
        return False
    session.add(SliverRow(slice_id=chosen.id, node_id=node.id))
    _changed(session, node)
    return True


def withdraw(session: Session, chosen: Slice, node: Node) -> bool:
    """Take a slice off a node; returns whether it was there."""
    return _taken(session, session.get(SliverRow, (chosen.id, node.id)), node)


def remove(session: Session, chosen: Slice) -> None:
    """Remove a slice from everywhere."""
    changed(*(sliver.node for sliver in chosen.slivers))
    session.delete(chosen)


def set_service(session: Session, node: Node, service: NodeService) -> None:
    """Add a service to a node, or change it. Raises BadRole."""
    session.merge(
        Service(
            node_id=node.id,
            name=service.name,
            unit=service.unit,
            overlay=service.overlay,
            health=service.health,
            health_seconds=service.health_seconds,
        )
    )
    _changed(session, node)


def remove_service(session: Session, node: Node, name: str) -> bool:
    """Take a service off a node; returns whether it was there."""
    return _taken(session, session.get(Service, (node.id, name)), node)


def set_file(session: Session, node: Node | None, file: ConfFile) -> None:
    """Give a node a file, or all nodes (None), or change it. Raises BadRole."""
    found = _file(session, node, file.dest) or NodeFile(node_id=node.id if node else None, dest=file.dest)
    found.fields = unstructure(file)
    session.add(found)
    _changed(session, *_whom(session, node))


def remove_file(session: Session, node: Node | None, dest: str) -> bool:
    """Take a file from a node, or what all nodes have (None) from all; returns whether it was there."""
    return _taken(session, _file(session, node, dest), *_whom(session, node))


def files_of(session: Session, node: Node | None) -> list[tuple[ConfFile, bool]]:
    """Return a node's files, or those of all nodes (None), with whether all have it; its own comes before."""
    of_all = NodeFile.node_id.is_(None)
    chosen = or_(of_all, NodeFile.node_id == node.id) if node else of_all
    rows = session.scalars(select(NodeFile).where(chosen))
    found = {}
    for row in sorted(rows, key=lambda row: row.node_id is not None):
        found[row.dest] = structure(row.fields, ConfFile), row.node_id is None
    return [found[dest] for dest in sorted(found)]


def set_delegate(session: Session, node: Node, name: str, keys: Sequence[str]) -> None:
    """Add a delegate to a node, or change its keys. Raises BadRole."""
    session.merge(Delegate(node_id=node.id, name=name, keys=list(keys)))
    _changed(session, node)


def remove_delegate(session: Session, node: Node, name: str) -> bool:
    """Take a delegate off a node; returns whether it was there."""
    return _taken(session, session.get(Delegate, (node.id, name)), node)


def ticket(session: Session, key: NodeKey, chosen: Slice, node: Node, seconds: int) -> str:
    """Return a ticket for a slice's sliver on a node, good for so long, and put the slice there.

    Without that the node would hear with its next GetSlivers that the slice is not there. Raises BadRole.
    """
    now = int(time.time())
    if chosen.expires <= now:
        raise BadRole(f"the slice {chosen.name} has expired")
    place(session, chosen, node)
    image = published(session, chosen.image)
    said = Ticket(node.id, now, now + seconds, _sliver(chosen), (image,) if image else ())
    return TicketKey.derive(key, node.id).sign(said)


def for_node(session: Session, node: Node) -> NodeSlivers:
    """Return the reply to GetSlivers. An image that was never published is left out, its sliver is not."""
    now = int(time.time())
    chosen = [sliver.slice for sliver in node.slivers if sliver.slice.expires > now]
    services = tuple(_service(item) for item in node.services)
    named = [*(item.image for item in chosen), *(item.overlay for item in services)]
    images = dict.fromkeys([*node.images, *filter(None, named)])
    return NodeSlivers(
        timestamp=now,
        node_id=node.id,
        hostname=node.name,
        slivers=tuple(_sliver(item) for item in sorted(chosen, key=lambda item: item.name)),
        services=services,
        images=tuple(ref for ref in (published(session, name) for name in images) if ref),
        accounts=tuple(Account(item.name, tuple(item.keys), DELEGATE) for item in node.delegates),
        conf_files=tuple(file for file, _ in files_of(session, node) if file.enabled),
        generation=node.generation,
        disk_image=nodes.disk_order(session, node),
        reinstall=nodes.reboot_ordered(node),
    )


def published(session: Session, name: str) -> ImageRef | None:
    """Return the newest publication of an image, None where there is none."""
    try:
        return current_image(session, name)
    except NoSuchImage:
        return None


def _service(row: Service) -> NodeService:
    return NodeService(row.name, row.unit, row.overlay, row.health, row.health_seconds)


def _file(session: Session, node: Node | None, dest: str) -> NodeFile | None:
    whose = NodeFile.node_id.is_(None) if node is None else NodeFile.node_id == node.id
    return session.scalar(select(NodeFile).where(whose, NodeFile.dest == dest))


def _whom(session: Session, node: Node | None) -> Sequence[Node]:
    return session.scalars(select(Node)).all() if node is None else (node,)


def _check(row: Slice) -> None:
    try:
        _sliver(row)
    except ValueError as error:
        raise BadRole(str(error)) from None


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


def _taken(session: Session, row: Base | None, *nodes: Node) -> bool:
    """Take a row away from those whom it is for; returns whether it was there."""
    if row is None:
        return False
    session.delete(row)
    _changed(session, *nodes)
    return True


def _changed(session: Session, *nodes: Node) -> None:
    """Count the change, and refuse one that a node would refuse. Raises BadRole."""
    changed(*nodes)
    session.flush()
    for node in nodes:
        session.refresh(node, ["slivers", "services", "delegates"])
        try:
            said = for_node(session, node)
            xmlrpc.dump_reply(unstructure(said))
        except ValueError as error:
            raise BadRole(str(error)) from None
        except MalformedMessage as error:
            raise BadRole(error.detail) from None
        if sum(len(file.data) for file in said.conf_files) > MAXIMUM_FILES:
            raise BadRole(f"the files of {node.name} are over {MAXIMUM_FILES} bytes")
