"""Whether the server is about to end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ending:
    """Whether the server is about to end, and requests that wait for news should not."""

    near: bool = False
