"""An installation as it is followed: what the node's events make of it, and how it ended.

It has ended well when the node turned the intent to boot for this run, and the installed system, which says
which run it is of, reports run level boot, and nothing that was told later takes this back. It has failed
when the node stays in debug mode, when the installed system comes up and not all that it shall run does, or
when it is started over and over and tells nothing. What may pass by itself is waited for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bootserver.events import PROGRAM
from wire.errors import BootError, ConfigurationError, TransientError
from wire.messages import RunLevel, TargetState

# Longer than a node in debug mode waits before it tries again by itself, but after a fifth such failure.
SETTLE_SECONDS = 120.0
# Starts of the installed system in a row of which it may tell nothing: one more than usual where a reboot
# into the disk came back to the boot medium, and another one that somebody cut short.
MOST_STARTS = 3
_BOOTMANAGER = "bootmanager"
# This one never tells anything.
_OTHER_SYSTEM = "disk"
_GOES_ON = ("program.started", "state.entered", "step.started")

Row = dict[str, Any]


class NodeFailed(ConfigurationError):
    """The node did not come to the end of its installation."""

    code = "installation-failed"
    title = "The node did not become what was wanted"
    hint = "See `bootserver node events NAME`; once it is mended, set the intent again."


class NodeNeverCameBack(TransientError):
    """Nothing was heard of the node for too long."""

    code = "node-never-came-back"
    title = "The node was not heard of again"
    hint = "Look at its console; is it powered, and does it start the boot medium? Its intent stays."


class WantedOtherwise(ConfigurationError):
    """Somebody asked for another run or state while one was followed."""

    code = "wanted-otherwise"
    title = "Something else is wanted of the node by now"
    hint = "See `bootserver node show NAME`; follow what is wanted now with `bootserver node follow NAME`."


@dataclass
class Following:
    """One run of one node, followed since `since` (Unix seconds) with `timeout` seconds of patience."""

    run_id: str
    since: float
    timeout: float
    last: Row = field(default_factory=dict)
    failure: Row = field(default_factory=dict)
    _error: Row = field(default_factory=dict)
    _failed_at: float = 0.0
    _heard: float = 0.0
    _starts: int = 0
    _is_up: bool = False

    def hear(self, row: Row) -> None:
        """Take one event of the node's timeline, in order."""
        name, program = row.get("event"), row.get("program")
        own = row.get("run") == self.run_id
        if program == PROGRAM or (program != _BOOTMANAGER and not own):
            # What the installed node tells until it goes down is no sign that it comes back.
            return
        self.last, self._heard = row, float(row["received"])
        if program != _BOOTMANAGER:
            self._starts = 0
        elif own and name == "chain.started" and row.get("how") != _OTHER_SYSTEM:
            self._starts += 1
        level = row.get("run_level") if name == "runlevel" else None
        if name == "error":
            self._error = row
        elif program == _BOOTMANAGER and name in _GOES_ON:
            self._is_up, self.failure = False, {}
        elif name == "debug.entered" or (program != _BOOTMANAGER and level == RunLevel.FAILBOOT):
            self._is_up = False
            told = self._error.get("program") == program
            self.failure, self._failed_at = self._error if told else row, float(row["received"])
        elif program != _BOOTMANAGER and own and level == RunLevel.BOOT:
            self._is_up, self.failure = True, {}

    def is_done(self, run_id: str, boot_state: str, now: float) -> bool:
        """Say whether the node is up, given what is wanted of it now.

        Raises NodeFailed, NodeNeverCameBack, WantedOtherwise.
        """
        if run_id != self.run_id or boot_state == TargetState.DBG:
            raise WantedOtherwise(f"{boot_state}, run {run_id}")
        if self._is_up and boot_state == TargetState.BOOT:
            return True
        if self.failure and (not self._may_pass() or now - self._failed_at > SETTLE_SECONDS):
            code, title, detail, hint = (
                str(self.failure.get(key, "")) for key in ("code", "title", "detail", "hint")
            )
            raise NodeFailed(f"{code or 'debug mode'}: {title}: {detail}", hint=hint or None)
        if self._starts > MOST_STARTS:
            never = f"started {self._starts} times and never came up; {self._last_word(now)}"
            raise NodeFailed(never, hint="Look at its console while what is on its disk starts.")
        silent = now - max(self.since, self._heard)
        if silent > self.timeout:
            raise NodeNeverCameBack(f"{self.timeout:.0f} s without a word; {self._last_word(now)}")
        return False

    def _may_pass(self) -> bool:
        if self.failure.get("program") != _BOOTMANAGER:
            return True
        kind = BootError.registry.get(str(self.failure.get("code")))
        return kind is not None and issubclass(kind, TransientError)

    def _last_word(self, now: float) -> str:
        if not self.last:
            return "of this run it has told nothing"
        ago = now - float(self.last["received"])
        step = f" of {self.last['step']}" if "step" in self.last else ""
        return f"the last was {self.last.get('event')}{step}, {ago:.0f} s ago"
