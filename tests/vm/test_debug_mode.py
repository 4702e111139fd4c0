"""Debug mode: a technician gets in by ssh, a person works at the console, an operator releases the node."""

import json
import subprocess

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.machine import Machine
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE

PASSWORD = "correct horse battery"


class Person:
    """Somebody at the serial line, who reads what comes after what they typed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._read = 0

    def types(self, text: str) -> None:
        self._read = len(self._machine.console())
        self._machine.type(f"{text}\n")

    def sees(self, text: str, timeout: float = limits.SOON) -> str:
        def seen() -> str:
            return self._machine.console()[self._read :]

        wait_until(f"{text!r} on the console", lambda: text in seen(), timeout)
        return seen()

    def back_at_the_menu(self, timeout: float = limits.SOON) -> str:
        """Turn pages until the menu asks again; return all that was shown."""
        before = self._read
        wait_until("the menu", lambda: self._asked(before), timeout)
        return self._machine.console()[before:]

    def _asked(self, before: int) -> bool:
        seen = self._machine.console()[self._read :]
        if "more lines" in seen:
            self.types("")
        return "Type a number" in self._machine.console()[self._read :]


def test_a_person_works_at_the_console_and_by_ssh(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    machine, person = site.machine, Person(site.machine)
    site.server.cli("console-password", stdin=f"{PASSWORD}\n")
    site.power_on()
    machine.wait_event("debug.entered", timeout=limits.BOOT)
    screen = person.back_at_the_menu()
    for told in (NODE, "10.0.2.15", "ssh root@10.0.2.15", "SHA256:", "nothing failed"):
        assert told in screen

    person.types("1")
    assert "SYSTEM01" in person.back_at_the_menu()

    person.types("4")
    person.sees("Test what?")
    person.types("all")
    person.sees("How long?")
    person.types("quick")
    machine.wait_event("hwtest.result", timeout=2 * limits.SOON, test="clock", target="battery clock")
    table = person.back_at_the_menu(limits.SOON)
    assert "Mbit/s" in table
    results = machine.events("hwtest.result")
    outcomes = {(each["test"], each["target"]): each["outcome"] for each in results}
    assert outcomes["memory", "RAM"] == "passed", results
    assert outcomes["disk", "/dev/vda"] == "passed", results
    assert outcomes["network", site.server.url] == "passed", results
    assert outcomes["clock", "system clock"] == "passed", results
    assert outcomes["smart", "/dev/vda"] == "not possible", results
    assert [machine.written(name) for name in ("system", "data", "key")] == [0, 0, 0]

    person.types("9")
    person.sees("console password")
    person.types("correct horse")
    machine.wait_event("shell.refused", timeout=limits.SOON)
    person.sees("next try")
    person.back_at_the_menu()
    person.types("9")
    person.sees("console password")
    person.types(PASSWORD)
    machine.wait_event("shell.opened", timeout=limits.SOON)
    person.sees("leads back to the menu")
    person.types("echo $(id -un) $((6*7)) at $(tty)")
    person.sees("root 42 at /dev/ttyS0")
    person.types("exit")
    machine.wait_event("shell.closed", timeout=limits.SOON)
    person.back_at_the_menu()
    assert PASSWORD not in machine.console()
    assert "correct horse" not in machine.console()

    # Somebody made this one with a label only.
    person.types("8")
    assert "[not-our-dongle]" in person.back_at_the_menu()

    # Pages: q is for the end of one, and no entry.
    said = site.shell.output("bootmanager menu", stdin="1\nq\n8\n9\n", timeout=limits.SOON)
    assert "DEBUG MODE" in said
    assert "SYSTEM01" in said
    assert "[not-our-dongle]" in said
    assert "The shell is where the menu was started" in said
    at_a_terminal = ["ssh", "-tt", *site.shell.argv()[1:]]
    typed = "9\necho $((6*7))so\nexit\n"
    done = subprocess.run(
        at_a_terminal,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Type a number" in done.stdout
    assert "42so" in done.stdout

    told = site.server.cli("node", "events", NODE, "--format", "json").splitlines()
    assert {"hwtest.result", "shell.refused", "shell.opened"} <= {json.loads(line)["event"] for line in told}

    person.types("")
    site.server.set_state(NODE, "boot")
    person.sees("The node goes on: the operator asked for boot.")


@pytest.mark.slow
def test_technician_gets_in_looks_and_the_operator_releases(installed: MakeSite) -> None:
    site = installed()
    machine = site.machine
    # Another installation is wanted, but first somebody looks.
    site.server.set_state(NODE, "inst")
    site.server.set_state(NODE, "dbg")

    site.power_on()
    machine.wait_event("debug.entered", timeout=limits.BOOT)
    assert site.shell.output("findmnt -n -o FSTYPE /").strip() == "overlay"

    plan = site.shell.output("bootmanager plan inst", timeout=limits.SOON)
    assert "will DESTROY" in plan
    assert "SYSTEM01" in plan
    assert [machine.written(name) for name in ("system", "data", "key")] == [0, 0, 0]
    assert site.server.node(NODE)["run_level"] == "safeboot"

    site.server.set_state(NODE, "boot")
    machine.wait_event("chain.started", timeout=limits.SOON)
