"""The plan as text and as data: what would be kept, created, destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootmanager.engine import Preview
from steps.base import Effect, Keeps

_WORDS = {Keeps.KEEP: "will keep   ", Keeps.CREATE: "will create ", Keeps.DESTROY: "will DESTROY"}


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
