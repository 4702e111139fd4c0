"""What a hundred services for fifty slices cost while nobody uses them, and what one more costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.bench.result import Result
from tests.host.vsys_site import Site

SLICES = 50
SERVICES = 100
SECONDS = 60.0
PATIENCE_SECONDS = 300.0
# In the kernel's accounts that is one unit of 10 ms.
IDLE_GOAL = 0.02
MEMORY_GOAL_MIB = 64.0
COPY_GOAL_SECONDS = 0.2


def vsys_results(scratch: Path | None = None) -> list[Result]:
    """Return the cost of idling (percent of a core, MiB), and of a copy (processor time)."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        site = Site(Path(name))
        try:
            return _measured(site)
        finally:
            site.close()


def _measured(site: Site) -> list[Result]:
    slices = [f"slice_{number}" for number in range(SLICES)]
    for name in slices:
        site.add_slice(name)
    # Half of the slices may only read what every second service says.
    rights = "".join(f"{name} {'r' if number % 2 else 'rw'}\n" for number, name in enumerate(slices))
    for number in range(SERVICES - 1):
        site.offer(f"service{number}", "while read line; do echo $line; done", rights if number % 2 else None)
    site.start()
    _until_seen(site, slices, SERVICES - 1)
    began = site.cpu_seconds()
    before, begun = site.cpu_seconds(), time.monotonic()
    site.offer("one-more", "while read line; do echo $line; done")
    _until_seen(site, slices, SERVICES)
    copied, waited = site.cpu_seconds() - before, time.monotonic() - begun
    # What was begun is done by then.
    time.sleep(2)
    before = site.cpu_seconds()
    time.sleep(SECONDS)
    spent = site.cpu_seconds() - before
    assert site.process is not None
    place = Path(f"/proc/{site.process.pid}")
    files = len(list((place / "fd").iterdir()))
    assert files >= SLICES * SERVICES
    assert "ok" in site.as_slice("slice_1", "echo ok > one-more.in; head -n 1 one-more.out")
    parts = {"processor seconds to begin": began, "files open": float(files)}
    return [
        Result("vsys_idle_percent", 100 * spent / SECONDS, IDLE_GOAL, parts),
        Result("vsys_memory_mib", _resident_mib(place), MEMORY_GOAL_MIB),
        Result("vsys_copy_cpu_seconds", copied, COPY_GOAL_SECONDS, {"seconds until it is seen": waited}),
    ]


def _until_seen(site: Site, slices: list[str], services: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(sum(each.endswith(".out") for each in site.fifos(name)) < services for name in slices):
        assert time.monotonic() < deadline, site.said()
        # To look costs more than to make them.
        time.sleep(0.2)


def _resident_mib(place: Path) -> float:
    lines = (place / "smaps_rollup").read_text().splitlines()[1:]
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024
