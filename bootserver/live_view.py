"""Events of a node as a person watches them: a bar for the running step; plain lines without a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bootserver.output import printable

_LINE_EVERY_SECONDS = 10.0
# A whole number of a node's may be larger than any float.
_MOST = 1e18


class LiveView:
    """Hears every event and shows it; also says what the program itself does. No event can make it fail."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.fields[clock]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(40),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
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
        """Say what the program does, with the time since it began."""
        line = printable(f"{self._clock()}  {text}")
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Show a bar without an end for something that tells no events."""
        self._begin(text)
        if not self.console.is_terminal:
            self.say(f"{text} ...")

    def event(self, event: dict[str, Any]) -> None:
        """Show one event."""
        step = _text(event, "step")
        match event.get("event"):
            case "state.entered":
                self.say(f"== {_text(event, 'state')}: {_text(event, 'reason')}", "bold cyan")
            case "step.started":
                self._begin(_text(event, "title"))
            case "step.progress":
                self._advance(event.get("fraction"), _text(event, "detail"))
            case "step.done":
                self._end()
                self.say(f"   {step:<20} done in {_number(event, 'seconds'):6.1f} s", "green")
            case "step.kept":
                self._end()
                self.say(f"   {step:<20} is so already", "green")
            case "step.retry":
                again = f"again in {_number(event, 'seconds'):.0f} s: {_text(event, 'detail')}"
                self.say(f"   {step:<20} {again}", "yellow")
            case "image.planned":
                names = ("tree_bytes", "cache_bytes", "fetch_bytes")
                disk, dongle, fetch = (f"{_number(event, name) / 1e6:.1f} MB" for name in names)
                where = f"{disk} from the disk, {dongle} from the dongle, {fetch} to fetch"
                self.say(f"   image {_text(event, 'image')}, planned: {where}")
            case "transfer":
                network, cache = (_number(event, name) / 1e6 for name in ("network_bytes", "cache_bytes"))
                came = f"{network:.1f} MB over the network, {cache:.1f} MB cached"
                self.say(f"   image {_text(event, 'image')}: {came}")
            case "error":
                self._end()
                code, title, detail = (_text(event, key) for key in ("code", "title", "detail"))
                self.say(f"   {code}: {title}: {detail}", "bold red")
            case "confirm.asked":
                self.waiting("a technician is asked at the console")
            case "chain.started":
                how = _text(event, "how")
                newer = "a newer boot medium starts"
                self.waiting(newer if how == "medium" else f"the installed system starts by {how}")
            case "reboot":
                self.waiting(f"the node reboots: {_text(event, 'reason')}")
            case "sliver.started" | "service.started" as name:
                self.say(f"   {name.partition('.')[0]} {_text(event, 'name')} is up", "green")
            case "runlevel":
                self.say(f"   run level {_text(event, 'run_level')}", "bold")

    def _clock(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{int(seconds // 60):3d}:{seconds % 60:04.1f}"

    def _begin(self, text: str) -> None:
        self._end()
        shown = printable(text)
        self._task = self._progress.add_task(shown, total=None, detail="", clock=self._clock())

    def _advance(self, fraction: object, detail: str) -> None:
        known = isinstance(fraction, int | float)
        done = _number({"fraction": fraction}, "fraction")
        if self._task is not None:
            total = 1.0 if known else None
            self._progress.update(self._task, total=total, completed=done, detail=printable(detail))
        if not self.console.is_terminal and time.monotonic() - self._said_at > _LINE_EVERY_SECONDS:
            self._said_at = time.monotonic()
            self.say(f"      {f'{done:4.0%} ' if known else ''}{detail}")

    def _end(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _text(event: dict[str, Any], key: str) -> str:
    return str(event.get(key, ""))


def _number(event: dict[str, Any], key: str) -> float:
    value = event.get(key)
    return float(min(max(value, -_MOST), _MOST)) if isinstance(value, int | float) else 0.0
