"""The manager's loop on a real systemd: killed anywhere, asked to work now, a wrong clock, a full disk."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import passes
from configmanager.alone import ask, daemon
from configmanager.backends.base import Node
from configmanager.backends.services import Services
from configmanager.backends.units import sliver_slice
from configmanager.records import DiskTrouble, Records
from host.events import Events
from host.run import Runner
from tests.guest import manager_driver
from tests.guest.waiting import eventually, forked
from wire.slivers import NodeService, NodeSlivers, Sliver
from wire.structure import unstructure

UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
DRIVER = "bm-driver.service"
BY, ONE, TWO = (NodeService(name, UNIT) for name in ("by", "one", "two"))
# An emulated machine on a busy host takes seconds for each command.
PASS_SECONDS = 600
YEAR = 365 * 86400
# No pass has so many commands.
WHOLE = 10_000


def wanted(timestamp, *services):
    return NodeSlivers(timestamp, 1, "guest", services=services)


@pytest.fixture
def backend():
    """The services of this system, which has none afterwards."""
    found = Services(Node(Runner(), Events("test"), lambda *_: None))
    yield found
    subprocess.run(["systemctl", "stop", DRIVER], capture_output=True)
    for item in found.observe():
        found.teardown(item.name)


def say(folder, wanted):
    (folder / "reply.json").write_text(json.dumps(unstructure(wanted)))


def drive(folder, number):
    """Make one pass, or be killed before the command of that number."""
    return forked(manager_driver.drive, folder, number, seconds=PASS_SECONDS)


def start(folder):
    """Run the loop as a unit, as on a node."""
    here = Path(__file__).parents[2]
    words = ["systemd-run", "--quiet", f"--unit={DRIVER}", f"--working-directory={here}"]
    properties = ["--property=Restart=always", "--property=RestartSec=0", "--property=KillMode=mixed"]
    properties.append(f"--setenv=PYTHONPYCACHEPREFIX={os.environ['PYTHONPYCACHEPREFIX']}")
    line = [sys.executable, "-m", "tests.guest.manager_driver", str(folder)]
    subprocess.run([*words, *properties, *line], check=True)
    eventually(lambda: passes.last(folder / "pass.json"), seconds=PASS_SECONDS, what="the first pass")


def process_of(unit):
    words = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_a_kill_before_any_command_is_made_good_by_the_next_pass(backend, tmp_path):
    say(tmp_path, wanted(1, BY, ONE))
    assert drive(tmp_path, WHOLE) == 0
    bystander = process_of("bm-by.service")
    number, killed = 0, True
    while killed:
        number += 1
        # One service goes and another one comes.
        now, before = ((TWO, ONE), (ONE, TWO))[(number + 1) % 2]
        say(tmp_path, wanted(number + 1, BY, now))
        status = drive(tmp_path, number)
        assert status in (0, -9)
        killed = status != 0
        if killed:
            assert drive(tmp_path, WHOLE) == 0
        assert process_of("bm-by.service") == bystander > 0, "who is not concerned does not notice"
        assert process_of(f"bm-{now.name}.service") > 0
        assert not list(Path("/etc/systemd/system").rglob(f"bm-{before.name}*"))
    assert number > 8, "one kill for each command of the pass"
    assert backend.plan(wanted(1, BY, now), backend.observe()) == ()


@pytest.mark.usefixtures("backend")
def test_a_daemon_that_is_killed_and_asked_goes_on(tmp_path):
    say(tmp_path, wanted(1, BY))
    start(tmp_path)
    bystander = process_of("bm-by.service")
    first = daemon(tmp_path)
    subprocess.run(["systemctl", "kill", "--signal=KILL", DRIVER], check=True)
    second = eventually(lambda: (found := daemon(tmp_path)) != first and found, what="another daemon")
    say(tmp_path, wanted(2, BY, ONE))
    outcome = ask(second, lambda: None, tmp_path / "pass.json")
    assert (outcome.failed, outcome.answered) == ((), True)
    assert process_of("bm-one.service") > 0
    assert process_of("bm-by.service") == bystander


@pytest.fixture
def set_clock():
    """Sets the system's clock ahead by so many seconds of what is right, for the length of a test."""
    offset = time.time() - time.monotonic()

    def ahead(seconds):
        time.clock_settime(time.CLOCK_REALTIME, offset + time.monotonic() + seconds)

    yield ahead
    ahead(0)


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_a_clock_that_jumps_makes_nobody_expire(tmp_path, set_clock):
    said = wanted(int(time.time()), BY)
    sliver = Sliver("load_a", 1, said.timestamp + 3600)
    say(tmp_path, replace(said, slivers=(sliver,)))
    start(tmp_path)
    bystander = process_of("bm-by.service")
    limits = Path("/etc/systemd/system", f"{sliver_slice('load-a')}.d")
    assert limits.is_dir()
    for years in (10, -10):
        set_clock(years * YEAR)
        assert ask(daemon(tmp_path), lambda: None, tmp_path / "pass.json").done == 0
    # Nor does one that begins with such a clock believe it.
    first = daemon(tmp_path)
    set_clock(10 * YEAR)
    subprocess.run(["systemctl", "kill", "--signal=KILL", DRIVER], check=True)
    second = eventually(lambda: (found := daemon(tmp_path)) != first and found, what="another daemon")
    assert ask(second, lambda: None, tmp_path / "pass.json").failed == ()
    assert limits.is_dir()
    assert process_of("bm-by.service") == bystander
    # It was there to be removed.
    say(tmp_path, replace(said, timestamp=said.timestamp + 1))
    assert ask(second, lambda: None, tmp_path / "pass.json").failed == ()
    assert not limits.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_a_full_disk_leaves_what_there_is_and_is_made_good(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    try:
        say(disk, wanted(1, BY))
        start(disk)
        bystander = process_of("bm-by.service")
        filler = disk / "filler"
        say(disk, wanted(2, BY, NodeService("one", UNIT + "# " + "x" * 20_000 + "\n")))
        full = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], capture_output=True)
        assert full.returncode == 1
        records = Records(disk / "records.sqlite")
        with pytest.raises(DiskTrouble):
            records.store(json.loads((disk / "reply.json").read_text()))
        # What it knew is still whole, for the daemon and after a reboot.
        assert Records(disk / "records.sqlite").load() == wanted(1, BY)
        filler.unlink()
        outcome = ask(daemon(disk), lambda: None, disk / "pass.json")
        assert outcome.failed == ()
        assert process_of("bm-one.service") > 0
        assert process_of("bm-by.service") == bystander
    finally:
        subprocess.run(["systemctl", "stop", DRIVER], check=True)
        subprocess.run(["umount", disk], check=True)
