"""A forced reinstallation, ordered and followed: how each end of it is told, by text, JSON and status."""

import json
import time

import pytest
from click.testing import CliRunner
from rich.console import Console

from bootserver import cli, cli_reinstall, nodes, power
from bootserver.bmc import BmcRefused, BmcUnreachable
from bootserver.ipmi import Ipmi
from bootserver.live_view import LiveView
from configmanager.backends.base import Reboot
from configmanager.backends.reinstall import Reinstall
from host.run import Runner
from tests.unit.bootserver_deployment import Deployment
from tests.unit.configmanager_fakes import FakeNode
from wire.messages import TargetState
from wire.slivers import NodeSlivers
from wire.structure import structure

RUN = "r" * 32
ERROR = {
    "code": "disk-not-found",
    "title": "No such disk",
    "detail": "S-9",
    "hint": "Look for a loose cable.",
}


class Node(Deployment):
    """A server, and a node that tells what a test says."""

    def __init__(self, folder):
        super().__init__(folder)
        self.add(state=TargetState.BOOT)
        self.calls = self.client()
        self.seq = 0

    @property
    def run_id(self):
        return self.node().run_id

    def tell(self, *named, program="bootmanager", run=None, **data):
        for name in named:
            self.seq += 1
            envelope = {"seq": self.seq, "time": time.time(), "uptime": 1.0, "program": program, "boot": "1"}
            told = {**envelope, "run": self.run_id if run is None else run, "event": name, **data}
            self.calls.call("BootReportEvents", [told])

    def install(self):
        self.tell("program.started", run="")
        self.tell("state.entered", state="rins", reason="the server wants rins")
        self.tell("step.started", step="partition", title="Make the partitions")
        self.tell("step.done", step="partition", seconds=1.5)
        self.calls.call("BootUpdateNode", {"boot_state": "boot", "run_id": self.run_id})
        self.tell("chain.started", how="kexec")

    def come_up(self, level="boot", **how):
        self.tell("runlevel", program="configmanager", run_level=level, **how)

    def slivers(self):
        return structure(json.loads(self.calls.call("GetSlivers", {"form": "json"})), NodeSlivers)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "state")


@pytest.fixture
def acting(monkeypatch):
    """What happens while the command sleeps, one thing after another."""
    acts = []

    class Clock:
        late = 0.0

        def time(self):
            return time.time() + self.late

        def sleep(self, seconds):
            assert acts, "followed beyond the end"
            acts.pop(0)()

    monkeypatch.setattr(cli_reinstall, "time", Clock())
    return acts


def test_a_node_that_is_up_is_asked_to_reboot_and_followed(node, acting):
    before = node.slivers()
    acting += [lambda: asked.append(node.slivers()), node.install, node.come_up]
    asked = []
    said = node.cli("node", "reinstall", "node1", "--yes")
    assert before.reinstall == ""
    assert asked[0].reinstall == node.run_id
    assert asked[0].generation > before.generation
    assert "reboots by itself" in said
    assert "== rins: the server wants rins" in said
    assert "partition            done in    1.5 s" in said
    assert said.splitlines()[-1] == f"node1 is up: run level boot, run {node.run_id}"
    assert node.slivers().reinstall == ""


def test_an_intent_alone_reboots_nobody(node):
    node.cli("node", "state", "node1", "rins")
    assert node.slivers().reinstall == ""


def test_without_yes_nothing_is_ordered(node):
    before = node.run_id
    node.cli("node", "reinstall", "node1", status=1)
    assert node.run_id == before


def test_the_old_installation_that_still_runs_is_not_the_new_one(node, acting):
    old = node.run_id
    acting += [lambda: node.come_up(run=old), node.install, lambda: node.come_up(run=old), node.come_up]
    node.cli("node", "reinstall", "node1", "--yes")
    assert acting == []


def test_debug_mode_ends_it_with_what_the_node_said(node, acting):
    def fail():
        node.tell("error", state="rins", **ERROR)
        node.tell("state.entered", state="dbg", reason="failed")
        node.tell("debug.entered", was="rins", code="disk-not-found")

    acting.append(fail)
    said = node.cli("node", "reinstall", "node1", "--yes", status=1)
    assert "disk-not-found: No such disk: S-9 [installation-failed]" in said
    assert "Look for a loose cable." in said


def test_programs_read_events_and_one_last_line(node, acting):
    acting += [node.install, node.come_up]
    lines = [
        json.loads(line)
        for line in node.cli("node", "reinstall", "node1", "--yes", "--format", "json").splitlines()
    ]
    assert lines[0]["event"] == "reinstall.ordered"
    assert lines[-1] == {"outcome": "up", "run": node.run_id}
    assert [line["event"] for line in lines[-3:-1]] == ["chain.started", "runlevel"]


def test_following_again_begins_with_the_run(node, acting):
    def interrupt():
        raise KeyboardInterrupt

    acting.append(interrupt)
    said = node.cli("node", "reinstall", "node1", "--yes", status=130)
    assert "bootserver node follow node1" in said
    run = node.run_id
    node.install()
    node.come_up()
    assert "== rins" in node.cli("node", "follow", "node1")
    assert node.run_id == run


