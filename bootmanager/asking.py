"""What a person is told who has to wait until debug mode has asked the server."""

from __future__ import annotations

from pathlib import Path

from bootmanager.engine import RETRY_SECONDS
from host.alone import is_taken
from host.http_lines import USUAL
from host.terminal import Terminal
from host.texts import _
from host.ways import LATE_SECONDS
from steps.detect_hardware import MEDIA_SECONDS
from steps.network import WAIT_SECONDS

# For media, for a link and an address, for another way out, and for a server, with the last try's own time.
SECONDS = MEDIA_SECONDS + WAIT_SECONDS + LATE_SECONDS + RETRY_SECONDS + USUAL.connect + USUAL.silence
WAITING = _(
    "Waiting until the node has asked its server, at most {seconds:.0f} s,\nor until somebody else is done.",
    seconds=SECONDS,
)


def say_if_waiting(terminal: Terminal, folder: Path) -> None:
    """Say so where what was chosen begins only after that."""
    if is_taken(folder):
        terminal.say(WAITING)
