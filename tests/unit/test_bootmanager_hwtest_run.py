"""Hardware tests one after another: what is told of each, and that one that cannot be made stops no other."""

from dataclasses import replace

import pytest

from bootmanager.asking import WAITING
from bootmanager.hwtest import report, run
from bootmanager.hwtest.result import Outcome, judged, not_possible
from bootmanager.hwtest.run import TESTS, failed, run_tests
from host.run import CommandMissing
from host.server import ServerClient
from host.terminal import TerminalEnded
from hwdetect.content import DiskState
from hwdetect.inventory import Disk, Firmware, Inventory, Machine, Nic
from steps.base import Effect, Step, holds
from tests.unit.menu_desk import Busy, desk
from wire.errors import BootError, ConfigurationError

DISK = Disk("/dev/vda", "m", "s", "", 2**30, "virtio", False, False, False, 512, DiskState.BLANK)
INVENTORY = Inventory(
    Machine("", "", ""), Firmware.BIOS, 1, 2**30, (DISK, replace(DISK, path="/dev/vdb")),
    (Nic("eth0", "52:54:00:12:34:56", "", "", ""),), (),
)  # fmt: skip


class Found(Step):
    name, title, effect = "found", "Find it", Effect.READS

    def __init__(self, fact):
        self.fact = fact

    def observe(self, context):
        if isinstance(self.fact, BootError):
            raise self.fact
        return holds(self.fact)


class NoKey(ConfigurationError):
    code, title, hint = "hwtest-no-key", "No key", "None."


NO_SERVER = (INVENTORY, NoKey("none"))


@pytest.fixture
def tested(monkeypatch, tmp_path):
    """Run tests; return results, what was told, and what was said."""
    monkeypatch.setattr(
        run.memory, "check", lambda run, long, progress: judged("memory", "RAM", "", "fine", "x")
    )
    monkeypatch.setattr(
        run.disk,
        "check",
        lambda disk, seconds, progress: judged("disk", disk.path, "bad" * bool(seconds), "", "x"),
    )
    monkeypatch.setattr(run.smart, "check", missing)
    monkeypatch.setattr(run.clock, "tick", lambda: None)

    def one(*names, facts=NO_SERVER, long=False, progress=None):
        monkeypatch.setattr(run, "steps_for", lambda state: [Found(fact) for fact in facts])
        where, told = desk(tmp_path)
        said, clients = [], []
        results = run_tests(
            where.host, names, long=long, progress=progress or said.append, connect=clients.append
        )
        return results, told, said, clients

    return one


def bad_where_bounded(disk, seconds, progress):
    return judged("disk", disk.path, "bad" if seconds else "", "", "x")


def missing(run, path, drive_test):
    raise CommandMissing("smartctl")


def test_each_result_is_an_event_and_a_word(tested):
    results, told, said, _ = tested("memory", "disk")
    disks = [(test, f"/dev/{name}") for name in ("vda", "vdb") for test in ("smart", "disk")]
    assert [(each.test, each.target) for each in results] == [("memory", "RAM"), *disks]
    assert told[0] == ("hwtest.started", {"tests": ["memory", "disk"], "long": False})
    assert [name for name, _ in told[1:]] == ["hwtest.result"] * 5
    assert told[3][1]["outcome"] == "failed"
    assert "disk /dev/vda: failed" in said


def test_who_has_to_wait_for_the_nodes_own_check_in_is_told_so(tested, tmp_path):
    said = []
    with Busy(tmp_path) as worker:
        tested("memory", progress=lambda text: said.append(text) or worker.hears(text))
    assert said.count(WAITING) == 1
    _, _, said, _ = tested("memory")
    assert WAITING not in said


def test_a_missing_tool_stops_no_other_test(tested):
    results, _, _, _ = tested(*TESTS)
    by_name = {(each.test, each.target): each for each in results}
    assert by_name["smart", "/dev/vda"].outcome is Outcome.NOT_POSSIBLE
    assert "[command-missing]" in by_name["smart", "/dev/vda"].detail
    assert by_name["memory", "RAM"].outcome is Outcome.PASSED


def test_without_a_server_the_tests_that_need_it_say_why(tested):
    results, _, _, clients = tested("network", "clock")
    assert clients == []
    why = {each.target: each.detail for each in results if each.outcome is Outcome.NOT_POSSIBLE}
    assert "[hwtest-no-key]" in why["server"]
    assert "[hwtest-no-key]" in why["system clock"]


def test_results_go_to_a_server_that_is_there(tested):
    client = ServerClient.__new__(ServerClient)
    _, _, _, clients = tested("memory", facts=(INVENTORY, client))
    assert clients == [client]


def test_it_ends_when_the_conversation_does(tested):
    def progress(text):
        if text.startswith("memory"):
            raise TerminalEnded("the node goes on")

    with pytest.raises(TerminalEnded):
        tested("memory", "disk", progress=progress)


def test_a_long_test_of_a_disk_has_no_bound(tested):
    results, _, _, _ = tested("disk", long=True)
    assert not failed(results)


def test_the_table_says_all_and_fits(tested):
    rows = report.text(
        [judged("disk", "/dev/vda", "first bad LBA 12", "x" * 99, "y"), not_possible("smart", "z", "")]
    )
    assert "first bad LBA 12" in rows
    assert "(limit: y)" in rows
    assert max(len(row) for row in rows.splitlines()) < 80
