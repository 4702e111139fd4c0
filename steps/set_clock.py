"""Set the clock by the server's authenticated time, before anything is judged by its age.

A classic server tells no time that could be trusted. The clock then stays as it is, and says so: nothing
that such a server names is judged by its age.
"""

from __future__ import annotations

import time

from host.server import ServerClient
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks

TOLERATED_SECONDS = 30


class SetClock(Step):
    """This machine's clock agrees with the server's."""

    name = "set_clock"
    title = "Set the clock"
    effect = Effect.CHANGES
    needs = (ServerClient,)

    def observe(self, context: Context) -> Observation:
        if not context.facts[ServerClient].server_time:
            context.host.events.tell("clock.unknown")
            return holds()
        off = _server_now(context) - time.time()
        if abs(off) <= TOLERATED_SECONDS:
            return holds()
        return lacks(Change(Keeps.CREATE, "clock", f"is off by {off:.0f} s"))

    def run(self, context: Context) -> None:
        time.clock_settime(time.CLOCK_REALTIME, _server_now(context))


def _server_now(context: Context) -> float:
    client = context.facts[ServerClient]
    return client.server_time + (time.monotonic() - client.server_time_at)
