"""The machine: which state may follow which, and why. One table; nothing runs inside transitions."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from transitions import Machine


class State(StrEnum):
    """Where bootmanager is. AUTO asks what is wanted; CHAINED hands the machine over.

    AUTO hands it over to a newer boot medium. IMAGE writes another system onto the disk, OTHER starts it.
    """

    AUTO = "auto"
    NEW = "new"
    INST = "inst"
    RINS = "rins"
    BOOT = "boot"
    IMAGE = "image"
    OTHER = "other"
    DBG = "dbg"
    CHAINED = "chained"


# event, source, destination
TRANSITIONS: tuple[tuple[str, State, State], ...] = (
    ("want_new", State.AUTO, State.NEW),
    ("want_inst", State.AUTO, State.INST),
    ("want_rins", State.AUTO, State.RINS),
    ("want_boot", State.AUTO, State.BOOT),
    ("want_image", State.AUTO, State.IMAGE),
    ("want_other", State.AUTO, State.OTHER),
    ("want_dbg", State.AUTO, State.DBG),
    ("server_away", State.AUTO, State.BOOT),
    ("confirmed", State.NEW, State.INST),
    ("installed", State.INST, State.BOOT),
    ("installed", State.RINS, State.BOOT),
    ("written", State.IMAGE, State.OTHER),
    ("chain", State.AUTO, State.CHAINED),
    ("chain", State.BOOT, State.CHAINED),
    ("chain", State.OTHER, State.CHAINED),
    ("fail", State.AUTO, State.DBG),
    ("fail", State.NEW, State.DBG),
    ("fail", State.INST, State.DBG),
    ("fail", State.RINS, State.DBG),
    ("fail", State.BOOT, State.DBG),
    ("fail", State.IMAGE, State.DBG),
    ("fail", State.OTHER, State.DBG),
    # What was to be started did not start.
    ("fail", State.CHAINED, State.DBG),
    ("release", State.DBG, State.AUTO),
)


class NodeMachine:
    """The state of this run; `entered` is told of each change with its reason."""

    state: State

    def __init__(self, entered: Callable[[State, str], None]) -> None:
        self._entered = entered
        self._machine = Machine(
            model=self,
            states=State,
            transitions=[list(row) for row in TRANSITIONS],
            initial=State.AUTO,
            auto_transitions=False,
        )

    def fire(self, event: str, reason: str) -> None:
        """Take a transition. Raises transitions.MachineError where the table has no such row."""
        self._machine.events[event].trigger(self)
        self._entered(self.state, reason)
