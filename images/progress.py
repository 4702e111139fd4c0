"""How far the work on an image is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

# (fraction 0..1, or None where it cannot be known; what is being done)
Progress = Callable[[float | None, str], None]


def silent(_fraction: float | None, _text: str) -> None:
    """Report progress to nobody."""
