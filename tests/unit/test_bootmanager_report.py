"""What is in a report, and what is not: secrets, and more than the server takes."""

import json
import random

import pytest

from bootmanager import report, send_report
from bootmanager.machine import State
from bootmanager.send_report import FailureReport
from host.console import Console
from host.events import Events
from host.journal import Journal
from host.options import Options
from host.ports import Host
from host.run import Completed, Runner
from host.server import CallRefused, ServerClient, ServerTrouble
from hwdetect.disks import NoDisk
from hwdetect.media import Media
from steps.base import Effect, Facts, Step, holds
from tests.host.secret_forms import Search
from tests.recorded_machines import recording_of
from tests.unit.field_report import CONFIGURATION, KEY, TEXT, NoCommands, facts_of, report_of
from tests.unit.test_bootmanager_replay import members_of
from wire.reports import METHOD


def test_no_key_is_in_it_wherever_it_was_written_down(tmp_path):
    class Leaky(Runner):
        def __call__(self, argv, **_):
            return Completed(tuple(argv), 0, f"{argv[0]} {KEY.secret.hex()} {TEXT}", "", 0.0)

    (tmp_path / "events.jsonl").write_text(
        json.dumps({"event": "x", "detail": KEY.to_text(), "proxy": CONFIGURATION.proxy})
        + "\nno JSON "
        + TEXT
    )
    (tmp_path / "bootmanager.log").write_text(f"run: {KEY.secret!r}\n")
    search = Search()
    search.add("node key", KEY.secret)
    search.secrets["proxy"] = {b"u:pw"}
    members = members_of(report_of("emmc", tmp_path, run=Leaky()))
    assert {"journal.txt", "dmesg.txt", "lsblk.json", "events.jsonl", "bootmanager.log"} <= members.keys()
    for name, content in members.items():
        search.look(name, content)
    assert search.found == []
    said = json.loads(members["configuration.json"])
    assert (said["node_id"], said["server"], said["network"]["method"]) == (7, CONFIGURATION.server, "dhcp")
    assert said["proxy"] == "http://[redacted]@p/"
    first, _ = members["events.jsonl"].splitlines()[:2]
    assert json.loads(first)["event"] == "x"


def test_what_could_not_be_had_is_said(tmp_path):
    members = members_of(report_of("emmc", tmp_path, cause=NoDisk("none at all")))
    about = json.loads(members["about.json"])
    assert (about["code"], about["detail"], about["state"]) == ("no-disk", "none at all", "inst")
    assert any(line.startswith("dmesg.txt") for line in about["missing"])


def test_logs_make_room_until_the_server_takes_it(tmp_path, monkeypatch):
    most = 64 * 1024
    monkeypatch.setattr(report, "MAXIMUM_BYTES", most)
    (tmp_path / "bootmanager.log").write_text(random.Random(1).randbytes(2 * most).hex() + "the end")
    archive = report_of("emmc", tmp_path)
    assert most // 4 < len(archive) <= most
    assert members_of(archive)["bootmanager.log"].endswith(b"the end")


class Client:
    """Takes the place of a ServerClient among the facts."""

    @classmethod
    def made(cls, *answers):
        made = ServerClient.__new__(ServerClient)
        made.calls, left = [], list(answers)

        def call(method, *params):
            made.calls.append((method, *params))
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        made.call = call
        return made


@pytest.fixture
def told():
    return []


@pytest.fixture
def failure(told, tmp_path, monkeypatch):
    host = Host(NoCommands(), None, Events("test", (told.append,)), Console([]), Options(), tmp_path)
    monkeypatch.setattr("os.nice", lambda more: None)
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread._target(*thread._args))
    return FailureReport(host)


def test_a_failure_sends_one_report_a_boot(failure, told, tmp_path):
    client = Client.made(5)
    facts = facts_of("emmc", client, Journal(tmp_path / "journal.jsonl"))
    for _ in range(3):
        failure.begin(facts, State.INST, NoDisk("none"))
    ((method, sent),) = client.calls
    assert (method, sent["code"]) == (METHOD, "no-disk")
    assert "recording.json" in members_of(sent["archive"])
    assert [(event.event, event.data["id"]) for event in told] == [("report.sent", 5)]


@pytest.mark.parametrize(
    ("error", "again"), [(ServerTrouble("fault 106"), True), (CallRefused("fault 102: too long"), False)]
)
def test_a_report_that_is_not_taken_is_an_event(failure, told, error, again):
    client = Client.made(error, 6)
    for _ in range(2):
        failure.begin(facts_of("emmc", client), State.INST, NoDisk("none"))
    assert [event.event for event in told] == ["report.unsent", *(["report.sent"] if again else [])]
    assert told[0].data["code"] == error.code


def test_without_a_server_nothing_is_sent_and_the_next_failure_may(failure, told):
    failure.begin(Facts(), State.AUTO, NoDisk("none"))
    assert told == []
    client = Client.made(7)
    failure.begin(facts_of("emmc", client), State.INST, NoDisk("none"))
    assert len(client.calls) == 1


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What a person asks for, on a machine whose network fails, or leads to a client."""

    def ask(place, *, stick=False, client=None, detected=True):
        def step(name, found):
            class Fake(Step):
                effect = Effect.READS

                def observe(self, context):
                    ran.append(name)
                    if isinstance(found, Exception):
                        raise found
                    return holds(*found)

            Fake.name = Fake.title = name
            return Fake()

        ran = []
        hardware = (recording_of("emmc"), Media(boot=("/dev/sr0",)))
        network = NoDisk("no network") if client is None else (client,)
        found = hardware if detected else NoDisk("nothing detected")
        steps = (step("detect_hardware", found), step("network", network))
        monkeypatch.setattr(send_report, "steps_for", lambda state: steps)
        written = []
        for name in ("write_to", "write_to_stick"):
            monkeypatch.setattr(
                send_report, name, lambda *words, _name=name: written.append((_name, *words)) or "there"
            )
        host = Host(NoCommands(), None, Events("test"), Console([]), Options(), tmp_path)
        return ran, written, lambda: send_report.report_now(host, place, stick=stick)

    return ask


@pytest.mark.parametrize("stick", [False, True])
def test_a_report_is_written_without_a_network(asked, tmp_path, stick):
    ran, written, ask = asked(None if stick else tmp_path / "r.tgz", stick=stick)
    assert ask() == "written: there"
    assert ran == ["detect_hardware"]
    ((name, *words),) = written
    assert name == ("write_to_stick" if stick else "write_to")
    assert "recording.json" in members_of(words[1])
    assert words[2] == Media(boot=("/dev/sr0",))


def test_asked_for_nowhere_else_it_is_sent(asked):
    client = Client.made(9)
    _, written, ask = asked(None, client=client)
    assert ask().startswith("sent: report 9, ")
    assert written == []


def test_without_a_server_it_says_why_not(asked):
    _, written, ask = asked(None)
    with pytest.raises(NoDisk, match="no network"):
        ask()
    assert written == []


def test_nothing_is_written_where_the_nodes_media_are_not_known(asked, tmp_path):
    _, written, ask = asked(tmp_path / "r.tgz", detected=False)
    with pytest.raises(NoDisk, match="nothing detected"):
        ask()
    assert written == []
