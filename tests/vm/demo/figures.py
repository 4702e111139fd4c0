"""What the demo measured: from a machine's events to phases, bytes and memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.vm.harness.timeline import Event

BOOT_PHASE = "boot the medium: firmware, GRUB, kernel, systemd"
NODE_PHASE = "start the installed system, sliver and service"
# Every other step counts as the last phase's.
_PHASES = {
    "detect hardware, network, check in": (
        "detect_hardware", "read_configuration", "open_cache", "open_journal", "network", "enrol",
        "set_clock", "check_in", "check_hardware", "choose_disks", "confirm_used", "confirm_new",
    ),
    "partition and format": ("partition", "format"),
    "fetch, verify and unpack": ("verify_images", "neighbours", "unpack"),
    "configure, initramfs and GRUB": ("configure", "bootloader"),
    "mark, report, validate, hand over": (),
}  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """One installation. Times in seconds, sizes in bytes."""

    name: str
    phases: dict[str, float]
    seconds: float
    network_bytes: int
    cache_bytes: int
    peak_memory_bytes: int = 0
    answered: bool = False
    images: dict[str, int] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return what goes into demo.json."""
        return {
            "name": self.name,
            "phases": [
                {"name": phase, "seconds": round(seconds, 1)} for phase, seconds in self.phases.items()
            ],
            "seconds": round(self.seconds, 1),
            "network_bytes": self.network_bytes,
            "cache_bytes": self.cache_bytes,
            "peak_memory_bytes": self.peak_memory_bytes,
            "sliver_answered": self.answered,
        }


def measure(name: str, events: list[Event], seconds: float, *, answered: bool) -> Figures:
    """Sum up one installation from its events; `seconds` is what it took from power-on, by a clock outside.

    What no step accounts for (firmware, kernel, systemd) is the time before bootmanager's first event; what
    is left after the last step is the installed system's start.
    """
    phases = {BOOT_PHASE: 0.0, **dict.fromkeys(_PHASES, 0.0)}
    last = list(_PHASES)[-1]
    phase_of = {step: phase for phase, steps in _PHASES.items() for step in steps}
    for event in events:
        if event.get("program") != "bootmanager":
            continue
        if event["event"] == "program.started":
            phases[BOOT_PHASE] = float(event["uptime"])
        elif event["event"] in ("step.done", "step.kept"):
            phases[phase_of.get(event["step"], last)] += float(event["seconds"])
    phases[NODE_PHASE] = max(0.0, seconds - sum(phases.values()))
    transfers = [event for event in events if event["event"] == "transfer"]
    return Figures(
        name,
        phases,
        seconds,
        sum(int(event["network_bytes"]) for event in transfers),
        sum(int(event["cache_bytes"]) for event in transfers),
        max((int(event["memory_bytes"]) for event in events if event["event"] == "peak"), default=0),
        answered,
    )
