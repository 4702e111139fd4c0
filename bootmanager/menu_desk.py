"""What the menu of debug mode works with, and the questions that its entries have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from host.ports import Host
from host.server import ServerClient
from host.terminal import Terminal
from host.texts import _

YES = "yes"
STOPPED = _("Nothing was done.")


@dataclass(frozen=True)
class Desk:
    """What an entry may use. `trusted`: who is here has shown a technician's key.

    `password` returns the hash of the console's password as last known, "" for none. `connect` is told of a
    server that results may go to.
    """

    host: Host
    trusted: bool
    password: Callable[[], str]
    connect: Callable[[ServerClient], None]


def one_of(terminal: Terminal, question: str, choices: Sequence[str]) -> str:
    """Return one of the choices, or "" where a person wants none of them."""
    listed = ", ".join(choices)
    answer = terminal.ask(
        _("{question} ({choices}; Enter for none):", question=question, choices=listed)
    ).lower()
    if answer and answer not in choices:
        terminal.say(_("{answer!r} is none of {choices}.", answer=answer[:20], choices=listed))
    return answer if answer in choices else ""


def agreed(terminal: Terminal, what: str) -> bool:
    """Ask before something is changed; says so where nothing is."""
    question = _("{question}\nType {yes} and Enter to go on, anything else to stop:", question=what, yes=YES)
    sure = terminal.ask(question).lower() == YES
    if not sure:
        terminal.say(STOPPED)
    return sure
