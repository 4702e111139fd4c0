"""Run all benchmarks, or those that are named. Exit status 1 if one fails or misses a goal."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.bench.boot import boot_against_plain
from tests.bench.disk_image import disk_image_against_pipeline
from tests.bench.growth import growth_results
from tests.bench.install import install_against_script
from tests.bench.lossy import lossy_line
from tests.bench.manager import manager_results
from tests.bench.neighbours import ten_neighbours
from tests.bench.network import fetch_50ms_100mbit
from tests.bench.record import measure
from tests.bench.result import Result
from tests.bench.slivers import many_slivers, sliver_start
from tests.bench.trees import tree_results
from tests.bench.vsys import vsys_results
from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, artifacts, forget_run

RESULT = BUILD / "bench.json"
BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
    "boot": lambda: [boot_against_plain(artifacts(), accelerator(BUILD), BUILD)],
    "trees": lambda: tree_results(artifacts().base, BUILD),
    "disk": lambda: [disk_image_against_pipeline(BUILD)],
    "growth": lambda: growth_results(BUILD),
    "manager": lambda: manager_results(BUILD),
    "vsys": lambda: vsys_results(BUILD),
    "network": lambda: [fetch_50ms_100mbit()],
    "lossy": lambda: [lossy_line(artifacts(), accelerator(BUILD))],
    "neighbours": lambda: [ten_neighbours(artifacts().base, BUILD)],
    "slivers": lambda: many_slivers(BUILD),
    "sliver-start": lambda: sliver_start(BUILD),
    "installation": lambda: [install_against_script(artifacts(), accelerator(BUILD))],
}


def main() -> int:
    """Put into bench.json what comes out, and say it; one that fails does not stop the others."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    try:
        good = [measure(name, BENCHMARKS[name], RESULT) for name in names]
    finally:
        forget_run()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
