"""Bring up the network as the node's configuration says."""

from __future__ import annotations

from host import network
from host.network import NetworkUp
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import NetworkSettings

WAIT_SECONDS = 60


class Network(Step):
    """An interface has an address and a route towards the server."""

    name = "network"
    title = "Bring up the network"
    effect = Effect.CHANGES
    needs = (NetworkSettings,)
    gives = (NetworkUp,)

    def observe(self, context: Context) -> Observation:
        settings = context.facts[NetworkSettings]
        up = network.current(context.host.run) if network.configured(settings) else None
        if up is None:
            return lacks(Change(Keeps.CREATE, "network", f"by {settings.method} for this boot"))
        return holds(up)

    def run(self, context: Context) -> None:
        settings = context.facts[NetworkSettings]
        context.host.events.tell("wait.started", **{"for": "a network route", "seconds": WAIT_SECONDS})
        network.bring_up(context.host.run, settings, seconds=WAIT_SECONDS)
