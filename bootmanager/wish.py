"""What a person wants debug mode to end for: left in RAM by a menu or `bootmanager retry`."""

from __future__ import annotations

from pathlib import Path

from host.files import write_atomic
from host.run import Runner

FILE = "wish"
UNIT = "bootmanager.service"
AUTO = "auto"
# As bm.state has them, beside AUTO.
STATES = ("new", "inst", "rins", "boot", "dbg")


def leave_wish(run: Runner, folder: Path, state: str = AUTO) -> None:
    """Let debug mode end, for a state or, with AUTO, for what the server wants. Raises CommandFailed."""
    write_atomic(folder / FILE, state)
    run(["systemctl", "kill", "--kill-whom=main", "--signal=SIGUSR1", UNIT])


def take_wish(folder: Path) -> str:
    """Return the wish, AUTO where there is none, and forget it."""
    path = folder / FILE
    found = path.read_text() if path.exists() else AUTO
    path.unlink(missing_ok=True)
    return found if found in STATES else AUTO
