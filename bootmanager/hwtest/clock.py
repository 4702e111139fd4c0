"""The clocks: the system's against the server's proven time, the battery's for its pace and its date."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootmanager.hwtest.result import Result, judged, not_possible
from host.server import ServerClient
from host.texts import _, error_text
from wire.errors import BootError

TEST = "clock"
SYSTEM, BATTERY = _("system clock"), _("battery clock")
RTC = Path("/sys/class/rtc/rtc0/since_epoch")
# What set_clock tolerates.
OFF_SECONDS = 30.0
# A battery clock may be in local time; one that is off by more has lost its date.
BATTERY_OFF_SECONDS = 26 * 3600.0
# Of its pace, and what reading it by looking for the change of its second costs.
PACE, READING_SECONDS = 0.001, 0.15
LEAST_SECONDS = 10.0
_LOOK_SECONDS = 0.01
_TICK_SECONDS = 3.0


@dataclass(frozen=True)
class Tick:
    """The moment at which the battery clock came to a second, by the processor's clock."""

    second: int
    at: float


def tick(rtc: Path = RTC) -> Tick | None:
    """Wait for the battery clock's next second; None where there is no such clock, or it stands still."""
    until = time.monotonic() + _TICK_SECONDS
    first = _second(rtc)
    while first is not None and time.monotonic() < until:
        now = _second(rtc)
        if now is not None and now != first:
            return Tick(now, time.monotonic())
        time.sleep(_LOOK_SECONDS)
    return None


def check_battery(first: Tick | None, last: Tick | None, now: Callable[[], float] = time.time) -> Result:
    """Judge the battery clock by two of its ticks and by the system's clock, which the server has set."""
    if first is None or last is None:
        return not_possible(TEST, BATTERY, _("there is none, or it stands still"))
    took = last.at - first.at
    drift = (last.second - first.second) - took
    off = last.second - (now() - (time.monotonic() - last.at))
    pace = _("{drift:+.2f} s in {seconds:.0f} s", drift=drift, seconds=took)
    fault = ""
    if abs(drift) > took * PACE + READING_SECONDS:
        fault = pace
    elif abs(off) > BATTERY_OFF_SECONDS:
        days = off / 86400
        fault = _("off by {days:.0f} days: its battery is flat, or it was never set", days=days)
    detail = _("{pace}, off by {seconds:.0f} s", pace=pace, seconds=off)
    limit = _("{pace:.1%}, date right", pace=PACE)
    return judged(TEST, BATTERY, fault, detail, limit, {"drift_s": round(drift, 3)})


def check_system(client: ServerClient | None, why: str, now: Callable[[], float] = time.time) -> Result:
    """Compare the system's clock with the server's; `why` says why there is no server."""
    if client is None:
        return not_possible(TEST, SYSTEM, why)
    try:
        client.open()
    except BootError as error:
        return not_possible(TEST, SYSTEM, error_text(error))
    if not client.server_time:
        return not_possible(TEST, SYSTEM, _("this server tells no time that could be trusted"))
    off = now() - client.server_now()
    fault = _("wrong") if abs(off) > OFF_SECONDS else ""
    detail, limit = _("off by {seconds:.1f} s", seconds=off), f"{OFF_SECONDS:.0f} s"
    return judged(TEST, SYSTEM, fault, detail, limit, {"off_s": round(off, 1)})


def _second(rtc: Path) -> int | None:
    try:
        return int(rtc.read_text())
    except (OSError, ValueError):
        return None
