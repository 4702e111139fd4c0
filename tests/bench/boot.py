"""How long the boot medium takes to bootmanager's first event, against the same system with nothing to do.

Both times are of the kernel's clock, which begins when the firmware or the boot loader hands over.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.bench.result import Result
from tests.vm.harness import limits
from tests.vm.harness.artifacts import Artifacts
from tests.vm.harness.hardware import Hardware
from tests.vm.harness.machine import Machine
from tests.vm.harness.site import direct_kernel

ROUNDS = 3
# In the place of bootmanager's own, so that nothing of it is started: not even the network that it wants.
_FILES = {
    "etc/systemd/system/bootmanager.service": """[Unit]
DefaultDependencies=no
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/lib/say-that-all-is-up
""",
    "usr/lib/say-that-all-is-up": """read -r uptime idle </proc/uptime
echo "{\\"event\\": \\"multi-user\\", \\"uptime\\": $uptime}" >/dev/ttyS1
""",
}


def boot_against_plain(built: Artifacts, accelerator: str, scratch: Path) -> Result:
    """Boot each some times, in turn; without a network, disks or a key medium."""
    ours, plain = [], []
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        idle = replace(built, iso=_idle_medium(built.iso, folder))
        for _ in range(ROUNDS):
            ours.append(_uptime(built, accelerator, folder, "program.started"))
            plain.append(_uptime(idle, accelerator, folder, "multi-user"))
    seconds = {"ours": min(ours), "plain": min(plain)}
    return Result("boot_to_first_event_against_plain", seconds["ours"] / seconds["plain"], 1.5, seconds)


def _uptime(built: Artifacts, accelerator: str, folder: Path, event: str) -> float:
    with Machine(Hardware(direct_kernel(built)), folder / "logs", accelerator) as machine:
        machine.power_on()
        return float(machine.wait_event(event, timeout=limits.BOOT)["uptime"])


def _idle_medium(iso: Path, folder: Path) -> Path:
    """Return the medium with one more layer, in which bootmanager's unit only says that all is up."""
    tree, layer, idle = folder / "tree", folder / "layer.squashfs", folder / "idle.iso"
    for name, text in _FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    _run("mksquashfs", tree, layer, "-all-root", "-quiet", "-no-progress")
    _run("xorriso", "-indev", iso, "-outdev", idle, "-boot_image", "any", "replay", "-map", layer,
         "/live/90-idle.squashfs")  # fmt: skip
    return idle


def _run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, capture_output=True)
