"""Entries of debug mode's menu that only look."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bootmanager.asking import WAITING
from bootmanager.hwtest import report as hwtest_report
from bootmanager.hwtest.run import TESTS, run_tests
from bootmanager.menu_desk import Desk, one_of
from bootmanager.preview import PLANNED, plan_text, previews_of
from bootmanager.send_report import report_now
from host.alone import alone
from host.console import Console
from host.events import Events
from host.ports import Host
from host.terminal import Terminal, page
from host.texts import _
from hwdetect.inventory import describe, detect

_LOGS = ("events", "commands", "kernel")
_LAST_LINES = 400
_PLACES = ("server", "stick")


def inventory(desk: Desk, terminal: Terminal) -> None:
    """Show the hardware."""
    terminal.say(_("Looking at the hardware ..."))
    page(terminal, describe(detect(desk.host.run)))


def plan(desk: Desk, terminal: Terminal) -> None:
    """Show what a state would keep, create and destroy."""
    chosen = one_of(terminal, _("The plan for which state?"), [str(state) for state in PLANNED])
    if not chosen:
        return
    terminal.say(_("Looking; nothing is changed ..."))
    with alone(desk.host.state_dir, waiting=lambda: terminal.say(WAITING)):
        found = previews_of(_silent(desk.host), chosen)
    page(terminal, plan_text(found))


def log(desk: Desk, terminal: Terminal) -> None:
    """Show the end of a log."""
    chosen = one_of(terminal, _("Which log?"), _LOGS)
    if chosen == "events":
        page(terminal, "\n".join(map(_event_line, _tail(desk.host.state_dir / "events.jsonl"))))
    elif chosen == "commands":
        page(terminal, "\n".join(_tail(desk.host.state_dir / "bootmanager.log")))
    elif chosen == "kernel":
        page(terminal, "\n".join(desk.host.run(["dmesg"]).stdout.splitlines()[-_LAST_LINES:]))


def hardware(desk: Desk, terminal: Terminal) -> None:
    """Test the hardware; the results go to the server too."""
    chosen = one_of(terminal, _("Test what?"), ("all", *TESTS))
    length = one_of(terminal, _("How long? quick is at most 2 minutes"), ("quick", "long")) if chosen else ""
    if not length:
        return
    names = TESTS if chosen == "all" else (chosen,)
    results = run_tests(desk.host, names, long=length == "long", progress=terminal.say, connect=desk.connect)
    page(terminal, hwtest_report.text(results))


def report(desk: Desk, terminal: Terminal) -> None:
    """Make a report of this machine, without secrets, for who is to find out why it fails."""
    chosen = one_of(terminal, _("To the server, or onto the stick labelled BMREPORT?"), _PLACES)
    if not chosen:
        return
    terminal.say(_("Making it; this takes a minute ..."))
    with alone(desk.host.state_dir, waiting=lambda: terminal.say(WAITING)):
        said = report_now(_silent(desk.host), None, stick=chosen == "stick")
    terminal.say(said)


def _silent(host: Host) -> Host:
    """The same machine, where nobody is told or asked what is only looked at."""
    return replace(host, events=Events("bootmanager"), console=Console([]))


def _tail(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-_LAST_LINES:] if path.exists() else []


def _event_line(line: str) -> str:
    told = json.loads(line)
    rest = {key: value for key, value in told.items() if key not in _ENVELOPE}
    return f"{told['uptime']:8.1f} {told['event']} " + " ".join(
        f"{key}={value}" for key, value in rest.items()
    )


_ENVELOPE = ("seq", "time", "uptime", "program", "run", "boot", "event")
