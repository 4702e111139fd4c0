"""The demo's live timeline, and its table at the end."""

from __future__ import annotations

from rich.table import Table

from bootserver.live_view import LiveView
from tests.vm.demo.figures import Figures


class View(LiveView):
    """Shows what the machine does, and sums it up."""

    def table(self, runs: list[Figures]) -> None:
        """Show seconds per phase, and where the bytes came from."""
        table = Table(title="The main job")
        table.add_column("phase")
        for run in runs:
            table.add_column(run.name, justify="right")
        for phase in runs[0].phases:
            table.add_row(phase, *(f"{run.phases[phase]:.1f} s" for run in runs))
        table.add_section()
        table.add_row("from power-on to the sliver's answer", *(f"{run.seconds:.1f} s" for run in runs))
        table.add_row("images over the network", *(f"{run.network_bytes / 1e6:.1f} MB" for run in runs))
        table.add_row("images out of the cache", *(f"{run.cache_bytes / 1e6:.1f} MB" for run in runs))
        table.add_row("peak memory while installing", *(_mib(run.peak_memory_bytes) for run in runs))
        self.console.print(table)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB" if count else "-"
