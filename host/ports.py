"""The ports through which steps see the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.console import Console
from host.events import Events
from host.options import Options
from host.run import Runner
from host.storage import Storage

# Events, mounts and triggers of this boot; in RAM.
STATE_FOLDER = Path("/run/bootmanager")


@dataclass(frozen=True)
class Host:
    """The machine, as one value that is handed to every step."""

    run: Runner
    storage: Storage
    events: Events
    console: Console
    options: Options
    state_dir: Path = STATE_FOLDER
