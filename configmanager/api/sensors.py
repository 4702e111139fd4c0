"""The figures of slivers in Prometheus' text format. Names of slices and numbers, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from configmanager.api import figures
from configmanager.backends.quota import Quotas, Room
from configmanager.backends.resources import SLIVERS
from configmanager.slots import Slots
from host.run import Runner
from wire.errors import CommandError


class Sensors(Collector):
    """Reads all figures anew each time. `root` is "/" but in tests."""

    def __init__(self, run: Runner, root: Path = Path("/")) -> None:
        self._run = run
        self._root = root
        self._registry = CollectorRegistry()
        # Only described when it is read, which costs as much.
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the figures of now."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is read."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return a family for each kind of figure."""
        rooms = self._rooms()
        families = {
            figure: (CounterMetricFamily if figure.grows else GaugeMetricFamily)(
                figure.name, figure.about, labels=["sliver"]
            )
            for figure in figures.ALL
        }
        for name, slot in Slots(self._root).all().items():
            for figure, value in figures.figures_of(name, slot, rooms, self._root).items():
                families[figure].add_metric([name], value)
        return families.values()

    def _rooms(self) -> dict[int, Room]:
        quotas = Quotas(self._run, self._root / SLIVERS)
        try:
            return quotas.use() if quotas.kept else {}
        except CommandError:
            return {}
