"""What a benchmark found, and whether that is good enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """A figure (smaller is better) with its goal; `parts` are what it is made of, in seconds or bytes."""

    name: str
    value: float
    goal: float
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Return whether the goal is reached."""
        return self.value <= self.goal

    def to_plain(self) -> dict[str, Any]:
        """Return a row of bench.json."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "goal": self.goal,
            "met": self.met,
            "parts": self.parts,
        }
