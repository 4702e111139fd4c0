"""Reading a reply to GetSlivers: what is damaged as a whole, and what is wrong with one entry of it only.

A reply that is none, or has no list of slivers, is refused as a whole. The fault of one sliver, service,
file, account or image is its own: that keeps the settings that it had, but for a sliver's expiry date. Where
a name cannot be read nothing of the kind is taken away, for a sliver whose name was mangled would look like
one that is no longer wanted, and be destroyed.

What is as it was before is recognised by comparing plain data, so that one change among a thousand slivers
costs one sliver's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from configmanager.entries import Entries, labelled, reason, structured
from wire.conf_files import ConfFile
from wire.messages import NO_DISK_ORDER, DiskOrder, ImageRef
from wire.slivers import (
    DELEGATE,
    LAST_MOMENT,
    PORTS_TAG,
    Account,
    NodeService,
    NodeSlivers,
    PortForward,
    Sliver,
    check_image,
    check_image_name,
    check_name,
    machine_name,
)
from wire.structure import MalformedMessage, unstructure

_MOST_TOLD = 100


@dataclass(frozen=True)
class Known:
    """A sliver as plain data and as what that means."""

    plain: Mapping[str, Any]
    sliver: Sliver

    @classmethod
    def of(cls, sliver: Sliver) -> Known:
        """Return a sliver with its own plain form."""
        return cls(unstructure(sliver), sliver)

    @property
    def taken(self) -> set[tuple[str, int]]:
        """Ports of the node that it has."""
        return {_outside(port) for port in self.sliver.ports}


@dataclass
class Reading:
    """What a reply says; `refused` tells by "sliver NAME", "conf_file PATH" ... why that does not count."""

    head: NodeSlivers
    slivers: dict[str, Known] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def together(head: NodeSlivers, slivers: Mapping[str, Known]) -> NodeSlivers:
    """Return the configuration made of its parts, slivers by name. Raises MalformedMessage."""
    try:
        return replace(head, slivers=tuple(slivers[name].sliver for name in sorted(slivers)))
    except ValueError as error:
        raise MalformedMessage(f"NodeSlivers: {error}") from None


def read(reply: object, known: Mapping[str, Known], before: NodeSlivers | None) -> Reading:
    """Return what a reply (plain data) says, given the slivers and all else that counted before.

    Raises MalformedMessage.
    """
    if not isinstance(reply, Mapping):
        raise MalformedMessage(f"NodeSlivers: a struct wanted, {type(reply).__name__} given")
    refused: dict[str, str] = {}
    head = {**reply, **_lists(reply, before, refused), "slivers": []}
    if "disk_image" in reply:
        head["disk_image"] = _disk_image(reply["disk_image"], before, refused)
    reading = Reading(structured(head, NodeSlivers), refused=refused)
    _read_slivers(Entries.of("sliver", reply.get("slivers"), _name, refused), known, reading)
    _shorten(refused)
    return reading


def _lists(
    reply: Mapping[str, Any], before: NodeSlivers | None, refused: dict[str, str]
) -> dict[str, list[Any]]:
    """Return what counts of the lists but for the slivers."""
    services = Entries.of("service", reply.get("services", []), _name, refused)
    images = Entries.of("image", reply.get("images", []), _image_name, refused)
    accounts = reply.get("accounts", [])
    if isinstance(accounts, list | tuple):
        accounts = [item for item in accounts if not _is_nobodys(item)]
    delegates = Entries.of("account", accounts, _name, refused)
    return {
        "services": services.counting(
            NodeService, {item.name: item for item in (before.services if before else ())}, refused
        ),
        "images": images.counting(
            ImageRef, {item.name: item for item in (before.images if before else ())}, refused, check_image
        ),
        "accounts": delegates.counting(
            Account, {item.name: item for item in (before.delegates if before else ())}, refused
        ),
        "conf_files": _conf_files(reply.get("conf_files"), before.conf_files if before else (), refused),
    }


def _read_slivers(entries: Entries, known: Mapping[str, Known], reading: Reading) -> None:
    items = entries.items
    staying = [name for name in known if name in items or entries.may_mean(name)]
    # Those that are as they were come first: what they have, a changed one cannot take.
    good: dict[str, Known] = {name: known[name] for name in items if _same(known.get(name), items[name])}
    good |= {
        name: new for name, item in items.items() if name not in good and (new := _sliver(item, reading))
    }
    taken: dict[tuple[str, int], str] = {}
    # a_b and a-b would be one machine.
    machines = {machine_name(name): name for name in staying}
    for name, new in good.items():
        if (owner := machines.setdefault(new.sliver.machine, name)) != name:
            reading.refused[labelled("sliver", name)] = f"as a machine it has the name of {owner}"
            continue
        if clash := taken.keys() & new.taken:
            ports = (f"{protocol}:{port} is {taken[protocol, port]}'s" for protocol, port in sorted(clash))
            reading.refused[labelled("sliver", name)] = f"{', '.join(ports)}, {name} cannot have it too"
            continue
        taken |= dict.fromkeys(new.taken, name)
        reading.slivers[name] = new
    for name in staying:
        if name not in reading.slivers:
            reading.slivers[name] = old = _as_it_was(known[name], items.get(name, {}), taken.keys())
            taken |= dict.fromkeys(old.taken, name)


def _shorten(refused: dict[str, str]) -> None:
    """Leave what people read: each is an event."""
    more = list(refused)[_MOST_TOLD:]
    for label in more:
        del refused[label]
    if more:
        refused["configuration"] = f"{len(more)} more entries of it are refused"


def _name(item: Mapping[str, Any]) -> str:
    return check_name(_text(item, "name"))


def _image_name(item: Mapping[str, Any]) -> str:
    return check_image_name(_text(item, "name"))


def _dest(item: Mapping[str, Any]) -> str:
    return _text(item, "dest")


def _text(item: Mapping[str, Any], member: str) -> str:
    """Return a member that is a text. Raises ValueError."""
    found = item.get(member)
    if not isinstance(found, str):
        raise ValueError(f"it has no {member}")
    return found


def _is_nobodys(item: object) -> bool:
    """Say whether an account is of a type that no node makes, such as an original server's own."""
    kind = item.get("type", "") if isinstance(item, Mapping) else None
    return isinstance(kind, str) and kind != DELEGATE


