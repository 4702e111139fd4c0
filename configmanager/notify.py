"""What a service tells the systemd that started it (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def tell_systemd(text: str) -> None:
    """Send one state, such as READY=1; to nobody where systemd did not start this program."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.sendto(text.encode(), place.replace("@", "\0", 1) if place.startswith("@") else place)


def still_working() -> None:
    """Put off the restart that follows where a program hangs (WatchdogSec= of its unit)."""
    tell_systemd("WATCHDOG=1")
