"""Run all benchmarks, or those that are named on the command line. Exit status 1 when a goal is missed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from tests.bench.disk_image import disk_image_against_pipeline
from tests.bench.growth import growth_results
from tests.bench.install import install_against_script
from tests.bench.lossy import lossy_line
from tests.bench.manager import manager_results
from tests.bench.neighbours import ten_neighbours
from tests.bench.network import fetch_50ms_100mbit
from tests.bench.result import Result
from tests.bench.slivers import many_slivers, sliver_start
from tests.bench.trees import tree_results
from tests.bench.vsys import vsys_results
from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, artifacts, forget_run

RESULT = BUILD / "bench.json"
BENCHMARKS: dict[str, Callable[[], list[Result]]] = {
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
    """Write bench.json and say what came out."""
    names = sys.argv[1:] or list(BENCHMARKS)
    try:
        results = [result for name in names for result in BENCHMARKS[name]()]
    finally:
        forget_run()
    RESULT.write_text(json.dumps([result.to_plain() for result in results], indent=1) + "\n")
    for result in results:
        parts = ", ".join(f"{name} {value:.1f}" for name, value in result.parts.items())
        met = "met" if result.met else "MISSED"
        print(f"{result.name}: {result.value:.2f}, goal at most {result.goal} ({met}): {parts}")
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
