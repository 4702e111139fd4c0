"""Bring up the network as the node's configuration says."""

from __future__ import annotations

from dataclasses import asdict

from host import network, network_files, ways
from host.network import NetworkUp
from host.texts import _
from host.ways import Goal
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration
from wire.nodenet import NetworkSettings

# A link may come up 40 s late, and an address takes its time after that.
WAIT_SECONDS = 90


class Network(Step):
    """An interface has an address and a route, towards the server where there are several."""

    name = "network"
    title = "Bring up the network"
    effect = Effect.CHANGES
    needs = (NetworkSettings,)
    gives = (NetworkUp,)

    def __init__(self) -> None:
        # A server that is away leaves no trace that a second look could find.
        self._tried = False

    def observe(self, context: Context) -> Observation:
        settings, run = context.facts[NetworkSettings], context.host.run
        goal = _goal(context)
        up = network.current(run, goal.version) if network_files.configured(settings) else None
        if up is None:
            what = _("by {method} for this boot", method=settings.method)
            return lacks(Change(Keeps.CREATE, _("network"), what))
        if not self._tried and ways.has_choice(run, settings) and not ways.reached_from(goal):
            what = _("another way to {host} than {interface}", host=goal.host, interface=up.interface)
            return lacks(Change(Keeps.CREATE, _("network"), what))
        return holds(up)

    def run(self, context: Context) -> None:
        settings, host = context.facts[NetworkSettings], context.host
        goal = _goal(context)
        what = network.wanted(settings)
        host.events.tell("wait.started", **{"for": what, "seconds": WAIT_SECONDS})
        network.bring_up(host.run, settings)
        up = network.wait(host.run, settings, goal.version, seconds=WAIT_SECONDS)
        if ways.has_choice(host.run, settings):
            ways.lead_out(host.run, host.events, goal, seconds=ways.LATE_SECONDS)
            up = network.current(host.run, goal.version) or up
        self._tried = True
        host.events.tell("network.up", **asdict(up))


def _goal(context: Context) -> Goal:
    facts = context.facts
    return ways.goal_of(facts.get(NodeConfiguration) or facts[EnrolmentConfiguration])
