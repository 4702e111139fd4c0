"""Check in at the server: learn what is wanted of us."""

from __future__ import annotations

from host.journal import Journal
from host.refusals import Refusals
from host.server import AuthenticationRefused, ServerClient
from steps.base import Context, Effect, Observation, Step, holds
from wire.messages import NodeDetails
from wire.structure import structure


class CheckIn(Step):
    """This node has the configuration that the server keeps for it."""

    name = "check_in"
    title = "Check in at the server"
    effect = Effect.READS
    needs = (ServerClient, Journal)
    gives = (NodeDetails,)

    def observe(self, context: Context) -> Observation:
        refusals = Refusals(context.facts[Journal])
        try:
            details = structure(context.facts[ServerClient].call("BootGetNodeDetails"), NodeDetails)
        except AuthenticationRefused:
            refusals.refused()
            raise
        refusals.cleared()
        return holds(details)
