"""The installed system's tree, mounted for the length of a with block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from host.mounts import mounted
from host.run import Runner
from host.storage import Layout

BOOT_LABEL = "bm-boot"
BOOT_DEVICE = f"/dev/disk/by-label/{BOOT_LABEL}"
SLIVERS_FOLDER = Path("var/lib/machines")


@contextmanager
def target_read_only(run: Runner, layout: Layout) -> Iterator[Path]:
    """Mount the root volume for looking at it; not even its journal is replayed."""
    with mounted(run, layout.root_device, fstype="ext4", options=["ro", "noload"]) as root:
        yield root


@contextmanager
def target(run: Runner, layout: Layout, *, for_chroot: bool = False) -> Iterator[Path]:
    """Mount root, /boot and the slivers volume for writing; with `for_chroot` also what programs need.

    Unmounting, which happens on leaving, is what makes everything written durable.
    """
    with ExitStack() as stack:
        root = stack.enter_context(mounted(run, layout.root_device, fstype="ext4"))
        stack.enter_context(mounted(run, BOOT_DEVICE, root / "boot", fstype="ext4"))
        stack.enter_context(mounted(run, layout.slivers_device, root / SLIVERS_FOLDER, fstype="ext4"))
        if for_chroot:
            for name in ("dev", "proc", "sys", "run"):
                stack.enter_context(mounted(run, f"/{name}", root / name, fstype="none", options=["bind"]))
        yield root
