"""Tell the server that the installation is finished; the only intent a node changes, to boot."""

from __future__ import annotations

from host.mark import Mark
from host.server import ServerClient
from host.target import HOST_KEY, read_installed
from host.texts import _
from hwdetect.inventory import Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.messages import NodeDetails, TargetState
from wire.structure import structure, unstructure


class Report(Step):
    """The server's intent for this node is boot.

    Where the server is away it is told by the next boot that reaches it: the same run, with nothing to do.
    """

    name = "report"
    title = "Report the installation"
    effect = Effect.CHANGES
    needs = (Mark, Inventory)

    def observe(self, context: Context) -> Observation:
        if ServerClient not in context.facts:
            return holds()
        details = structure(context.facts[ServerClient].call("BootGetNodeDetails"), NodeDetails)
        if details.boot_state is TargetState.BOOT:
            return holds(details)
        what = _("intent {state} becomes boot", state=details.boot_state)
        return lacks(Change(Keeps.CREATE, _("server"), what))

    def run(self, context: Context) -> None:
        context.facts[ServerClient].call(
            "BootUpdateNode",
            {
                "boot_state": str(TargetState.BOOT),
                "run_id": context.facts[Mark].run_id,
                "ssh_host_key": read_installed(context.host.run, HOST_KEY) or "",
                "inventory": unstructure(context.facts[Inventory]),
            },
        )
