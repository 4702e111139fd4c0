"""The plan as text and as data: what would be kept, created, destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootmanager.engine import Engine, Preview
from bootmanager.machine import State
from bootmanager.plan import steps_for
from host.ports import Host
from host.texts import _, shown
from steps.base import Effect, Keeps

# Of the others there is nothing to say.
PLANNED = (State.NEW, State.INST, State.RINS, State.BOOT, State.IMAGE)
_WORDS = {Keeps.KEEP: _("will keep"), Keeps.CREATE: _("will create"), Keeps.DESTROY: _("will DESTROY")}


def previews_of(host: Host, state: str) -> tuple[Preview, ...]:
    """Say what a state would do on this machine; looks at it, and changes nothing."""
    before = steps_for(State.AUTO)
    known = tuple(kind for step in before for kind in step.gives)
    return Engine(host).preview((*before, *steps_for(State(state), known)))


def plan_text(previews: Sequence[Preview]) -> str:
    """Return the plan line by line, for people."""
    lines, width = [], max(len(shown(word)) for word in _WORDS.values())
    for preview in previews:
        lines.append(f"{preview.step}: {shown(preview.title)} -- {shown(_state(preview))}")
        if preview.error is not None:
            lines.append(f"    {shown(preview.error.advice)}")
        lines += [
            f"    {shown(_WORDS[change.keeps]):<{width}} {shown(change.target)}: {shown(change.text)}"
            for change in preview.changes
        ]
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
        return _("known") if preview.effect is Effect.READS else _("is so already")
    return _("to do")
