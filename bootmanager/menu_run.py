"""The menu where it is used: at every console at once for as long as debug mode lasts, and by ssh."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

from bootmanager import standing
from bootmanager.menu import Menu
from bootmanager.menu_desk import Desk
from host.ports import Host
from host.server import ServerClient
from host.terminal import Line, Lines, TerminalEnded, open_lines

log = logging.getLogger(__name__)

# A person's long task looks this often whether it shall end; what holds the machine is waited for besides.
LEAVE_SECONDS = 10.0
FAULT_PAUSE_SECONDS = 5.0


class ConsoleMenu:
    """The menu of one stay in debug mode, in a thread: whatever somebody does there, the server is asked."""

    def __init__(self, host: Host, stay: int, password: Callable[[], str]) -> None:
        self._host, self._stay = host, stay
        # The service's own events go to the server already.
        self._menu = Menu(Desk(host, trusted=False, password=password, connect=lambda client: None))
        self._thread = threading.Thread(target=self._work, name=f"menu-{stay}", daemon=True)

    def start(self) -> None:
        """Show it."""
        self._thread.start()

    def leave(self) -> None:
        """Wait until it has seen that the stay is over."""
        self._thread.join(LEAVE_SECONDS)

    def _ended(self) -> str:
        return standing.ended(self._host.state_dir, self._stay)

    def _work(self) -> None:
        with open_lines(self._host.console.devices) as lines:
            while not self._ended():
                try:
                    self._menu.run(Lines(lines, self._ended))
                except TerminalEnded:
                    return
                except Exception:
                    # Debug mode itself, and the way in by ssh, must not end with it.
                    log.exception("a fault in the menu")
                    time.sleep(FAULT_PAUSE_SECONDS)


def by_ssh(host: Host, connect: Callable[[ServerClient], None]) -> None:
    """Have the conversation on this process's terminal, until it is over."""
    now = standing.load(host.state_dir)
    desk = Desk(host, trusted=True, password=lambda: "", connect=connect)
    line = Line("ssh", sys.stdin.fileno(), sys.stdout.fileno())
    stay = now.stay if now is not None else 0
    try:
        Menu(desk).run(Lines([line], lambda: standing.ended(host.state_dir, stay)))
    except TerminalEnded as ended:
        log.info("the menu ended: %s", ended)
