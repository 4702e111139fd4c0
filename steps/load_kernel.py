"""Get ready to start the installed system: by kexec, or by a reboot into the disk."""

from __future__ import annotations

from host.boot import CHAIN_ONCE, GRUB_ENVIRONMENT, Chain, ChainHow, kexec_loaded
from host.installed import InstalledKernel
from host.run import CommandFailed, Runner
from host.target import target, target_read_only
from host.texts import _
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks


class LoadKernel(Step):
    """The installed kernel is loaded, or the disk is what the boot medium starts next."""

    name = "load_kernel"
    title = "Load the installed kernel"
    effect = Effect.CHANGES
    needs = (InstalledKernel,)
    gives = (Chain,)

    def observe(self, context: Context) -> Observation:
        if kexec_loaded():
            return holds(Chain(ChainHow.KEXEC))
        if _chained_once(context.host.run):
            return holds(Chain(ChainHow.REBOOT))
        version = context.facts[InstalledKernel].version
        what = _("kernel {version}, by {how}", version=version, how=context.host.options.chain)
        return lacks(Change(Keeps.CREATE, _("memory"), what))

    def run(self, context: Context) -> None:
        if context.host.options.chain == ChainHow.KEXEC:
            try:
                _load(context)
                return
            except CommandFailed as error:
                # Some firmware and some kernels refuse kexec; the disk can start by itself.
                context.host.events.tell("kexec.refused", detail=error.detail)
        with target(context.host.run) as root:
            # The medium has no GRUB tools; the installed system has.
            context.host.run(["grub-editenv", f"/{GRUB_ENVIRONMENT}", "set", CHAIN_ONCE], root=root)


def _load(context: Context) -> None:
    kernel = context.facts[InstalledKernel]
    arguments = kernel.arguments
    if context.host.options.events:
        # What watches this boot goes on watching the installed system.
        arguments += f" bm.events={context.host.options.events}"
    with target_read_only(context.host.run) as root:
        context.host.run(
            [
                "kexec",
                "--load",
                f"--initrd={root / 'boot' / kernel.initramfs}",
                f"--command-line={arguments}",
                root / "boot" / kernel.image,
            ]
        )


def _chained_once(run: Runner) -> bool:
    with target_read_only(run) as root:
        environment = root / GRUB_ENVIRONMENT
        return environment.exists() and CHAIN_ONCE in environment.read_text()
