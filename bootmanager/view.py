"""Events as plain lines, for every console: VGA, a serial line, a log."""

from __future__ import annotations

import time

from host.console import Console
from host.events import Event

QUIET_SECONDS = 5.0
QUIET_FRACTION = 0.1


class ConsoleView:
    """A sink that says on the console what a person wants to see there, and not more often."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = 0.0
        self._said = (-1.0, "")

    def __call__(self, event: Event) -> None:
        """Write the line of an event, if it has one."""
        text = self._text(event)
        if text:
            self._console.say(f"[{event.uptime:7.1f}] {text}")

    def __repr__(self) -> str:
        return "ConsoleView"

    def _text(self, event: Event) -> str:
        data = event.data
        match event.event:
            case "state.entered":
                return f"== {data['state']}: {data['reason']}"
            case "step.started":
                self._said = (-1.0, "")
                return f"{data['step']}: {data['title']} ..."
            case "step.kept":
                return f"{data['step']}: is so already"
            case "step.done":
                return f"{data['step']}: done in {data['seconds']:.1f} s"
            case "step.retry":
                return f"{data['step']}: {data['detail']}; again in {data['seconds']:.0f} s"
            case "step.progress":
                return self._progress(str(data["step"]), data.get("fraction"), str(data["detail"]))
            case "hardware.lacking":
                return "hardware that cannot be used: " + "; ".join(data["devices"])
            case "wait.started":
                return f"waiting for {data['for']}, at most {data['seconds']:.0f} s"
            case "network.up":
                return f"{data['interface']} {data['mac']}: {data['address']}, gateway {data['gateway']}"
            case "network.dead_end":
                where = f"{data['interface']}, gateway {data['gateway']}"
                return f"network: no answer of {data['goal']} through {where}"
            case "image.planned":
                sizes = (data[name] / 2**20 for name in ("tree_bytes", "cache_bytes", "fetch_bytes"))
                from_disk, from_dongle, fetch = (f"{size:.1f} MiB" for size in sizes)
                where = f"{from_disk} from what is on the disk, {from_dongle} from the dongle"
                return f"image {data['image']}, planned: {where}, {fetch} to fetch"
            case "transfer":
                fetched, kept = data["network_bytes"] / 2**20, data["cache_bytes"] / 2**20
                near = data["neighbour_bytes"] / 2**20
                came = f"{fetched:.1f} MiB over the network, {near:.1f} MiB from neighbours"
                return f"image {data['image']}: {came}, {kept:.1f} MiB cached"
        return ""

    def _progress(self, step: str, fraction: float | None, detail: str) -> str:
        """A line at each tenth or new detail, but never more than one in a few seconds."""
        now, (last, said) = time.monotonic(), self._said
        grown = fraction is not None and fraction - last >= QUIET_FRACTION
        if now - self._said_at < QUIET_SECONDS or not (grown or (fraction is None and detail != said)):
            return ""
        self._said_at, self._said = now, (last if fraction is None else fraction, detail)
        percent = "" if fraction is None else f"{fraction:4.0%} "
        return f"{step}: {percent}{detail}"
