"""What a node remembers of its installations because a classic server does not: a run, and a generation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Protocol

from wire.messages import TargetState

# What the servers of 2007 and of later years call a node's intent. `upgrade` and `rcnf` keep what is on the
# disk, which no state of ours promises, so they are none of these.
STATES = {
    "new": TargetState.NEW,
    "inst": TargetState.INST,
    # Later boot managers ask the technician always, as ours does for `new`.
    "install": TargetState.NEW,
    "rins": TargetState.RINS,
    "reinstall": TargetState.RINS,
    "boot": TargetState.BOOT,
    "failboot": TargetState.BOOT,
    "dbg": TargetState.DBG,
    "diag": TargetState.DBG,
    "safeboot": TargetState.DBG,
    "disabled": TargetState.DBG,
}
_INSTALLING = (TargetState.NEW, TargetState.INST, TargetState.RINS)


@dataclass(frozen=True)
class ClassicRun:
    """What a node remembers, because its server does not: what it saw, and which installation is under way.

    `generation` grows with every change seen. `is_open`: an installation of this run is wanted still.
    """

    generation: int = 0
    boot_state: str = ""
    seen: str = ""
    run_id: str = ""
    is_open: bool = False

    def after(self, boot_state: str, seen: str) -> ClassicRun:
        """Return what is so after the server said `boot_state`, with all it said (that too) in `seen`.

        A run ends when the server is seen to want something else, never by the node's own report: a server
        that forgets the report would else have the node installed over and over.
        """
        wanted = STATES[boot_state] in _INSTALLING
        same = wanted and self.is_open and boot_state == self.boot_state
        run_id = secrets.token_hex(16) if wanted and not same else self.run_id
        return ClassicRun(self.generation + (seen != self.seen), boot_state, seen, run_id, wanted)


class RunMemory(Protocol):
    """Where a ClassicRun is kept between calls and boots; neither method raises."""

    def load(self) -> ClassicRun:
        """Return what was kept, or an empty one."""

    def save(self, run: ClassicRun) -> None:
        """Keep it as well as possible."""


class ForgetfulMemory:
    """Keeps it for one connection: enough for who installs nothing."""

    def __init__(self) -> None:
        self._run = ClassicRun()

    def load(self) -> ClassicRun:
        """Return what was kept."""
        return self._run

    def save(self, run: ClassicRun) -> None:
        """Keep it."""
        self._run = run
