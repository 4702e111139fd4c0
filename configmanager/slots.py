"""Slots: each sliver's number on this node, from which what must differ between slivers is derived.

A number belongs to a name from before anything of the sliver is made until nothing of it is left, over
reboots too; so an interface, an address, a mark or a range of users can always be traced to its sliver.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from host.files import write_atomic
from wire.errors import ConfigurationError, JournalError
from wire.slivers import check_name

FILE = Path("var/lib/configmanager/slots.json")
# Four addresses each, of those that carriers use inside (RFC 6598): nodes seldom have one.
NETWORK = IPv4Network("100.64.0.0/16")
MOST = 4000
# Users of slivers: 65,536 each, above what systemd gives to containers by itself (see systemd's UIDS-GIDS).
FIRST_USER = 0x7000_0000


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


class Slots:
    """Who has which number. `root` is "/" but in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = root / FILE

    def all(self) -> dict[str, Slot]:
        """Return the slots by the slivers' names. Raises SlotsDamaged."""
        try:
            known = json.loads(self._file.read_text())
            numbers = {check_name(name): int(number) for name, number in known.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise SlotsDamaged(f"{self._file}: {error}") from None
        if len(set(numbers.values())) < len(numbers) or not all(
            0 < each <= MOST for each in numbers.values()
        ):
            raise SlotsDamaged(f"{self._file}: a number is there twice, or is none")
        return {name: Slot(number) for name, number in numbers.items()}

    def take(self, name: str) -> Slot:
        """Return the sliver's slot, else give it the lowest free one. Raises NoSlotLeft, SlotsDamaged."""
        known = self.all()
        if name not in known:
            taken = {slot.number for slot in known.values()}
            free = next((number for number in range(1, MOST + 1) if number not in taken), None)
            if free is None:
                raise NoSlotLeft(f"{len(known)} slivers are there")
            known[check_name(name)] = Slot(free)
            self._write(known)
        return known[name]

    def release(self, name: str) -> None:
        """Give a number back when nothing of its sliver is left; doing so again changes nothing."""
        known = self.all()
        if known.pop(name, None) is not None:
            self._write(known)

    def _write(self, slots: dict[str, Slot]) -> None:
        numbers = {name: slot.number for name, slot in slots.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, json.dumps(numbers, indent=1) + "\n")
