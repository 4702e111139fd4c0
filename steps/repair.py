"""Small repairs of an installation: its network follows the key medium."""

from __future__ import annotations

from host import network
from host.mark import Mark
from host.target import read_installed, target
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import NodeConfiguration


class Repair(Step):
    """The installed system finds the network the way this boot did."""

    name = "repair"
    title = "Repair small things"
    effect = Effect.CHANGES
    needs = (Mark, NodeConfiguration)

    def observe(self, context: Context) -> Observation:
        path = network.INSTALLED_FOLDER / network.FILE_NAME
        if read_installed(context.host.run, path) == network.render(context.facts[NodeConfiguration].network):
            return holds()
        return lacks(Change(Keeps.CREATE, f"/{path}", "network of the key medium"))

    def run(self, context: Context) -> None:
        settings = context.facts[NodeConfiguration].network
        with target(context.host.run) as root:
            network.write(settings, root / network.INSTALLED_FOLDER)
