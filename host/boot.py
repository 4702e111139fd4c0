"""Leaving the boot medium: into the installed kernel, or through the firmware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from host.run import Runner

KEXEC_LOADED = Path("/sys/kernel/kexec_loaded")
GRUB_ENVIRONMENT = Path("boot/grub/bmenv")
CHAIN_ONCE = "bm_chain_once=1"


class ChainHow(StrEnum):
    """How the installed system is started."""

    KEXEC = "kexec"
    REBOOT = "reboot"
    # Another system, by the disk's own boot loader (see host/start_disk.py).
    DISK = "disk"


@dataclass(frozen=True)
class Chain:
    """The installed system is ready to be started, this way."""

    how: ChainHow


def kexec_loaded() -> bool:
    """Say whether a kernel is loaded for kexec."""
    return KEXEC_LOADED.exists() and KEXEC_LOADED.read_text().strip() == "1"


def leave(run: Runner, how: ChainHow) -> None:
    """Start the installed system; the init system ends this program shortly after."""
    run(["systemctl", "--no-block", "kexec" if how is ChainHow.KEXEC else "reboot"])
