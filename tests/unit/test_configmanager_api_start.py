"""The API within the daemon: what it is made of, that nothing depends on it, and the key of tickets."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from configmanager import cli, takeover
from configmanager.api import shell
from configmanager.api.node import NodeSide
from configmanager.api.start import ApiUnavailable
from configmanager.backends.services import Services
from configmanager.backends.slivers import Slivers
from configmanager.clock import Clock
from configmanager.decisions import FILE, Decisions
from configmanager.manager import Manager
from configmanager.records import Records, WrongNode
from host.events import Events
from host.report import ServerSink
from host.run import Runner
from hwdetect.media import Candidate
from tests.unit.configmanager_fakes import FakeNode
from wire.handoff import Handoff
from wire.session import NodeKey
from wire.tickets import TicketKey

KEY = NodeKey(bytes(range(32)))
MEDIUM = f'NODE_ID="7"\nNODE_KEY="{KEY.to_text()}"\nBOOT_SERVER="http://server:8080"\n'


def handoff(node_id: int = 7) -> Handoff:
    return Handoff(run_id="run", node_id=node_id, hostname="node1", server="http://server:8080")


def parts(tmp_path: Path, *, with_slivers: bool = True) -> cli._Assembled:
    fake = FakeNode(tmp_path)
    backends = (Services(fake.node), *((Slivers(fake.node),) if with_slivers else ()))
    records, decisions = Records(tmp_path / "records"), Decisions(tmp_path)
    clock = Clock(0.0, tmp_path / "clock")
    manager = Manager(backends, records, None, fake.node.events, clock, decisions.applied)  # type: ignore[arg-type]
    return cli._Assembled(manager, backends, records, decisions, handoff())


def test_calls_reach_the_daemons_own_parts(tmp_path, monkeypatch):
    served: list[NodeSide] = []
    monkeypatch.setattr(cli.api, "serve", lambda node, _: served.append(node))
    made = parts(tmp_path)
    cli._open_api(made, Events("test"))
    (node,) = served
    assert (node.manager, node.words, node.decisions) == (made.manager, made.records, made.decisions)
    assert node.slivers is made.backends[1]


def test_a_node_without_slivers_has_no_api(tmp_path, monkeypatch):
    monkeypatch.setattr(cli.api, "serve", lambda *_: pytest.fail("it was served"))
    cli._open_api(parts(tmp_path, with_slivers=False), Events("test"))


def test_a_port_that_is_taken_is_told_and_stops_nothing(tmp_path, monkeypatch):
    def taken(*_: object) -> None:
        raise ApiUnavailable("address in use")

    monkeypatch.setattr(cli.api, "serve", taken)
    told = []
    cli._open_api(parts(tmp_path), Events("test", (told.append,)))
    assert [event.data["code"] for event in told] == ["api-unavailable"]


def test_a_damaged_list_of_decisions_is_told_and_stops_nothing(tmp_path, monkeypatch):
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text("{")
    monkeypatch.setattr(cli, "read_handoff", handoff)
    monkeypatch.setattr(cli, "Records", lambda: Records(tmp_path / "records"))
    monkeypatch.setattr(cli, "Decisions", lambda: Decisions(tmp_path))
    monkeypatch.setattr(cli, "Clock", lambda known: Clock(known, tmp_path / "clock"))
    told = []
    assert cli._assembled(Events("test", (told.append,)), ServerSink()).decisions.mend() is None
    (error,) = [event.data for event in told if event.event == "error"]
    assert (error["code"], "loans" in error["hint"]) == ("decisions-damaged", True)


def test_the_operators_call_ends_with_its_status(monkeypatch):
    asked = []
    monkeypatch.setattr(shell, "call", lambda words: asked.append(words) or 1)
    assert CliRunner().invoke(cli.main, ["call", "Start", "demo_one"]).exit_code == 1
    assert asked == [["Start", "demo_one"]]


def test_tickets_are_read_by_the_key_on_the_medium(monkeypatch):
    candidates = (Candidate("/dev/sdb1", "/dev/sdb", "plnode.txt", MEDIUM),)
    monkeypatch.setattr(takeover, "_candidates", lambda *_: candidates)
    found = takeover.ticket_key(Runner(), Events("test"), handoff())
    assert found == TicketKey.derive(KEY, 7)
    with pytest.raises(WrongNode):
        takeover.ticket_key(Runner(), Events("test"), handoff(8))
