"""Check in at the server: prove who we are and learn what is wanted of us."""

from __future__ import annotations

from host.classic_client import client_for
from host.http import HttpClient
from host.journal import Journal
from host.network import NetworkUp
from host.refusals import Refusals
from host.server import AuthenticationRefused, ServerClient
from images.cache import Cache
from images.documents import Documents
from images.run_memory import RunRecord
from steps.base import Context, Effect, Observation, Step, holds
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration
from wire.structure import structure


class CheckIn(Step):
    """The server knows this node, and this node its configuration."""

    name = "check_in"
    title = "Check in at the server"
    effect = Effect.READS
    needs = (NodeConfiguration, NetworkUp, Journal, Cache)
    gives = (ServerClient, NodeDetails)

    def observe(self, context: Context) -> Observation:
        configuration = context.facts[NodeConfiguration]
        http = HttpClient(configuration.server, proxy=configuration.proxy)
        address = context.facts[NetworkUp].address
        memory = RunRecord(Documents(context.facts[Cache], configuration.key), context.host.state_dir)
        client = client_for(http, configuration, address, memory)
        refusals = Refusals(context.facts[Journal])
        refusals.gate()
        try:
            details = structure(client.call("BootGetNodeDetails"), NodeDetails)
        except AuthenticationRefused:
            refusals.refused()
            raise
        refusals.cleared()
        return holds(client, details)
