"""systemd's units, as backends need them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from host.run import Runner

# Starting may wait for the unit's own time limit, which is the one to end it.
START_SECONDS = 330.0
STOP_SECONDS = 180.0
_PROPERTY = re.compile("^(.*?)=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class UnitState:
    """What systemctl shows of a unit."""

    active: str
    result: str
    kind: str
    remains: bool = False

    @property
    def up(self) -> bool:
        """Whether it runs, or did its work and ended well as a oneshot does."""
        ended_well = self.active == "inactive" and self.result == "success"
        # One with RemainAfterExit= is active then, and inactive when somebody stopped it.
        done = self.kind == "oneshot" and ended_well and not self.remains
        return done or self.active in ("active", "activating", "reloading", "refreshing")

    @property
    def stopped(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.active in ("inactive", "failed", "")


def states(run: Runner, units: Sequence[str]) -> dict[str, UnitState]:
    """Return the state of each unit; one that systemd does not know is inactive."""
    shown = properties(run, units, ("ActiveState", "Result", "Type", "RemainAfterExit"))
    return {
        unit: UnitState(
            values.get("ActiveState", ""),
            values.get("Result", ""),
            values.get("Type", ""),
            values.get("RemainAfterExit") == "yes",
        )
        for unit, values in shown.items()
    }


def properties(run: Runner, units: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what systemctl shows of each unit under these names; nothing of one that it does not know."""
    if not units:
        return {}
    shown = run(["systemctl", "show", f"--property=Id,{','.join(names)}", "--", *units]).stdout
    found = {}
    for block in shown.strip().split("\n\n"):
        values = dict(_PROPERTY.findall(block))
        found[values.pop("Id", "")] = values
    return {unit: found.get(unit, {}) for unit in units}


def state(run: Runner, unit: str) -> UnitState:
    """Return the state of one unit."""
    return states(run, [unit])[unit]


def start(run: Runner, unit: str) -> None:
    """Start and wait until it is up; one that is up stays so. Raises CommandFailed, CommandTimedOut."""
    before = state(run, unit).active
    if before == "active":
        return
    if before == "failed":
        forget_failure(run, unit)
    run(["systemctl", "start", "--", unit], timeout=START_SECONDS)


def stop(run: Runner, unit: str) -> UnitState:
    """Stop and wait until it has ended; also one that does not exist. Returns what it is then.

    Raises CommandTimedOut.
    """
    before = state(run, unit)
    if before.stopped:
        return before
    run(["systemctl", "stop", "--", unit], timeout=STOP_SECONDS, ok=(0, 5))
    return state(run, unit)


def forget_failure(run: Runner, unit: str) -> None:
    """Let systemd forget that it failed, and how often: it refuses a start otherwise."""
    run(["systemctl", "reset-failed", "--", unit], ok=(0, 1, 5))


def last_words(run: Runner, unit: str) -> str:
    """Return the end of what the unit said in this boot, on one line."""
    words = ["journalctl", "--boot", "--unit", unit, "--lines=4", "--output=cat", "--no-pager"]
    return " / ".join(run(words, ok=(0, 1)).stdout.split("\n")).strip(" /")


def sliver_slice(machine: str) -> str:
    """Return the slice unit of a sliver's processes, below slivers.slice (see systemd-escape(1))."""
    escaped = machine.replace("-", "\\x2d")
    return f"slivers-{escaped}.slice"
