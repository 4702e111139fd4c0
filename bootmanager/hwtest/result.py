"""What a hardware test found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from host.texts import _, joined

# Takes a line on how far a test is; what it raises ends the test.
Progress = Callable[[str], None]


class Outcome(StrEnum):
    """How a test ended."""

    PASSED = _("passed")
    FAILED = _("failed")
    NOT_POSSIBLE = _("not possible")


@dataclass(frozen=True)
class Result:
    """One test of one thing: `limit` is what it had to keep to, `figures` what was measured."""

    test: str
    target: str
    outcome: Outcome
    detail: str
    limit: str = ""
    figures: dict[str, float] = field(default_factory=dict)


def judged(
    test: str, target: str, fault: str, detail: str, limit: str, figures: dict[str, float] | None = None
) -> Result:
    """Return a result that is failed where there is a fault."""
    outcome = Outcome.FAILED if fault else Outcome.PASSED
    said = joined("; ", [text for text in (fault, detail) if text])
    return Result(test, target, outcome, said, limit, figures or {})


def not_possible(test: str, target: str, why: str) -> Result:
    """Return the result of a test that could not be made."""
    return Result(test, target, Outcome.NOT_POSSIBLE, why)
