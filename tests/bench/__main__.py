"""Run all benchmarks. Exit status 1 when a goal is missed."""

from __future__ import annotations

import json
import sys

from tests.bench.disk_image import disk_image_against_pipeline
from tests.bench.install import install_against_script
from tests.bench.network import fetch_50ms_100mbit
from tests.bench.trees import tree_results
from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, artifacts, forget_run

RESULT = BUILD / "bench.json"


def main() -> int:
    """Write bench.json and say what came out."""
    try:
        built = artifacts()
        results = [
            *tree_results(built.base, BUILD),
            disk_image_against_pipeline(BUILD),
            fetch_50ms_100mbit(),
            install_against_script(built, accelerator(BUILD)),
        ]
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
