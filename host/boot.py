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
    """What is started after this system, and how: the installed one, by kexec or by a reboot."""

    KEXEC = "kexec"
    REBOOT = "reboot"
    # Another system, by the disk's own boot loader (see host/start_disk.py).
    DISK = "disk"
    # A newer boot medium from the dongle, by kexec.
    MEDIUM = "medium"


@dataclass(frozen=True)
class Chain:
    """What comes after this system is ready to be started, this way."""

    how: ChainHow


def kexec_loaded() -> bool:
    """Say whether a kernel is loaded for kexec."""
    return KEXEC_LOADED.exists() and KEXEC_LOADED.read_text().strip() == "1"


def unload_kernel(run: Runner) -> None:
    """Forget a kernel loaded for kexec: nobody knows later which one it is. Raises CommandError."""
    if kexec_loaded():
        run(["kexec", "--unload"])


def leave(run: Runner, how: ChainHow) -> None:
    """Start what is ready; the init system ends this program shortly after. Raises CommandError."""
    by_kexec = how in (ChainHow.KEXEC, ChainHow.MEDIUM)
    run(["systemctl", "--no-block", "kexec" if by_kexec else "reboot"])
