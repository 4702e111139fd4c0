"""What a target is, and what several of them need."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wire.session import NodeKey

KEY = NodeKey(b"k" * 32)


@dataclass(frozen=True)
class Target:
    """One function to fuzz, what it begins with, and how long an input may be (bytes)."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    longest: int = 4096


@cache
def scratch() -> Path:
    """Return a folder for the files that a target reads, in memory where that is possible."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return Path(tempfile.mkdtemp(prefix="bm-fuzz-", dir=where))
