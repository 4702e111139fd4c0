"""The mark of a stick that is to become the cache dongle: written by a technician, looked for by bootmanager.

    printf 'bootmanager: make the cache dongle of this stick\\n' | dd of=/dev/sdX bs=4M conv=sync

The line, and zeros up to MARKED_BYTES: so the same write empties what a stick has been known by.
"""

from __future__ import annotations

MARK = b"bootmanager: make the cache dongle of this stick\n"
MARKED_BYTES = 4 * 1024 * 1024


def marked_start() -> bytes:
    """Return what a marked stick begins with."""
    return MARK.ljust(MARKED_BYTES, b"\0")
