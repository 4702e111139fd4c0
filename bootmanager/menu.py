"""The menu of debug mode: plain numbered questions, the same at the consoles and by ssh.

It shows, asks and starts; what it starts stands elsewhere, and passes the same proofs as without a menu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootmanager import menu_changes, menu_shows, standing
from bootmanager.menu_desk import Desk
from bootmanager.menu_shell import ShellGate
from host.terminal import Terminal
from host.texts import _, error_text, shown
from wire.errors import BootError

PROMPT = _("Type a number and Enter; Enter alone shows the screen again:")
_COLUMN = 38


@dataclass(frozen=True)
class Entry:
    """A line of the menu and what it does."""

    title: str
    choose: Callable[[Desk, Terminal], None]


class Menu:
    """A conversation with whoever is at the terminal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._entries = (
            Entry(_("show the hardware (inventory)"), menu_shows.inventory),
            Entry(_("show the plan for a state"), menu_shows.plan),
            Entry(_("show the log"), menu_shows.log),
            Entry(_("test the hardware"), menu_shows.hardware),
            Entry(_("network settings for this boot"), menu_changes.network),
            Entry(_("try again"), menu_changes.retry),
            Entry(_("go to a state, for this boot"), menu_changes.state),
            Entry(_("erase the cache dongle"), menu_changes.erase),
            Entry(_("open a shell"), ShellGate(desk).choose),
            Entry(_("make a report"), menu_shows.report),
        )

    def run(self, terminal: Terminal) -> None:
        """Go on until it raises TerminalEnded."""
        self._show(terminal)
        while True:
            typed = terminal.ask(PROMPT)
            chosen = {str(number): entry for number, entry in enumerate(self._entries, 1)}.get(typed)
            if chosen is not None:
                try:
                    chosen.choose(self._desk, terminal)
                except (BootError, OSError) as error:
                    terminal.say(f"{shown(error_text(error))}\n{shown(getattr(error, 'advice', ''))}")
            elif typed:
                terminal.say(_("There is no {typed!r} in the menu.", typed=typed[:20]))
            else:
                self._show(terminal)

    def text(self) -> str:
        """Return the rows of the menu, in two columns."""
        rows = [f"{number:>2}  {shown(entry.title)}" for number, entry in enumerate(self._entries, 1)]
        half = (len(rows) + 1) // 2
        pairs = zip(rows[:half], [*rows[half:], ""], strict=False)
        width = max(_COLUMN, *(len(row) + 1 for row in rows[:half]))
        return "\n".join(f"{left:<{width}}{right}".rstrip() for left, right in pairs)

    def _show(self, terminal: Terminal) -> None:
        now = standing.load(self._desk.host.state_dir)
        top = standing.screen(now) if now is not None else shown(standing.NOT_HERE)
        terminal.say(f"{top}\n{self.text()}")
