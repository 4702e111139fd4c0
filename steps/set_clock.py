"""Learn the server's time and set the clock by it, before anything is judged by its age.

Opening a session needs no clock: who answers is proven by the node's key. Only this is done while the
dates of the server's certificate are not judged yet; everything after it is.

A classic server tells no time that could be trusted. The clock then stays as it is, and says so: nothing
that such a server names is judged by its age.
"""

from __future__ import annotations

import time

from host.classic_client import client_for
from host.journal import Journal
from host.network import NetworkUp
from host.refusals import Refusals
from host.server import AuthenticationRefused, ServerClient
from host.texts import _
from images.cache import Cache
from images.documents import Documents
from images.run_memory import RunRecord
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import NodeConfiguration

TOLERATED_SECONDS = 30


class SetClock(Step):
    """The server has proven itself, and this machine's clock agrees with its own."""

    name = "set_clock"
    title = "Set the clock by the server's"
    effect = Effect.CHANGES
    needs = (NodeConfiguration, NetworkUp, Journal, Cache)
    gives = (ServerClient,)

    def observe(self, context: Context) -> Observation:
        client = _opened(context)
        if not client.server_time:
            context.host.events.tell("clock.unknown")
            return holds(client)
        off = client.server_now() - time.time()
        if abs(off) <= TOLERATED_SECONDS:
            return holds(client)
        return lacks(Change(Keeps.CREATE, _("clock"), _("is off by {seconds:.0f} s", seconds=off)))

    def run(self, context: Context) -> None:
        time.clock_settime(time.CLOCK_REALTIME, _opened(context).server_now())


def _opened(context: Context) -> ServerClient:
    configuration = context.facts[NodeConfiguration]
    memory = RunRecord(Documents(context.facts[Cache], configuration.key), context.host.state_dir)
    client = client_for(configuration, context.facts[NetworkUp].address, memory)
    refusals = Refusals(context.facts[Journal])
    refusals.gate()
    try:
        client.open()
    except AuthenticationRefused:
        refusals.refused()
        raise
    return client
