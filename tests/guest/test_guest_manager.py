"""The manager's loop on a real systemd: killed anywhere, asked to work now, on a full disk."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import passes
from configmanager.alone import ask, daemon
from configmanager.backends.services import Services
from tests.guest.waiting import eventually
from wire.slivers import NodeService, NodeSlivers
from wire.structure import unstructure

UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
DRIVER = "bm-driver.service"
BEFORE = NodeSlivers(1, 1, "guest", services=tuple(NodeService(name, UNIT) for name in ("old", "by", "same")))
AFTER = replace(
    BEFORE,
    timestamp=2,
    services=(
        NodeService("new", UNIT),
        NodeService("same", UNIT.replace("infinity", "7777777")),
        BEFORE.services[1],
    ),
)


@pytest.fixture
def folder(guest, tmp_path):
    yield tmp_path
    subprocess.run(["systemctl", "stop", DRIVER], capture_output=True)
    backend = Services(guest.node)
    for item in backend.observe():
        backend.teardown(item.name)


def say(folder, wanted):
    (folder / "reply.json").write_text(json.dumps(unstructure(wanted)))


def drive(folder, number):
    """Make one pass, or be killed before the command of that number."""
    words = [sys.executable, "-B", "-m", "tests.guest.manager_driver", str(folder), str(number)]
    return subprocess.run(words, timeout=120).returncode


def start(folder):
    """Run the loop as a unit, as on a node."""
    here = Path(__file__).parents[2]
    words = ["systemd-run", "--quiet", f"--unit={DRIVER}", f"--working-directory={here}"]
    properties = ["--property=Restart=always", "--property=RestartSec=0", "--property=KillMode=mixed"]
    line = [sys.executable, "-B", "-m", "tests.guest.manager_driver", str(folder)]
    subprocess.run([*words, *properties, *line], check=True)
    return eventually(lambda: passes.last(folder / "pass.json"), what="the first pass")


def process_of(unit):
    words = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def test_a_kill_before_any_command_is_made_good_by_the_next_pass(guest, folder):
    backend, number = Services(guest.node), 0
    while not (folder / "alive").exists():
        number += 1
        say(folder, replace(BEFORE, timestamp=10 * number))
        assert drive(folder, 10_000) == 0
        (folder / "alive").unlink()
        bystander = process_of("bm-by.service")
        wanted = replace(AFTER, timestamp=10 * number + 1)
        say(folder, wanted)
        status = drive(folder, number)
        assert status in (0, -9)
        if status == -9:
            assert drive(folder, 10_000) == 0
            (folder / "alive").unlink()
        assert backend.plan(wanted, backend.observe()) == ()
        assert process_of("bm-by.service") == bystander > 0, "who is not concerned does not notice"
        assert process_of("bm-new.service") > 0
        assert not list(Path("/etc/systemd/system").rglob("bm-old*"))
    assert number > 10, "one kill for each command of the pass"


def test_a_daemon_that_is_killed_and_asked_goes_on(folder):
    say(folder, BEFORE)
    start(folder)
    bystander = process_of("bm-by.service")
    first = daemon(folder)
    subprocess.run(["systemctl", "kill", "--signal=KILL", DRIVER], check=True)
    second = eventually(lambda: (found := daemon(folder)) != first and found, what="another daemon")
    eventually(lambda: process_of(DRIVER) == second, what="its unit")
    say(folder, AFTER)
    outcome = ask(second, lambda: None, folder / "pass.json")
    assert (outcome.failed, outcome.answered) == ((), True)
    assert process_of("bm-new.service") > 0
    assert process_of("bm-by.service") == bystander


def test_a_full_disk_leaves_what_there_is_and_is_made_good(folder):
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        say(disk, BEFORE)
        start(disk)
        bystander = process_of("bm-by.service")
        big = (*AFTER.services, NodeService("big", UNIT + "# " + "x" * 20_000 + "\n"))
        say(disk, replace(AFTER, services=big))
        filler = disk / "filler"
        full = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], capture_output=True)
        assert full.returncode == 1
        subprocess.run(["systemctl", "kill", "--signal=HUP", DRIVER], check=True)
        assert process_of("bm-new.service") == 0
        filler.unlink()
        outcome = ask(daemon(disk), lambda: None, disk / "pass.json")
        assert outcome.failed == ()
        assert process_of("bm-new.service") > 0
        assert process_of("bm-by.service") == bystander
    finally:
        subprocess.run(["systemctl", "stop", DRIVER], check=True)
        subprocess.run(["umount", disk], check=True)
