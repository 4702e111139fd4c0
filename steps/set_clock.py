"""Set the clock by the server's authenticated time, before anything is judged by its age."""

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
        off = context.facts[ServerClient].now() - time.time()
        if abs(off) <= TOLERATED_SECONDS:
            return holds()
        return lacks(Change(Keeps.CREATE, "clock", f"is off by {off:.0f} s"))

    def run(self, context: Context) -> None:
        time.clock_settime(time.CLOCK_REALTIME, context.facts[ServerClient].now())
