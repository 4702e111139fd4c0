"""Writing to a line that may be held up: a serial one by Ctrl-S, or noise that looks like it."""

from __future__ import annotations

import os
import time

# A line that takes nothing for so long is held up, or unplugged.
STUCK_SECONDS = 5.0
_PIECE_BYTES = 256
_PAUSE_SECONDS = 0.01


def write_all(handle: int, raw: bytes, *, patient: bool) -> bool:
    """Write it and return True, or False once the line takes nothing any more; what it took stays written.

    `handle` is one that does not block. A line that goes on taking something, however slowly, gets all of it.
    Who is not `patient` waits only once the line has taken something. Raises OSError.
    """
    until = time.monotonic() + (STUCK_SECONDS if patient else 0)
    while raw:
        try:
            taken = os.write(handle, raw[:_PIECE_BYTES])
        except BlockingIOError:
            taken = 0
        if taken:
            raw = raw[taken:]
            until = time.monotonic() + STUCK_SECONDS
        elif time.monotonic() >= until:
            return False
        else:
            time.sleep(_PAUSE_SECONDS)
    return True