@pytest.fixture
def controller(node, monkeypatch):
    """A controller that lets the medium be chosen; a test says what comes of switching, which is `ends`."""

    class Controller:
        ends = None

        def boot_once_from(self, source):
            pass

        def switch(self, how):
            # Nobody may find the old run in what is said.
            assert node.node().boot_state == TargetState.RINS
            if self.ends:
                raise self.ends

    made = Controller()
    monkeypatch.setattr(cli_reinstall.power, "bmc_of", lambda master, found: made)
    with node.state.database.write() as session:
        found = nodes.find(session, "node1")
        power.keep(session, node.state.master, found, Ipmi("192.0.2.7", "operator", "secret", Runner()))
    return made


@pytest.mark.parametrize(
    ("ends", "status", "power_said"),
    [
        (BmcRefused("user operator"), 1, "its power was not switched"),
        (BmcUnreachable("waited 30 s"), 1, "its power may not have been switched"),
        (KeyboardInterrupt(), 130, "its power may not have been switched"),
    ],
)
def test_an_order_that_stands_without_its_switching_is_told(node, controller, ends, status, power_said):
    controller.ends = ends
    words = ("node", "reinstall", "node1", "--yes", "--format", "json")
    done = CliRunner().invoke(cli.main, ["--state", str(node.folder), *words])
    assert done.exit_code == status
    assert f"node1 is ordered to reinstall (run {node.run_id})" in done.stderr
    assert power_said in done.stderr
    for command in ("power node1 cycle", "follow node1", "state node1 boot"):
        assert f"bootserver node {command}" in done.stderr
    assert "no longer followed" not in done.stderr
    if status == 1:
        assert f"[{ends.code}]" in done.stderr
        last = json.loads(done.stdout.splitlines()[-1])
        assert (last["outcome"], last["code"], last["run"]) == ("failed", ends.code, node.run_id)
    # What it says can be done.
    node.cli("node", "state", "node1", "boot")
    assert node.slivers().reinstall == ""


def test_after_the_switching_an_order_goes_on_and_nothing_else_is_said(node, controller, acting):
    def interrupt():
        raise KeyboardInterrupt

    acting.append(interrupt)
    said = node.cli("node", "reinstall", "node1", "--yes", status=130)
    assert said == "no longer followed; it goes on: bootserver node follow node1\n"


def test_the_patience_begins_when_the_power_was_switched(node, controller, acting, monkeypatch):
    monkeypatch.setattr(controller, "switch", lambda how: setattr(cli_reinstall.time, "late", 60.0))
    acting += [node.install, node.come_up]
    node.cli("node", "reinstall", "node1", "--yes", "--timeout", "30")
    assert acting == []


def test_a_node_that_was_up_and_is_in_debug_mode_now_is_not_called_up(node):
    node.install()
    node.come_up()
    node.tell("program.started", run="")
    node.tell("error", state="boot", **ERROR)
    node.tell("debug.entered", was="boot", code="disk-not-found")
    assert "disk-not-found: No such disk: S-9" in node.cli("node", "follow", "node1", status=1)


def test_a_node_that_starts_over_and_over_ends_the_following(node, acting):
    acting += [node.install, *[lambda: node.tell("chain.started", how="kexec")] * 3]
    said = node.cli("node", "reinstall", "node1", "--yes", status=1)
    assert "started 4 times and never came up; the last was chain.started" in said
    assert acting == []


def test_a_node_that_stays_away_has_a_status_of_its_own(node, acting):
    acting += [
        lambda: node.tell("step.started", step="unpack", title="Unpack"),
        lambda: setattr(cli_reinstall.time, "late", 1.5),
    ]
    said = node.cli("node", "reinstall", "node1", "--yes", "--timeout", "1", status=3)
    assert "1 s without a word; the last was step.started of unpack, 2 s ago [node-never-came-back]" in said


@pytest.mark.parametrize("value", [None, "x", [], {}, float("nan"), float("inf"), 10**400, -(10**400), True])
@pytest.mark.parametrize("name", ["step.done", "step.retry", "transfer", "image.planned", "step.progress"])
def test_no_event_makes_the_view_fail(name, value, capsys):
    with LiveView(Console()) as view:
        view.event({"event": "step.started", "title": value})
        keys = (
            "seconds",
            "fraction",
            "network_bytes",
            "cache_bytes",
            "tree_bytes",
            "fetch_bytes",
            "detail",
            "step",
        )
        view.event({"event": name, **dict.fromkeys(keys, value)})
        view.event({"event": "error", "code": "\x1b[2J", "title": "[red]x[/red]"})
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[red]x[/red]" in said


def test_the_node_asks_for_one_reboot(tmp_path):
    backend = Reinstall(FakeNode(tmp_path).node)
    calm = NodeSlivers(1, 1, "node1")
    assert backend.plan(calm, backend.observe()) == ()
    wanted = NodeSlivers(1, 1, "node1", reinstall=RUN)
    (action,) = backend.plan(wanted, backend.observe())
    assert RUN in action.name
    assert isinstance(backend.apply(wanted, action), Reboot)
