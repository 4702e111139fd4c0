"""The live timeline: a bar for the running step on a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.vm.demo.figures import Figures
from tests.vm.harness.timeline import Event

_LINE_EVERY_SECONDS = 10.0


class View:
    """Hears every event of the machine and shows it; also says what the demo itself does."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.fields[clock]}"), TextColumn("{task.description}"), BarColumn(40),
            TextColumn("{task.fields[detail]}"), TimeElapsedColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._said_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str = "") -> None:
        """Say what the demo does, with the time since it began."""
        self.console.print(
            f"{self._clock()}  {text}", style=style, markup=False, highlight=False, soft_wrap=True
        )

    def waiting(self, text: str) -> None:
        """Show a bar without an end for something that tells no events."""
        self._begin(text)
        if not self.console.is_terminal:
            self.say(f"{text} ...")

    def event(self, event: Event) -> None:
        """Show one event of the machine."""
        step = str(event.get("step", ""))
        match event["event"]:
            case "state.entered":
                self.say(f"== {event['state']}: {event['reason']}", "bold cyan")
            case "step.started":
                self._begin(f"{event['title']}")
            case "step.progress":
                self._advance(event.get("fraction"), str(event.get("detail", "")))
            case "step.done":
                self._end()
                self.say(f"   {step:<20} done in {event['seconds']:6.1f} s", "green")
            case "step.kept":
                self._end()
                self.say(f"   {step:<20} is so already", "green")
            case "step.retry":
                self.say(f"   {step:<20} again in {event['seconds']:.0f} s: {event['detail']}", "yellow")
            case "image.planned":
                sizes = (int(event[name]) / 1e6 for name in ("tree_bytes", "cache_bytes", "fetch_bytes"))
                disk, dongle, fetch = (f"{size:.1f} MB" for size in sizes)
                where = f"{disk} from the disk, {dongle} from the dongle, {fetch} to fetch"
                self.say(f"   image {event['image']}, planned: {where}")
            case "transfer":
                network, cache = int(event["network_bytes"]) / 1e6, int(event["cache_bytes"]) / 1e6
                self.say(
                    f"   image {event['image']}: {network:.1f} MB over the network, {cache:.1f} MB cached"
                )
            case "error":
                self._end()
                self.say(f"   {event['code']}: {event['title']}: {event['detail']}", "bold red")
            case "chain.started":
                self.waiting(f"the installed system starts by {event['how']}")
            case "sliver.started" | "service.started":
                self.say(f"   {event['event'].partition('.')[0]} {event['name']} is up", "green")
            case "runlevel":
                self.say(f"   run level {event['run_level']}", "bold")

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

    def _clock(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{int(seconds // 60):3d}:{seconds % 60:04.1f}"

    def _begin(self, text: str) -> None:
        self._end()
        self._task = self._progress.add_task(text, total=None, detail="", clock=self._clock())

    def _advance(self, fraction: float | None, detail: str) -> None:
        if self._task is not None:
            total = None if fraction is None else 1.0
            self._progress.update(self._task, total=total, completed=fraction or 0.0, detail=detail)
        if not self.console.is_terminal and time.monotonic() - self._said_at > _LINE_EVERY_SECONDS:
            self._said_at = time.monotonic()
            percent = "" if fraction is None else f"{fraction:4.0%} "
            self.say(f"      {percent}{detail}")

    def _end(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB" if count else "-"
