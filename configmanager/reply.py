"""Reading a reply to GetSlivers: what is damaged as a whole, and what is wrong with one sliver only.

A reply whose slivers cannot be told apart (no list, a name that is none, one name twice) is refused as a
whole: a sliver whose name was mangled would look like one that is no longer wanted, and be destroyed. Any
other fault is that of one sliver, service or file, which keeps the settings that it had, but for a sliver's
expiry date.

What is as it was before is recognised by comparing plain data, so that one change among a thousand slivers
costs one sliver's work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from wire.conf_files import ConfFile
from wire.slivers import LAST_MOMENT, PORTS_TAG, NodeService, NodeSlivers, PortForward, Sliver, check_name
from wire.structure import MalformedMessage, structure, unstructure

_REASON_CHARACTERS = 300
_PATH_CHARACTERS = 200
# JSON allows a thousand, which no reader of ours is made for.
_DEPTH = 16
# No text of XML-RPC has them, and a file may not: JSON would let them through.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

T = TypeVar("T")


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
    """What a reply says; `refused` tells by "sliver NAME", "service NAME" or "conf_file PATH" why its words
    do not count."""

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
    head = {
        **reply,
        "services": _services(_named(reply, "services"), before.services if before else (), refused),
        "conf_files": _conf_files(reply.get("conf_files"), before.conf_files if before else (), refused),
        "slivers": [],
    }
    reading = Reading(_structure(head, NodeSlivers), refused=refused)
    items = _named(reply, "slivers")
    # Those that are as they were come first: what they have, a changed one cannot take.
    good: dict[str, Known] = {name: known[name] for name in items if _same(known.get(name), items[name])}
    good |= {
        name: new for name, item in items.items() if name not in good and (new := _sliver(item, reading))
    }
    taken: dict[tuple[str, int], str] = {}
    for name, new in good.items():
        if clash := taken.keys() & new.taken:
            ports = (f"{protocol}:{port} is {taken[protocol, port]}'s" for protocol, port in sorted(clash))
            reading.refused[f"sliver {name}"] = f"{', '.join(ports)}, {name} cannot have it too"
            continue
        taken |= dict.fromkeys(new.taken, name)
        reading.slivers[name] = new
    for name, item in items.items():
        if name not in reading.slivers and name in known:
            reading.slivers[name] = old = _as_it_was(known[name], item, taken.keys())
            taken |= dict.fromkeys(old.taken, name)
    return reading


def _named(reply: Mapping[str, Any], member: str) -> dict[str, Mapping[str, Any]]:
    """Return the items of a list by their names. Raises MalformedMessage where they cannot be told apart."""
    items = reply.get(member, [])
    if not isinstance(items, list | tuple):
        raise MalformedMessage(f"{member}: a list wanted, {type(items).__name__} given")
    found: dict[str, Mapping[str, Any]] = {}
    for item in items:
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str):
            raise MalformedMessage(f"{member}: one has no name")
        try:
            check_name(name)
        except ValueError as error:
            raise MalformedMessage(f"{member}: {error}") from None
        if name in found:
            raise MalformedMessage(f"{member}: {name} is there more than once")
        found[name] = item
    return found


def _same(known: Known | None, item: Mapping[str, Any]) -> bool:
    return known is not None and known.plain == item


def _sliver(item: Mapping[str, Any], reading: Reading) -> Known | None:
    try:
        return Known(item, _structure(item, Sliver))
    except MalformedMessage as error:
        reading.refused[f"sliver {item['name']}"] = _reason(error)
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


def _services(
    items: Mapping[str, Mapping[str, Any]], known: Sequence[NodeService], refused: dict[str, str]
) -> list[Any]:
    before = {service.name: service for service in known}
    found: list[Any] = []
    for name, item in items.items():
        try:
            _structure(item, NodeService)
            found.append(item)
        except MalformedMessage as error:
            refused[f"service {name}"] = _reason(error)
            if name in before:
                found.append(unstructure(before[name]))
    return found


def _conf_files(items: object, known: Sequence[ConfFile], refused: dict[str, str]) -> list[Any]:
    before = {file.dest: file for file in known}
    if not isinstance(items, list | tuple):
        if items is not None:
            refused["conf_files"] = f"a list wanted, {type(items).__name__} given"
            return [unstructure(file) for file in known]
        return []
    found: dict[str, Any] = {}
    spoken_of: dict[str, bool] = {}
    nameless = False
    for number, item in enumerate(items, 1):
        dest = item.get("dest") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(dest, str):
            refused[f"conf_file {number}"] = "it names no dest"
            nameless = True
            continue
        name = f"conf_file {_path(dest)}"
        if dest in spoken_of:
            refused[name] = "is there more than once"
            spoken_of[dest] = False
            continue
        # The originals leave what is not set to null.
        plain = {key: value for key, value in item.items() if value is not None}
        try:
            if _structure(plain, ConfFile).enabled:
                found[dest] = plain
            spoken_of[dest] = True
        except MalformedMessage as error:
            refused[name] = _reason(error)
            spoken_of[dest] = False
    good = {dest: plain for dest, plain in found.items() if spoken_of[dest]}
    # One that is not there may be the one whose name was mangled.
    kept = {dest for dest in before if not spoken_of.get(dest, not nameless)}
    return [*good.values(), *(unstructure(before[dest]) for dest in sorted(kept))]


def _path(dest: str) -> str:
    return dest if dest.isprintable() and len(dest) <= _PATH_CHARACTERS else ascii(dest[:_PATH_CHARACTERS])


def _structure(data: object, kind: type[T]) -> T:
    if not _speakable(data):
        raise MalformedMessage(
            f"{kind.__name__}: holds a character that no text may have, or is nested too deep"
        )
    return structure(data, kind)


def _speakable(data: object, depth: int = 0) -> bool:
    if depth > _DEPTH:
        return False
    match data:
        case str():
            return not _UNSPEAKABLE.search(data)
        case Mapping():
            return all(_speakable(item, depth + 1) for item in data.values())
        case list() | tuple():
            return all(_speakable(item, depth + 1) for item in data)
    return True


def _reason(error: MalformedMessage) -> str:
    """Return what is wrong, without the name of our class, and with the place in words."""
    text = re.sub(r" @ \$(?=;|$)", "", error.detail.partition(": ")[2]).replace(" @ $.", " in ")
    return text[:_REASON_CHARACTERS]


def _outside(port: PortForward) -> tuple[str, int]:
    return port.protocol, port.outside
