"""What a node is doing, folded from its events one by one: the line that the dashboard shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Status:
    """The sum of the events so far. `fraction` is 0 to 1, below 0 when unknown; `since` is Unix seconds."""

    program: str = ""
    state: str = ""
    step: str = ""
    title: str = ""
    fraction: float = -1.0
    detail: str = ""
    waiting: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    event: str = ""
    since: float = 0.0


def fold(status: Status, event: dict[str, Any], received: float) -> Status:
    """Return the status after one more event that was received at `received`."""
    name = str(event.get("event", ""))
    status = replace(status, event=name, program=str(event.get("program", "")))
    since = status.since if name == "step.progress" else received
    return replace(status, since=since, **_changes(name, event))


def _changes(name: str, event: dict[str, Any]) -> dict[str, Any]:
    idle = {"step": "", "title": "", "fraction": -1.0, "detail": "", "waiting": ""}
    match name:
        case "program.started":
            return {**idle, "state": "", "error": {}}
        case "state.entered":
            return {**idle, "state": _text(event, "state"), "detail": _text(event, "reason")}
        case "step.started":
            title = _text(event, "title") or _text(event, "step")
            return {**idle, "step": _text(event, "step"), "title": title, "fraction": 0.0, "error": {}}
        case "step.progress":
            return {"fraction": _fraction(event), "detail": _text(event, "detail"), "waiting": ""}
        case "step.kept" | "step.done":
            return {"fraction": 1.0, "detail": "", "waiting": ""}
        case "error":
            keys = ("code", "title", "detail", "hint", "step", "state")
            return {"error": {key: _text(event, key) for key in keys}, "waiting": ""}
        case "step.retry":
            return {"waiting": f"the next try, {_text(event, 'detail')}"}
        case "wait.started":
            return {"waiting": _text(event, "for")}
        case "confirm.asked":
            return {"waiting": "a technician's answer at the console"}
        case "confirm.answered":
            return {"waiting": ""}
        case "chain.started":
            how = _text(event, "how")
            # The other system tells nothing; this stays what is known.
            others = {"disk": "another system runs", "medium": "starting a newer boot medium"}
            return {**idle, "title": others.get(how, f"starting the installed system ({how})")}
        case "runlevel":
            return {**idle, "error": {}} if event.get("run_level") == "boot" else {}
    return {}


def _text(event: dict[str, Any], key: str) -> str:
    value = event.get(key, "")
    return value if isinstance(value, str) else str(value)


def _fraction(event: dict[str, Any]) -> float:
    value = event.get("fraction")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return -1.0
    return min(1.0, max(0.0, float(value)))
