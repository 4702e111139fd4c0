"""Make the initramfs and put GRUB on the system disk, for BIOS and for UEFI."""

from __future__ import annotations

import json
from pathlib import Path

from host.esp import make_esp
from host.files import write_atomic
from host.filesystems import boot_uuid
from host.initramfs import make_initramfs
from host.installed import InstalledKernel, kernel_versions, newest_kernel
from host.storage import Layout
from host.target import ROOT_MODULES, read_installed, target
from host.texts import _
from hwdetect.inventory import Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.messages import NodeDetails

MARKER = Path("etc/bootmanager/bootloader.json")
SLOW = 1200.0


class Bootloader(Step):
    """The disk boots by itself, whatever the firmware: initramfs, GRUB and its menu are in place."""

    name = "bootloader"
    title = "Make initramfs and install GRUB"
    effect = Effect.CHANGES
    needs = (Layout, NodeDetails, Inventory)

    def observe(self, context: Context) -> Observation:
        if read_installed(context.host.run, MARKER) == _marker(context):
            return holds()
        layout = context.facts[Layout]
        return lacks(
            Change(Keeps.CREATE, layout.system.path, _("GRUB and initramfs")),
            Change(Keeps.CREATE, layout.esp_device, _("signed loaders for UEFI")),
        )

    def run(self, context: Context) -> None:
        with target(context.host.run, for_chroot=True) as root:
            self._initramfs(context, root)
            context.progress(0.7, "GRUB")
            details, layout = context.facts[NodeDetails], context.facts[Layout]
            boot = boot_uuid(details.run_id)
            install = ["grub-install", "--target=i386-pc", "--no-floppy", layout.system.path]
            context.host.run(install, root=root, timeout=SLOW)
            make_esp(context.host.run, layout.esp_device, root, boot)
            # What the boot medium's GRUB reads and clears to let the disk boot once.
            context.host.run(["grub-editenv", "/boot/grub/bmenv", "create"], root=root)
            kernel = newest_kernel(root, details.kernel_arguments)
            write_atomic(root / "boot/grub/grub.cfg", _menu(kernel, boot))
        # Written after the unmount has made the rest durable: these are other file systems.
        with target(context.host.run) as root:
            write_atomic(root / MARKER, _marker(context))

    def _initramfs(self, context: Context, root: Path) -> None:
        versions = kernel_versions(root)
        modules = (*ROOT_MODULES, *context.facts[Inventory].modules)
        for number, version in enumerate(versions):
            context.progress(0.7 * number / len(versions), _("initramfs for {version}", version=version))
            make_initramfs(context.host.run, root, version, modules)


def _menu(kernel: InstalledKernel, boot: str) -> str:
    """Return GRUB's menu, with the same arguments that kexec gives the kernel; `boot` is the UUID of /boot.

    Not update-grub's: it asks every disk of the machine what it holds, and foreign ones are not ours to ask.
    """
    return f"""# Written by bootmanager.
if [ "$grub_platform" = pc ]; then
    # UEFI firmware's own console is there already, the serial one too.
    serial --unit=0 --speed=115200
    terminal_input console serial
    terminal_output console serial
fi
set timeout=1
search --no-floppy --fs-uuid {boot} --set=root
menuentry "{kernel.version}" {{
    linux /{kernel.image} {kernel.arguments}
    initrd /{kernel.initramfs}
}}
"""


def _marker(context: Context) -> str:
    details, layout = context.facts[NodeDetails], context.facts[Layout]
    return json.dumps({"run_id": details.run_id, "disk": layout.system.serial}) + "\n"
