"""The plan: from state to the names of its steps. This table is the whole sequence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from bootmanager.machine import State
from steps.base import Step
from wire.errors import ConfigurationError

GROUP = "bootmanager.steps"

_INSTALLATION = (
    "partition",
    "format",
    "unpack",
    "configure",
    "bootloader",
    "mark",
    "report",
)

PLANS: dict[State, tuple[str, ...]] = {
    State.AUTO: (
        "detect_hardware",
        "read_configuration",
        "verify_medium",
        "open_cache",
        "open_journal",
        "network",
        "enrol",
        "set_clock",
        "check_in",
    ),
    State.NEW: ("check_hardware", "choose_disks", "confirm_new"),
    State.INST: (
        "verify_images",
        "neighbours",
        "check_hardware",
        "choose_disks",
        "confirm_used",
        *_INSTALLATION,
    ),
    State.RINS: ("verify_images", "neighbours", "check_hardware", "choose_disks", *_INSTALLATION),
    State.BOOT: ("validate", "repair", "refresh_images", "load_kernel"),
    State.IMAGE: ("verify_images", "check_hardware", "write_ordered_image"),
    State.OTHER: ("start_disk",),
    State.DBG: (),
    State.CHAINED: (),
}
# What follows AUTO's when the server has answered, and hears what is done.
MEDIUM_STEPS = ("update_medium",)


class UnknownStep(ConfigurationError):
    """The plan names a step that no installed package offers."""

    code = "unknown-step"
    title = "A step of the plan is not installed"
    hint = "The boot medium is incomplete; make it again."


def steps_for(state: State, known: tuple[type, ...] = ()) -> tuple[Step, ...]:
    """Return the steps of a state. What `known` means, and what it raises, is that of steps_named()."""
    return steps_named(PLANS[state], known)


def steps_named(names: Sequence[str], known: tuple[type, ...] = ()) -> tuple[Step, ...]:
    """Return steps, checked so that every fact one needs is given before it.

    `known` are the classes of facts that there are already. Raises UnknownStep; a plan whose facts do
    not add up is a fault of this program and raises ValueError.
    """
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    have, found = set(known), []
    for name in names:
        if name not in offered:
            raise UnknownStep(f"{name}, wanted by a plan")
        step = offered[name].load()()
        missing = [kind.__name__ for kind in step.needs if kind not in have]
        if missing:
            raise ValueError(f"step {name} needs {', '.join(missing)}, which no earlier step gives")
        have.update(step.gives)
        found.append(step)
    return tuple(found)
