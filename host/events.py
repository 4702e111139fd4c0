"""What happens, told once and heard in several places: console, log file, server.

An event is one flat JSON object. `event` names it, `seq` counts from 1 in one program run, `time` is in
Unix seconds by this machine's clock, `uptime` in seconds since the kernel started, `boot` differs with
every boot: a machine whose clock begins at the same moment each time still never tells two equal events.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.files import write_atomic

log = logging.getLogger(__name__)

_ENVELOPE = {"seq", "time", "uptime", "program", "run", "boot"}

Sink = Callable[["Event"], None]


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    seq: int
    time: float
    uptime: float
    program: str
    run: str
    event: str
    data: dict[str, Any] = field(default_factory=dict)
    boot: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return the flat object that goes into the log and over the wire."""
        return {
            "seq": self.seq,
            "time": round(self.time, 3),
            "uptime": round(self.uptime, 3),
            "program": self.program,
            "run": self.run,
            "boot": self.boot,
            "event": self.event,
            **self.data,
        }

    def to_line(self) -> str:
        """Return one line of JSON, newline included."""
        return json.dumps(self.to_plain(), ensure_ascii=True, separators=(",", ":")) + "\n"


class Events:
    """Where events are told; safe to use from several threads."""

    def __init__(self, program: str, sinks: tuple[Sink, ...] = ()) -> None:
        self._program = program
        self._sinks = list(sinks)
        self._lock = threading.Lock()
        self._seq = 0
        self._boot = _boot()
        self.run_id = ""

    def add_sink(self, sink: Sink) -> None:
        """Let `sink` hear all later events."""
        with self._lock:
            self._sinks.append(sink)

    def tell(self, event: str, **data: Any) -> None:
        """Tell an event to every sink, in order. A sink that fails is dropped, and the log says so.

        Raises ValueError for data named like a field that every event has.
        """
        taken = _ENVELOPE & data.keys()
        if taken:
            raise ValueError(f"event {event}: {', '.join(sorted(taken))} is a field of every event")
        with self._lock:
            self._seq += 1
            now = Event(
                self._seq, time.time(), _uptime(), self._program, self.run_id, event, data, self._boot
            )
            for sink in list(self._sinks):
                try:
                    sink(now)
                except OSError as error:
                    self._sinks.remove(sink)
                    log.error("events no longer go to %r: %s", sink, error)


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot() -> str:
    """Return a name for this boot, 8 hex digits, that the kernel made up (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]


class LineFile:
    """A sink that appends JSON lines to a file or a serial device.

    Of a file that has grown over `most_bytes` the older half is dropped; 0 is no bound.
    """

    def __init__(self, path: Path, most_bytes: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened unbuffered: a line is out before the next step starts, whatever happens then.
        self._file = path.open("ab", buffering=0)
        self._path = path
        self._most_bytes = most_bytes

    def __call__(self, event: Event) -> None:
        """Write one line."""
        self._file.write(event.to_line().encode())
        if self._most_bytes and self._file.tell() > self._most_bytes:
            newer = self._path.read_bytes()[-self._most_bytes // 2 :]
            write_atomic(self._path, newer.partition(b"\n")[2])
            self._file.close()
            self._file = self._path.open("ab", buffering=0)

    def __repr__(self) -> str:
        return f"LineFile({self._path})"
