"""One at a time for what finds, mounts and changes media: debug mode goes on asking while a person works."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "alone.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else, in this or another process, is in such a block; `folder` is in RAM."""
    handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
