"""Lists of named entries in a reply to GetSlivers: the fault of one is its own.

An entry whose name cannot be read may be about anything that was there before, which then stays. Of several
with one name none counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

from wire.structure import MalformedMessage, structure, unstructure

# More than any node has of anything, so that a reply costs bounded memory and time whatever it holds.
MOST = 4000
_REASON_CHARACTERS = 300
_NAME_CHARACTERS = 200
# JSON allows a thousand, which no reader of ours is made for.
_DEPTH = 16
# No text of XML-RPC has them, and a file may not: JSON would let them through.
_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

T = TypeVar("T")


@dataclass(frozen=True)
class Entries:
    """The entries of a list by their names, but for those that are there more than once.

    `what` is one of them in words. With `nameless` there are some whose name cannot be read.
    """

    what: str
    items: Mapping[str, Mapping[str, Any]]
    twice: frozenset[str]
    nameless: bool

    @classmethod
    def of(
        cls,
        what: str,
        items: object,
        name_of: Callable[[Mapping[str, Any]], str],
        refused: MutableMapping[str, str],
    ) -> Entries:
        """Tell entries apart; `name_of` raises ValueError, and what is wrong comes into `refused`.

        Raises MalformedMessage where it is no list, or too long.
        """
        if not isinstance(items, list | tuple):
            raise MalformedMessage(f"{what}s: a list wanted, {type(items).__name__} given")
        if len(items) > MOST:
            raise MalformedMessage(f"{what}s: {len(items)} are there, at most {MOST} can be")
        found: dict[str, Mapping[str, Any]] = {}
        twice: set[str] = set()
        nameless = False
        for number, item in enumerate(items, 1):
            try:
                if not isinstance(item, Mapping):
                    raise ValueError(f"a struct wanted, {type(item).__name__} given")
                name = name_of(item)
            except ValueError as error:
                refused[f"{what} number {number}"] = str(error)[:_REASON_CHARACTERS]
                nameless = True
                continue
            if name in found:
                twice.add(name)
            found[name] = item
        for name in twice:
            refused[labelled(what, name)] = "is there more than once"
            del found[name]
        return cls(what, found, frozenset(twice), nameless)

    def may_mean(self, name: str) -> bool:
        """Say whether something of that name may be meant by an entry that is not in `items`."""
        return name in self.twice or (self.nameless and name not in self.items)

    def counting(
        self,
        kind: type[T],
        before: Mapping[str, T],
        refused: MutableMapping[str, str],
        check: Callable[[T], object] = lambda _: None,
    ) -> list[Any]:
        """Return what counts as plain data: each sound entry, and for others what was there `before`.

        `check` raises ValueError for an entry that is of its `kind` and still cannot be.
        """
        good, faulty = [], set()
        for name, item in self.items.items():
            try:
                check(structured(item, kind))
                good.append(item)
            except (MalformedMessage, ValueError) as error:
                refused[labelled(self.what, name)] = reason(error)
                faulty.add(name)
        kept = (name for name in sorted(before) if name in faulty or self.may_mean(name))
        return [*good, *(unstructure(before[name]) for name in kept)]


def labelled(what: str, name: str) -> str:
    """Return how an entry is called in events, harmless to whoever shows it."""
    shown = name if name.isprintable() and len(name) <= _NAME_CHARACTERS else ascii(name[:_NAME_CHARACTERS])
    return f"{what} {shown}"


def structured(data: object, kind: type[T]) -> T:
    """Build a `kind` from plain data that anybody may have made. Raises MalformedMessage."""
    place = _unspeakable(data)
    if place is not None:
        raise MalformedMessage(
            f"{kind.__name__}: holds bytes or a character that no text has, or is nested too deep @ ${place}"
        )
    return structure(data, kind)


def reason(error: MalformedMessage | ValueError) -> str:
    """Return what is wrong, without the name of our class, and with the place in words."""
    text = error.detail.partition(": ")[2] if isinstance(error, MalformedMessage) else str(error)
    return re.sub(r" @ \$(?=;|$)", "", text).replace(" @ $.", " in ")[:_REASON_CHARACTERS]


def _unspeakable(data: object, place: str = "", depth: int = 0) -> str | None:
    """Return where something is that cannot be kept: such a text, no JSON, too deep; None if nothing is."""
    if depth > _DEPTH:
        return ""
    match data:
        case str():
            return place if _UNSPEAKABLE.search(data) else None
        case Mapping():
            # The name of a field may be anything, so it is shown only if it is plain.
            inner = ((f".{key}" if str(key).isidentifier() else "", item) for key, item in data.items())
        case list() | tuple():
            inner = ((f"[{number}]", item) for number, item in enumerate(data))
        case None | bool() | int() | float():
            return None
        case _:
            # XML-RPC has strings of bytes.
            return place
    for name, item in inner:
        found = _unspeakable(item, place + name, depth + 1)
        if found is not None:
            return found
    return None
