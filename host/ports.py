"""The ports through which steps see the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from host.events import Events
from host.run import Runner
from host.storage import Storage


@dataclass(frozen=True)
class Options:
    """Options of a run of bootmanager; the same names in the file, as kernel arguments (bm.*) and on the command line.

    `root`, where the installed system is mounted while steps work on it, and `state_dir`, where events,
    sockets and mounts of this boot live, are folders in RAM.
    """

    state: str = "auto"
    events: str = ""
    chain: str = "kexec"
    server: str = ""
    state_dir: Path = Path("/run/bootmanager")


@dataclass(frozen=True)
class Host:
    """The machine, as one value that is handed to every step."""

    run: Runner
    storage: Storage
    events: Events
    options: Options = field(default=Options())