def _same(known: Known | None, item: Mapping[str, Any]) -> bool:
    return known is not None and known.plain == item


def _sliver(item: Mapping[str, Any], reading: Reading) -> Known | None:
    try:
        return Known(item, structured(item, Sliver))
    except MalformedMessage as error:
        reading.refused[labelled("sliver", item["name"])] = reason(error)
        return None


def _as_it_was(known: Known, item: Mapping[str, Any], taken: Set[tuple[str, int]]) -> Known:
    """Return the last good settings with the new expiry date, without the ports if another has one now."""
    sliver = known.sliver
    if known.taken & taken:
        kept = tuple(each for each in sliver.attributes if each.tagname != PORTS_TAG)
        sliver = replace(sliver, attributes=kept)
    expires = item.get("expires")
    if type(expires) is int and 0 <= expires <= LAST_MOMENT and expires != sliver.expires:
        sliver = replace(sliver, expires=expires)
    return known if sliver is known.sliver else Known.of(sliver)


def _disk_image(item: object, before: NodeSlivers | None, refused: dict[str, str]) -> Any:
    try:
        order = structured(item, DiskOrder)
        if order.id:
            check_image(order.image)
    except (MalformedMessage, ValueError) as error:
        refused["disk_image"] = reason(error)
        return unstructure(before.disk_image if before else NO_DISK_ORDER)
    return item


def _conf_files(items: object, known: Sequence[ConfFile], refused: dict[str, str]) -> list[Any]:
    if items is None:
        return []
    if not isinstance(items, list | tuple):
        refused["conf_files"] = f"a list wanted, {type(items).__name__} given"
        return [unstructure(file) for file in known]
    # The originals leave what is not set to null.
    plain = [
        {key: value for key, value in item.items() if value is not None}
        if isinstance(item, Mapping)
        else item
        for item in items
    ]
    entries = Entries.of("conf_file", plain, _dest, refused)
    counting = entries.counting(ConfFile, {file.dest: file for file in known}, refused)
    return [item for item in counting if item.get("enabled", True)]


def _outside(port: PortForward) -> tuple[str, int]:
    return port.protocol, port.outside
