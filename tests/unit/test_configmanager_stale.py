"""Of two words of the server, which is the older: also after the server's clock ran ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from configmanager import cli
from configmanager.alone import DAEMON, alone
from configmanager.clock import Clock
from configmanager.manager import Manager
from configmanager.records import Records, StaleConfiguration
from host.events import Events
from wire.messages import RunLevel
from wire.slivers import NodeSlivers, Sliver
from wire.structure import unstructure

NOW, AHEAD = 1_800_000_000, 2_200_000_000
ONE, TWO = Sliver("demo_one", 1, NOW + 86_400), Sliver("demo_two", 2, NOW + 86_400)
BEFORE = NodeSlivers(AHEAD, 1, "node1", generation=7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


def told(generation: int, timestamp: int = NOW, *slivers: Sliver) -> object:
    return unstructure(replace(BEFORE, timestamp=timestamp, generation=generation, slivers=slivers))


class Server:
    def __init__(self) -> None:
        self.reply: object = None

    def fetch(self) -> object:
        return self.reply

    def watch(self, generation: int) -> None:
        """Nobody waits."""

    def report(self, level: RunLevel) -> None:
        """Nobody wants to know."""


@pytest.mark.parametrize("generation", [7, 8])
def test_a_servers_clock_that_ran_ahead_keeps_no_newer_word_out(file: Path, generation: int) -> None:
    records = Records(file)
    records.store(unstructure(BEFORE))
    for known in (records, Records(file)):
        assert known.store(told(generation, NOW, ONE)).slivers == (ONE,)
        assert known.newest_time == NOW


@pytest.mark.parametrize("generation", [0, 6])
def test_a_word_with_an_older_number_and_time_is_refused(file: Path, generation: int) -> None:
    records = Records(file)
    records.store(unstructure(BEFORE))
    with pytest.raises(StaleConfiguration):
        records.store(told(generation, AHEAD - 1, ONE))
    assert records.load() == Records(file).load() == BEFORE


def test_where_no_number_is_told_the_time_decides(file: Path) -> None:
    records = Records(file)
    records.store(told(0, NOW))
    with pytest.raises(StaleConfiguration):
        records.store(told(0, NOW - 1, ONE))
    assert records.store(told(0, NOW + 1, ONE)).slivers == (ONE,)
    # A server that begins to number its words.
    assert records.store(told(1, NOW, TWO)).slivers == (TWO,)


def test_a_server_put_back_from_a_backup_is_believed_by_its_time(file: Path) -> None:
    records = Records(file)
    records.store(told(7, NOW, ONE))
    assert records.store(told(3, NOW + 1, TWO)).slivers == (TWO,)


def test_a_person_can_have_the_older_word(file: Path) -> None:
    records = Records(file)
    records.store(unstructure(BEFORE))
    assert records.store(told(6, NOW, ONE), older=True).slivers == (ONE,)
    assert Records(file).load() == records.load()


def test_a_word_on_one_sliver_from_a_clock_that_ran_ahead_does_not_count_for_ever(file: Path) -> None:
    records = Records(file)
    records.store(told(7, NOW, ONE))
    assert records.deliver(unstructure(replace(TWO, expires=AHEAD + 5000)), AHEAD)
    for known in (records, Records(file)):
        assert known.store(told(8, NOW + 600, ONE)).slivers == (ONE,)


def test_what_expired_by_a_clock_that_ran_ahead_is_back_when_it_is_right(file: Path, tmp_path: Path) -> None:
    records, server = Records(file), Server()
    clock = Clock(0.0, tmp_path / "clock.json")
    manager = Manager((), records, server, Events("test"), clock)
    server.reply = told(7, AHEAD, ONE)
    manager.refresh()
    records.keep_time(AHEAD + 700.0)
    assert (said := manager.said()) is not None
    assert said.slivers == ()
    server.reply = told(7, NOW, ONE)
    manager.refresh()
    assert (said := manager.said()) is not None
    assert said.slivers == (ONE,)
    # After a reboot too.
    assert Records(file).newest_time == NOW


@pytest.mark.parametrize(("words", "status"), [(["apply"], 1), (["apply", "--older"], 0)])
def test_the_command_that_takes_an_older_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], status: int
) -> None:
    records, server = Records(tmp_path / "records.sqlite"), Server()
    records.store(unstructure(BEFORE))
    server.reply = told(6, NOW, ONE)
    manager = Manager((), records, server, Events("test"), Clock(0.0, tmp_path / "clock.json"))
    monkeypatch.setattr(cli, "_assembled", lambda *_: SimpleNamespace(manager=manager))
    monkeypatch.setattr(cli, "alone", lambda role: alone(role, tmp_path))
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == status, done.output
    assert ("stale-configuration" in done.output) is (status == 1)


def test_it_is_not_for_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "alone", lambda role: alone(role, tmp_path))
    monkeypatch.setattr(cli, "daemon", lambda: 1)
    with alone(DAEMON, tmp_path):
        done = CliRunner().invoke(cli.main, ["apply", "--older"])
    assert (done.exit_code, "systemctl stop configmanager" in done.output) == (2, True)
