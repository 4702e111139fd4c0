"""The plan as text and as data: what would be kept, created, destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootmanager.engine import Engine, Preview
from bootmanager.machine import State
from bootmanager.plan import steps_for
from host.ports import Host
from steps.base import Effect, Keeps

# Of the others there is nothing to say.
PLANNED = (State.NEW, State.INST, State.RINS, State.BOOT, State.IMAGE)
_WORDS = {Keeps.KEEP: "will keep   ", Keeps.CREATE: "will create ", Keeps.DESTROY: "will DESTROY"}


def previews_of(host: Host, state: str) -> tuple[Preview, ...]:
    """Say what a state would do on this machine; looks at it, and changes nothing."""
    before = steps_for(State.AUTO)
    known = tuple(kind for step in before for kind in step.gives)
    return Engine(host).preview((*before, *steps_for(State(state), known)))


def plan_text(previews: Sequence[Preview]) -> str:
    """Return the plan line by line, for people."""
    lines = []
    for preview in previews:
        lines.append(f"{preview.step}: {preview.title} -- {_state(preview)}")
        if preview.error is not None:
            lines.append(f"    {preview.error.advice}")
        lines += [f"    {_WORDS[change.keeps]} {change.target}: {change.text}" for change in preview.changes]
    return "\n".join(lines)


def plan_data(previews: Sequence[Preview]) -> list[dict[str, Any]]:
    """Return the plan as plain data, for programs."""
    return [
        {
            "step": preview.step,
            "effect": str(preview.effect),
            "holds": preview.holds,
            "blocked": preview.blocked,
            "code": preview.error.code if preview.error is not None else "",
            "hint": preview.error.advice if preview.error is not None else "",
            "changes": [
                {"keeps": str(change.keeps), "target": change.target, "text": change.text}
                for change in preview.changes
            ],
        }
        for preview in previews
    ]


def _state(preview: Preview) -> str:
    if preview.blocked:
        return preview.blocked
    if preview.holds:
        return "known" if preview.effect is Effect.READS else "is so already"
    return "to do"
