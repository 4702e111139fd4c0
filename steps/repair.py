"""Small repairs of an installation: its network follows the key medium."""

from __future__ import annotations

from host import network_files
from host.mark import Mark
from host.target import read_all_installed, target
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import NodeConfiguration


class Repair(Step):
    """The installed system finds the network the way this boot did."""

    name = "repair"
    title = "Repair small things"
    effect = Effect.CHANGES
    needs = (Mark, NodeConfiguration)

    def observe(self, context: Context) -> Observation:
        folder = network_files.INSTALLED_FOLDER
        found = read_all_installed(context.host.run, [folder / name for name in network_files.NAMES])
        texts = {path.name: text for path, text in found.items()}
        wrong = network_files.differing(context.facts[NodeConfiguration].network, texts)
        if not wrong:
            return holds()
        return lacks(
            *(Change(Keeps.CREATE, f"/{folder / name}", "network of the key medium") for name in wrong)
        )

    def run(self, context: Context) -> None:
        settings = context.facts[NodeConfiguration].network
        with target(context.host.run) as root:
            network_files.write(settings, root / network_files.INSTALLED_FOLDER)
