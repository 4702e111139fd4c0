"""What the menu of debug mode works with, and the questions that its entries have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from host.ports import Host
from host.server import ServerClient
from host.terminal import Terminal

YES = "yes"
STOPPED = "Nothing was done."


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
    answer = terminal.ask(f"{question} ({', '.join(choices)}; Enter for none):").lower()
    if answer and answer not in choices:
        terminal.say(f"{answer[:20]!r} is none of {', '.join(choices)}.")
    return answer if answer in choices else ""


def agreed(terminal: Terminal, what: str) -> bool:
    """Ask before something is changed; says so where nothing is."""
    sure = terminal.ask(f"{what}\nType {YES} and Enter to go on, anything else to stop:").lower() == YES
    if not sure:
        terminal.say(STOPPED)
    return sure
