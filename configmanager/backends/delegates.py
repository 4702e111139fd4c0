"""Delegates: accounts of the node whose one way leads to its API. docs/node-api.md."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from configmanager.backends.base import Action, Backend, Item, Node, Verb, difference
from configmanager.backends.sliver_accounts import KEYS, Accounts, Kind
from configmanager.slots import FIRST_USER
from wire.errors import ConfigurationError
from wire.slivers import NodeSlivers

KIND = Kind("delegates", "/usr/bin/delegate-shell")
# Of slot 0, above the slices' accounts.
FIRST = FIRST_USER + 0x8000
MOST = 1000


class TooManyDelegates(ConfigurationError):
    """The node has as many delegates as it can number."""

    code = "too-many-delegates"
    title = "The node has no room for another delegate"
    hint = f"Take delegates off the node: it can have {MOST}."


class Delegates(Backend):
    """An account for each delegate."""

    name: ClassVar[str] = "delegates"
    claims: ClassVar[frozenset[str]] = frozenset({"accounts:delegates"})

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._accounts = Accounts(node.run, node.root, KIND)

    def observe(self) -> tuple[Item, ...]:
        items, accounts = [], self._accounts.whole()
        for user, name in delegates_of(self.node.root).items():
            whole = accounts.get(name) == user
            keys = self.node.root / KEYS / KIND.group / name
            items.append(Item(name, _digest(keys.read_text()) if whole else "", whole))
        return tuple(items)

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        return difference({item.name: _digest(_text(item.keys)) for item in desired.delegates}, observed)

    def apply(self, desired: NodeSlivers, action: Action) -> None:
        if action.verb is Verb.REMOVE:
            self.teardown(action.name)
            return
        account = next(item for item in desired.delegates if item.name == action.name)
        known = {name: user for user, name in delegates_of(self.node.root).items()}
        taken = set(known.values())
        free = next((user for user in range(FIRST, FIRST + MOST) if user not in taken), None)
        user = known.get(account.name, free)
        if user is None:
            raise TooManyDelegates(f"{len(known)} are there")
        self._accounts.ensure(account.name, user, _text(account.keys))

    def teardown(self, name: str) -> None:
        for user, known in delegates_of(self.node.root).items():
            if known == name:
                self._accounts.remove(name, user)


def delegates_of(root: Path) -> dict[int, str]:
    """Return the names of the delegates that have an account, by their users."""
    try:
        lines = (root / "etc/passwd").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    fields = [line.split(":") for line in lines]
    users = {int(each[2]): each[0] for each in fields if len(each) > 2 and each[2].isdigit()}
    return {user: name for user, name in users.items() if FIRST <= user < FIRST + MOST}


def _text(keys: tuple[str, ...]) -> str:
    return "".join(f"{key}\n" for key in keys)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
