"""A shell at the console: only for who knows the site's password, and slowly for who guesses it."""

from __future__ import annotations

from bootmanager.menu_desk import Desk
from host.terminal import Terminal, TerminalEnded
from host.texts import _
from wire.password import is_password

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 60.0
BY_SSH = _("The shell is where the menu was started: `bootmanager menu` brings it back.")
NONE_HERE = _(
    "No shell at the console: this site has no console password, or the node has\n"
    "not heard of it. By ssh with a technician's key there is one. To set a password\n"
    "at the server: bootserver console-password"
)


class ShellGate:
    """Counts the tries of a stay in debug mode, so that a new menu screen is no new beginning."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._failed = 0

    def choose(self, _desk: Desk, terminal: Terminal) -> None:
        """Open a shell, or say why not."""
        if self._desk.trusted:
            terminal.say(BY_SSH)
            raise TerminalEnded(BY_SSH)
        hashed = self._desk.password()
        if not hashed:
            terminal.say(NONE_HERE)
            return
        if not is_password(terminal.ask(_("The site's console password:"), hidden=True), hashed):
            self._refuse(terminal)
            return
        self._failed = 0
        events = self._desk.host.events
        events.tell("shell.opened")
        terminal.say(_("A shell; `exit` leads back to the menu."))
        place = terminal.shell(self._desk.host.run)
        events.tell("shell.closed", console=place)

    def _refuse(self, terminal: Terminal) -> None:
        seconds = min(FIRST_SECONDS * 2**self._failed, LONGEST_SECONDS)
        self._failed += 1
        self._desk.host.events.tell("shell.refused", tries=self._failed)
        terminal.say(
            _("That is not the password. The next try is possible in {seconds:.0f} s.", seconds=seconds)
        )
        terminal.pause(seconds)
