"""Slivers in the guest of tests: what fifty of one image cost, and how long one takes against one by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.result import Result
from tests.vm import guest

SLIVERS = 50
IDLE_SECONDS = 120
ROUNDS = 3
_SECONDS = 3 * 3600.0


def many_slivers(scratch: Path) -> list[Result]:
    """Start many of one image on 4 GiB, and look at their disks and at the manager that idles beside them."""
    found = _in_guest(scratch, "many", SLIVERS, IDLE_SECONDS)
    name = f"slivers_{SLIVERS}"
    return [
        Result(f"{name}_silent", SLIVERS - found["answered"], 0, {"start_seconds": found["seconds"]}),
        Result(f"{name}_disk_mb", found["disk_mb"], 2, {"image_mb": found["image_mb"]}),
        Result(f"{name}_manager_mib", found["mib"], 60, {"private_mib": found["private_mib"]}),
        Result(f"{name}_manager_percent", found["percent"], 0.5, {"pass_seconds": found["pass_seconds"]}),
    ]


def sliver_start(scratch: Path) -> list[Result]:
    """Seconds from the word that there shall be a sliver to its answer, against the same by hand."""
    found = _in_guest(scratch, "start", ROUNDS)
    ours, by_hand = sorted(found["ours"])[ROUNDS // 2], sorted(found["by_hand"])[ROUNDS // 2]
    return [Result("sliver_start", ours / by_hand, 1.2, {"ours": ours, "by_hand": by_hand})]


def _in_guest(scratch: Path, *words: object) -> dict[str, Any]:
    with guest.booted(scratch / "slivers") as shell:
        guest.bring(shell)
        line = (
            f"cd {guest.PROJECT} && PYTHONPYCACHEPREFIX={guest.COMPILED} python3 -m tests.bench.slivers_guest"
        )
        said = shell.output(f"{line} {' '.join(map(str, words))}", timeout=_SECONDS)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
