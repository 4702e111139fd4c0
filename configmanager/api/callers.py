"""Who calls: known by the kernel's word on the other end of a socket, never by what is said over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from configmanager.slots import Slot

_USERS = 0x1_0000


class Who(StrEnum):
    """Kinds of callers, as the permission table names them."""

    ANYONE = "anyone"
    SLICE = "slice"
    DELEGATE = "delegate"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Caller:
    """One caller; `name` is that of the slice or delegate."""

    who: Who
    name: str = ""

    def __str__(self) -> str:
        return f"{self.who} {self.name}".strip()


ANYONE = Caller(Who.ANYONE)
OPERATOR = Caller(Who.OPERATOR)


def caller_of(user: int, slots: Mapping[str, Slot], delegates: Mapping[int, str]) -> Caller:
    """Return who a user of the node is: root, a user of a sliver, a slice's account, a delegate, or nobody.

    Every user of a sliver speaks for its slice: who is root there can be any of them.
    """
    if user == 0:
        return OPERATOR
    if user in delegates:
        return Caller(Who.DELEGATE, delegates[user])
    for name, slot in slots.items():
        if user == slot.account or slot.first_user <= user < slot.first_user + _USERS:
            return Caller(Who.SLICE, name)
    return ANYONE
