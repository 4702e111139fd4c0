"""The screens in docs/technician.md, as the program shows them: python -m tests.unit.technician_screens."""

import re
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bootmanager import menu_changes
from bootmanager.hwtest import report
from bootmanager.hwtest.result import judged, not_possible
from bootmanager.menu import PROMPT, Menu
from bootmanager.standing import screen
from bootmanager.view import ConsoleView
from host.console import Console
from host.events import Event
from host.network import wanted
from host.terminal import TerminalEnded
from steps.network import WAIT_SECONDS
from tests.unit.fake_terminal import FakeTerminal
from tests.unit.menu_desk import FAILED, desk
from wire.nodenet import NetworkSettings

PAGE = Path(__file__).parents[2] / "docs/technician.md"
_BLOCK = re.compile(r"(<!-- screen: (\w+) -->\n)```text\n.*?```\n", re.DOTALL)

_BOOT = [
    (9.2, "step.started", {"step": "detect_hardware", "title": "Detect hardware"}),
    (10.4, "step.done", {"step": "detect_hardware", "seconds": 1.2}),
    (12.1, "wait.started", {"for": wanted(NetworkSettings()), "seconds": WAIT_SECONDS}),
    (15.0, "state.entered", {"state": "inst", "reason": "the server wants inst"}),
    (15.2, "step.started", {"step": "partition", "title": "Partition the disks"}),
    (16.9, "step.done", {"step": "partition", "seconds": 1.7}),
    (17.0, "step.started", {"step": "unpack", "title": "Unpack the base image"}),
    (30.1, "step.progress", {"step": "unpack", "fraction": 0.41, "detail": "base, 178 of 434 MiB"}),
]
_RESULTS = (
    judged("memory", "RAM", "", "15204 MiB, 9120 MB/s", "no error"),
    judged("smart", "/dev/sda", "16 pending sectors", "22641 hours", "healthy, no sector given up"),
    judged("disk", "/dev/sda", "first bad LBA 81923: Input/output error", "", "every sector read"),
    not_possible("smart", "/dev/vda", "/dev/vda: Unable to detect device type"),
    judged("network", "https://boot:8080", "", "941 Mbit/s over 5.0 s", "10 Mbit/s or more"),
    not_possible("network", "enp2s0", "no link: no cable, or nobody at its other end"),
    judged("clock", "battery clock", "off by -9000 days: its battery is flat", "+0.01 s in 60 s", "0.1%"),
)
_LINKS = """[{"ifname": "enp1s0", "address": "52:54:00:12:34:56", "operstate": "DOWN", "link_type": "ether",
 "addr_info": []}]"""
_NETWORK = ("", "", "", "static", "10.0.2.15", "255.255.255.0", "10.0.2.2", "", "10.0.2.3", "", "yes")


def screens():
    """Return the screens by name."""
    with tempfile.TemporaryDirectory() as name:
        where, _ = desk(Path(name), said={"ip": (0, _LINKS)})
        menu = f"{Menu(where).text()}\n{PROMPT}"
        asked = replace(FAILED, was="dbg", code="")
        shell = _talk(lambda _, terminal: Menu(where).run(terminal), where, "9")
        return {
            "boot": _boot(),
            "failed": f"{screen(FAILED)}\n{menu}",
            "asked": f"{screen(asked)}\n{menu}",
            "network": _talk(menu_changes.network, where, *_NETWORK),
            "state": _talk(menu_changes.state, where, "rins", "yes"),
            "shell": shell.rpartition(PROMPT)[0].rpartition("\n9\n")[2],
            "tests": report.text(_RESULTS),
        }


def filled(page):
    """Return the page with its screens as they are now."""
    known = screens()
    return _BLOCK.sub(lambda found: f"{found[1]}```text\n{known[found[2]].rstrip()}\n```\n", page)


def names(page):
    """Return which screens the page shows."""
    return [found[2] for found in _BLOCK.finditer(page)]


class Kept(Console):
    """A console that keeps what is said."""

    text = ""

    def say(self, text):
        self.text += f"{text}\n"


def _boot():
    console = Kept([])
    view = ConsoleView(console)
    for number, (uptime, name, data) in enumerate(_BOOT):
        view(Event(number, 0.0, uptime, "bootmanager", "", name, data))
    return console.text


def _talk(choose, where, *answers):
    person = FakeTerminal(*answers)
    with suppress(TerminalEnded):
        choose(where, person)
    return person.text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
