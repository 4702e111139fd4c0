"""Small repairs of an installation: its network follows the key medium, UEFI firmware finds its loaders."""

from __future__ import annotations

from host import network_files
from host.esp import esp_of_root, is_whole, make_esp
from host.filesystems import boot_uuid
from host.mark import Mark
from host.target import read_all_installed, target, target_read_only
from host.texts import _
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.nodeconf import NodeConfiguration


class Repair(Step):
    """The installed system finds the network the way this boot did, and UEFI firmware the system."""

    name = "repair"
    title = "Repair small things"
    effect = Effect.CHANGES
    needs = (Mark, NodeConfiguration)

    def observe(self, context: Context) -> Observation:
        run, folder = context.host.run, network_files.INSTALLED_FOLDER
        found = read_all_installed(run, [folder / name for name in network_files.NAMES])
        texts = {path.name: text for path, text in found.items()}
        wrong = network_files.differing(context.facts[NodeConfiguration].network, texts)
        what = _("network of the key medium")
        changes = [Change(Keeps.CREATE, f"/{folder / name}", what) for name in wrong]
        esp, boot = esp_of_root(run), boot_uuid(context.facts[Mark].run_id)
        with target_read_only(run) as root:
            if not is_whole(run, esp, root, boot):
                changes.append(Change(Keeps.CREATE, esp, _("signed loaders for UEFI")))
        return lacks(*changes) if changes else holds()

    def run(self, context: Context) -> None:
        run, settings = context.host.run, context.facts[NodeConfiguration].network
        esp, boot = esp_of_root(run), boot_uuid(context.facts[Mark].run_id)
        with target(run) as root:
            network_files.write(settings, root / network_files.INSTALLED_FOLDER)
            if not is_whole(run, esp, root, boot):
                make_esp(run, esp, root, boot)
