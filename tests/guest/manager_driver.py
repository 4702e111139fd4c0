"""configmanager's loop on this system, without a server: python3 -m tests.guest.manager_driver FOLDER.

FOLDER/reply.json is what the server says. Of slivers only the limits are made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configmanager import passes
from configmanager.alone import DAEMON, alone
from configmanager.backends.base import Node
from configmanager.backends.resources import Resources
from configmanager.backends.services import Services
from configmanager.clock import Clock
from configmanager.manager import Manager
from configmanager.passes import Outcome
from configmanager.reboots import Reboots
from configmanager.records import Records
from host.events import Events, LineFile
from host.run import Completed, Runner
from wire.messages import RunLevel


class Killed(Runner):
    """Ends this process before the command of that number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._left = number

    def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
        """Run it, or die."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(argv, **options)


class Reply:
    """The server, as a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def fetch(self) -> object:
        """Return what it says now."""
        return json.loads(self._file.read_text())

    def watch(self, generation: int) -> None:
        """A file tells nobody."""

    def report(self, level: RunLevel) -> None:
        """Nobody asks."""


def drive(folder: Path, number: int = 0) -> None:
    """Run until SIGTERM; with a number, be killed before the command of that number or make one pass."""
    # As the program does: who asks for a pass before there can be one gets the first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    events = Events("driver", (LineFile(folder / "events.jsonl"),))
    with alone(DAEMON, folder):
        node = Node(Killed(number), events, lambda *_: None)
        records = Records(folder / "records.sqlite")
        clock = Clock(records.newest_time, folder / "clock.json")
        backends = (Resources(node), Services(node))
        manager = Manager(backends, records, Reply(folder / "reply.json"), events, clock)
        signal.signal(signal.SIGTERM, lambda *_: manager.stop())
        signal.signal(signal.SIGHUP, lambda *_: manager.poll_now())

        def keep(outcome: Outcome) -> None:
            passes.keep(outcome, folder / "pass.json")
            if number:
                manager.stop()

        manager.run(Reboots(folder / "reboots.json"), manager.stop, keep)


if __name__ == "__main__":
    drive(Path(sys.argv[1]))
