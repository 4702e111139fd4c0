"""Slots: each sliver's number on this node, from which what must differ between slivers is derived.

A number belongs to a name from before anything of the sliver is made until nothing of it is left, over
reboots too; so an interface, an address, a mark or a range of users can always be traced to its sliver.
Several backends make things by it: each says that it holds the number before it does, and lets go of it when
all that it made is gone. The number is free when nobody holds it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from configmanager.kept import ReadFiles
from host.files import write_atomic
from wire.errors import ConfigurationError, JournalError
from wire.slivers import check_name

FILE = Path("var/lib/configmanager/slots.json")
# Four addresses each, of those that carriers use inside (RFC 6598): nodes seldom have one.
NETWORK = IPv4Network("100.64.0.0/16")
MOST = 4000
# Users of slivers: 65,536 each, above what systemd gives to containers by itself (see systemd's UIDS-GIDS).
FIRST_USER = 0x7000_0000


# The manager's passes and the node's API share this file.
_turn = threading.Lock()


class NoSlotLeft(ConfigurationError):
    """The node has as many slivers as it can number."""

    code = "no-slot-left"
    title = "The node has no room for another sliver"
    hint = f"Take slices off the node: it can hold {MOST}."


class SlotsDamaged(JournalError):
    """The file that says whose number is whose cannot be read."""

    code = "slots-damaged"
    title = "The list of the slivers' numbers is damaged"
    hint = "Nothing was touched. Put the file back from a copy, or remove all slivers and then the file."


@dataclass(frozen=True)
class Slot:
    """One sliver's number, 1 to MOST."""

    number: int

    @property
    def interface(self) -> str:
        """The node's end of the sliver's link."""
        return f"sliver{self.number}"

    @property
    def network(self) -> IPv4Network:
        """The network between node and sliver, with four addresses."""
        return IPv4Network((int(NETWORK.network_address) + 4 * self.number, 30))

    @property
    def gateway(self) -> IPv4Address:
        """The node's address there."""
        return self.network[1]

    @property
    def address(self) -> IPv4Address:
        """The sliver's address there."""
        return self.network[2]

    @property
    def first_user(self) -> int:
        """What root in the sliver is on the node; 65,536 users follow."""
        return FIRST_USER + self.number * 0x1_0000

    @property
    def account(self) -> int:
        """The user that its slice is on the node, one of slot 0, which no sliver has."""
        return FIRST_USER + self.number


@dataclass(frozen=True)
class _Held:
    slot: Slot
    by: frozenset[str]


class Slots:
    """Who has which number. `root` is "/" but in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / FILE
        self._files = ReadFiles(_parsed)

    def all(self) -> dict[str, Slot]:
        """Return the slots by the slivers' names. Raises SlotsDamaged."""
        return {name: held.slot for name, held in self._read().items()}

    def held(self, holder: str) -> dict[str, Slot]:
        """Return those that a backend holds. Raises SlotsDamaged."""
        return {name: held.slot for name, held in self._read().items() if holder in held.by}

    def take(self, name: str, holder: str) -> Slot:
        """Return the sliver's slot, else give it the lowest free one. Raises NoSlotLeft, SlotsDamaged."""
        return self.take_all([name], holder)[name]

    def take_all(self, names: Collection[str], holder: str) -> dict[str, Slot]:
        """Do so for several slivers."""
        with _turn:
            before = self._read()
            known, number = dict(before), 0
            taken = {held.slot.number for held in known.values()}
            for name in names:
                if name not in known:
                    number = next((each for each in range(number + 1, MOST + 1) if each not in taken), 0)
                    if not number:
                        raise NoSlotLeft(f"{len(known)} slivers are there")
                    known[check_name(name)] = _Held(Slot(number), frozenset())
                known[name] = replace(known[name], by=known[name].by | {holder})
            if known != before:
                self._write(known)
        return {name: known[name].slot for name in names}

    def release(self, name: str, holder: str) -> None:
        """Let go of a number when nothing is left of what was made by it; again changes nothing."""
        self._let_go(holder, lambda each: each == name)

    def release_others(self, names: Collection[str], holder: str) -> None:
        """Let go of all that this backend holds but for these."""
        self._let_go(holder, lambda each: each not in names)

    def _let_go(self, holder: str, gone: Callable[[str], bool]) -> None:
        with _turn:
            before = self._read()
            known = {
                name: replace(held, by=held.by - {holder}) if gone(name) else held
                for name, held in before.items()
            }
            if known != before:
                self._write({name: held for name, held in known.items() if held.by})

    def _read(self) -> dict[str, _Held]:
        try:
            return self._files.get(self._file)
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
            raise SlotsDamaged(f"{self._file}: {error}") from None

    def _write(self, known: dict[str, _Held]) -> None:
        plain = {
            name: {"number": held.slot.number, "held_by": sorted(held.by)} for name, held in known.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, json.dumps(plain) + "\n")
        self._files.forget(self._file)


def _parsed(text: str) -> dict[str, _Held]:
    known = {
        check_name(name): _Held(Slot(int(held["number"])), frozenset(map(str, held["held_by"])))
        for name, held in json.loads(text).items()
    }
    numbers = [held.slot.number for held in known.values()]
    if len(set(numbers)) < len(numbers) or not all(0 < each <= MOST for each in numbers):
        raise ValueError("a number is there twice, or is none")
    return known
