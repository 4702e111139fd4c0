"""Events as plain lines, for every console: VGA, a serial line, a log."""

from __future__ import annotations

import time

from host.console import Console
from host.events import Event
from host.texts import Text, _, shown

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
            self._console.say(f"[{event.uptime:7.1f}] {shown(text)}")

    def __repr__(self) -> str:
        return "ConsoleView"

    def _text(self, event: Event) -> str:
        data = event.data
        match event.event:
            case "state.entered":
                return Text("== {state}: {reason}", **data)
            case "step.started":
                self._said = (-1.0, "")
                return Text("{step}: {title} ...", step=data["step"], title=Text(data["title"]))
            case "step.kept":
                return _("{step}: is so already", **data)
            case "step.done":
                return _("{step}: done in {seconds:.1f} s", **data)
            case "step.retry":
                return _("{step}: {detail}; again in {seconds:.0f} s", **data)
            case "step.progress":
                return self._progress(str(data["step"]), data.get("fraction"), data["detail"])
            case "hardware.lacking":
                return _("hardware that cannot be used: {devices}", devices="; ".join(data["devices"]))
            case "medium.kept":
                return _("a newer boot medium is not started: {detail}", **data)
            case "wait.started":
                return _("waiting for {what}, at most {seconds:.0f} s", what=data["for"], **data)
            case "network.up":
                return _("{interface} {mac}: {address}, gateway {gateway}", **data)
            case "network.dead_end":
                return _("network: no answer of {goal} through {interface}, gateway {gateway}", **data)
            case "image.planned":
                return _(
                    "image {image}, planned: {disk:.1f} MiB from what is on the disk,"
                    " {dongle:.1f} MiB from the dongle, {fetch:.1f} MiB to fetch",
                    image=data["image"],
                    disk=data["tree_bytes"] / 2**20,
                    dongle=data["cache_bytes"] / 2**20,
                    fetch=data["fetch_bytes"] / 2**20,
                )
            case "transfer":
                return _(
                    "image {image}: {fetched:.1f} MiB over the network, {near:.1f} MiB from neighbours,"
                    " {kept:.1f} MiB cached",
                    image=data["image"],
                    fetched=data["network_bytes"] / 2**20,
                    near=data["neighbour_bytes"] / 2**20,
                    kept=data["cache_bytes"] / 2**20,
                )
        return ""

    def _progress(self, step: str, fraction: float | None, detail: str) -> str:
        """A line at each tenth or new detail, but never more than one in a few seconds."""
        now, (last, said) = time.monotonic(), self._said
        grown = fraction is not None and fraction - last >= QUIET_FRACTION
        if now - self._said_at < QUIET_SECONDS or not (grown or (fraction is None and detail != said)):
            return ""
        self._said_at, self._said = now, (last if fraction is None else fraction, detail)
        percent = "" if fraction is None else f"{fraction:4.0%} "
        return f"{step}: {percent}{shown(detail)}"
