"""One benchmark after another; what each found is kept at once, so that nothing later can lose it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from host.files import write_atomic
from tests.bench.result import Result


def measure(name: str, benchmark: Callable[[], list[Result]], file: Path) -> bool:
    """Run a benchmark, say what came out and keep it. Returns whether it ended well and met its goals."""
    try:
        results = benchmark()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is told, and the others go on.
        traceback.print_exc()
        print(f"{name}: FAILED: {error}", flush=True)
        return False
    keep(results, file)
    for result in results:
        parts = ", ".join(f"{part} {value:.1f}" for part, value in result.parts.items())
        met = "met" if result.met else "MISSED"
        print(f"{result.name}: {result.value:.2f}, goal at most {result.goal} ({met}): {parts}", flush=True)
    return all(result.met for result in results)


def keep(results: Sequence[Result], file: Path) -> None:
    """Put results into the file, in place of former ones of the same names; the others stay there."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    known = json.loads(file.read_text()) if file.exists() else []
    rows = {row["name"]: row for row in known} | {
        each.name: {**each.to_plain(), "at": at} for each in results
    }
    write_atomic(file, (json.dumps(list(rows.values()), indent=1) + "\n").encode())
