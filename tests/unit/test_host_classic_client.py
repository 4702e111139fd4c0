"""A node that speaks the classic protocol: with this project's server, and with servers that have less."""

import json
from dataclasses import replace
from xmlrpc.client import Fault

import pytest
from bootserver_deployment import Deployment
from hypothesis import given
from hypothesis import strategies as st

from host.classic_client import (
    ClassicClient,
    MethodUnknown,
    NotClassic,
    ServerTrouble,
    UnknownClassicState,
    client_for,
)
from host.classic_run import STATES, ClassicRun, ForgetfulMemory
from host.console import Console
from host.events import Events
from host.http import NotAtServer, ServerUnreachable
from host.journal import Journal
from host.network import NetworkUp
from host.options import Options
from host.ports import Host
from host.report import ServerSink
from host.run import Runner
from host.server import AuthenticationRefused, CallRefused, ServerClient
from images.cache import Cache
from images.documents import Documents
from images.run_memory import RunRecord
from steps.base import Context, Facts
from steps.check_in import CheckIn
from steps.set_clock import SetClock
from tests.classic_boot_managers import value_of
from wire import xmlrpc
from wire.errors import TransientError
from wire.messages import NodeDetails, RunLevel, TargetState
from wire.nodeconf import NodeConfiguration, Protocol, parse
from wire.structure import MalformedMessage, structure

KEY = "0123456789abcdef0123456789abcdef"
MANIFEST = "a" * 64


def configuration(protocol="plcapi", key=KEY, node_id=1):
    return parse(
        f'NODE_ID="{node_id}"\nNODE_KEY="{key}"\nBOOT_SERVER="http://plc"\nHOST_NAME="Node1"\n'
        f'PROTOCOL="{protocol}"\nBASE_IMAGE="base@{MANIFEST}"\n',
        "the medium",
    )


class Web:
    """Stands where HttpClient stands, before an application in memory."""

    base_url = "http://plc"

    def __init__(self, web):
        self.web, self.sent = web, []

    def post(self, path, body, *, content_type, limit):
        self.sent.append((path, body))
        answer = self.web.post(path, content=body, headers={"Content-Type": content_type})
        if answer.status_code == 404:
            raise NotAtServer(path)
        assert answer.status_code == 200, answer.text
        return answer.content


class OldServer:
    """A PLCAPI of which only the answers are known: what it does not have is fault 100."""

    base_url = "http://plc"

    def __init__(self, **answers):
        self.answers, self.calls, self.logs = answers, [], []

    def post(self, path, body, *, content_type, limit):
        if path != "/PLCAPI/":
            self.logs.append(body)
            if "upload" in self.answers:
                raise self.answers["upload"]
            return b""
        method, (auth, *params) = xmlrpc.load_call(body)
        self.calls.append((method, auth, params))
        answer = self.answers.get(method, Fault(100, f"Invalid method {method}"))
        answer = answer(auth, params) if callable(answer) else answer
        if isinstance(answer, Fault):
            return xmlrpc.dump_fault(answer.faultCode, answer.faultString)
        return xmlrpc.dump_reply(answer)

    def called(self, method):
        return [params for name, _, params in self.calls if name == method]


def record(boot_state="boot", **more):
    return {"hostname": "node1.example.org", "boot_state": boot_state, "model": "", **more}


def client(server, protocol="plcapi", memory=None):
    return ClassicClient(server, configuration(protocol), "10.0.0.7", memory)


def details(of):
    return structure(of.call("BootGetNodeDetails"), NodeDetails)


# With this project's own server.


@pytest.fixture
def server(tmp_path):
    deployment = Deployment(tmp_path / "state")
    deployment.add()
    (tmp_path / "key").write_text(KEY)
    deployment.cli("node", "classic", "node1", "--on", "--key-file", tmp_path / "key")
    return deployment


@pytest.mark.parametrize("protocol", ["plcapi", "plcapi-session"])
@pytest.mark.parametrize("state", ["new", "inst", "rins"])
def test_an_installation_from_check_in_to_boot(server, protocol, state):
    server.cli("node", "state", "node1", state)
    node = client(Web(server.web), protocol)
    first = details(node)
    assert (first.hostname, first.boot_state) == ("node1", state)
    assert (first.base_image.name, first.base_image.manifest) == ("base", MANIFEST)
    assert node.call("ReportRunlevel", {"run_level": "reinstall"}) == 1
    assert server.node().run_level == "reinstall"
    report = {"boot_state": "boot", "run_id": first.run_id, "ssh_host_key": "ssh-x AA\n", "inventory": {}}
    assert node.call("BootUpdateNode", report) == 1
    assert server.node().boot_state == "boot"
    assert server.node().ssh_host_keys == ["ssh-x AA"]
    assert details(node).boot_state is TargetState.BOOT
    told = server.operator.get("/api/nodes/node1/events").json()
    assert [event["code"] for event in told] == ["installfinished"]


@pytest.mark.parametrize("protocol", ["plcapi", "plcapi-session"])
def test_a_wrong_key_and_an_unmarked_node_are_refused(server, protocol):
    wrong = ClassicClient(Web(server.web), configuration(protocol, key=KEY[::-1]))
    with pytest.raises(AuthenticationRefused):
        details(wrong)
    node = client(Web(server.web), protocol)
    details(node)
    server.cli("node", "classic", "node1", "--off")
    with pytest.raises(AuthenticationRefused):
        details(node)


def test_a_session_that_the_server_forgot_is_opened_anew(server):
    node = client(Web(server.web), "plcapi-session")
    details(node)
    client(Web(server.web), "plcapi-session").call("BootGetNodeDetails")
    assert details(node).hostname == "node1"


def test_the_log_is_sent_when_a_boot_ends(server):
    node = client(Web(server.web))
    details(node)
    sink = ServerSink(pause_seconds=0)
    events = Events("bootmanager", (sink,))
    sink.connect(node)
    events.tell("step.started", step="x")
    events.tell("chain.started", how="kexec")
    assert sink.flush(30)
    assert server.node().run_level == "boot"
    (log,) = (server.folder / "classic/logs/1").iterdir()
    told = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert told == ["step.started", "chain.started"]


def test_the_steps_of_the_start_by_the_classic_protocol(server, tmp_path, monkeypatch):
    monkeypatch.setattr("host.classic_client.http_of", lambda _: Web(server.web))
    told = []
    host = Host(Runner(), None, Events("t", (told.append,)), Console([]), Options(), tmp_path / "ram")
    known = (
        configuration(),
        NetworkUp("eth0", "52:54:00:AB:CD:EF", "10.0.0.7", "10.0.0.1"),
        Journal(tmp_path / "journal"),
        Cache(None, Events("t")),
    )
    clock = SetClock().observe(Context(host, Facts(known)))
    assert clock.holds
    proven = Facts((*known, *clock.facts))
    assert isinstance(proven[ServerClient], ClassicClient)
    after = Facts(CheckIn().observe(Context(host, proven)).facts)
    assert after[NodeDetails].boot_state is TargetState.INST
    assert [event.event for event in told] == ["clock.unknown"]
    # One boot remembers its run, without a dongle too.
    reborn = Facts((*known, *SetClock().observe(Context(host, Facts(known))).facts))
    again = Facts(CheckIn().observe(Context(host, reborn)).facts)
    assert again[NodeDetails] == after[NodeDetails]


# With servers that have less, or say more.


def test_calls_carry_what_the_scheme_says():
    server = OldServer(BootGetNodeDetails=record(), ReportRunlevel=1)
    node = client(server)
    node.call("BootGetNodeDetails")
    node.call("ReportRunlevel", {"run_level": "failboot"})
    for _, auth, params in server.calls:
        wanted = {"AuthMethod": "hmac", "node_id": 1, "node_ip": "10.0.0.7"}
        assert auth == {**wanted, "value": value_of(KEY, params)}


def test_in_a_session_only_the_first_call_is_signed():
    server = OldServer(GetSession="s" * 44, BootGetNodeDetails=record(), ReportRunlevel=1)
    node = client(server, "plcapi-session")
    node.call("BootGetNodeDetails")
    node.call("ReportRunlevel", {"run_level": "boot"})
    assert [(name, auth["AuthMethod"]) for name, auth, _ in server.calls] == [
        ("GetSession", "hmac"),
        ("BootGetNodeDetails", "session"),
        ("ReportRunlevel", "session"),
    ]


def test_a_server_without_the_call_of_2007():
    server = OldServer(GetNodes=[record("reinstall")])
    found = details(client(server))
    assert (found.hostname, found.boot_state) == ("node1.example.org", TargetState.RINS)
    assert server.called("GetNodes") == [[1, ["hostname", "boot_state", "model"]]]


@pytest.mark.parametrize("answer", [[], {}, "x", [{}], [record(model=None)]])
def test_a_record_of_another_shape(answer):
    with pytest.raises(MalformedMessage):
        details(client(OldServer(GetNodes=answer)))


@pytest.mark.parametrize(("said", "meant"), sorted(STATES.items()))
def test_states_of_both_times(said, meant):
    assert details(client(OldServer(BootGetNodeDetails=record(said)))).boot_state is meant


@pytest.mark.parametrize("said", ["upgrade", "rcnf", "", "RINS", "flying"])
def test_a_state_that_is_none_of_ours_is_not_mistaken_for_one(said):
    with pytest.raises(UnknownClassicState):
        details(client(OldServer(BootGetNodeDetails=record(said))))


def test_a_model_flag_lets_small_hardware_pass():
    small = details(client(OldServer(BootGetNodeDetails=record(model="Dell 2950/smp/minhw"))))
    assert (small.minimum.memory_mib, small.minimum.disk_mib) == (1, 1)
    assert details(client(OldServer(BootGetNodeDetails=record(model="minhw")))).minimum.disk_mib > 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (100, MethodUnknown),
        (101, CallRefused),
        (102, CallRefused),
        (103, AuthenticationRefused),
        (106, ServerTrouble),
        (108, CallRefused),
        (109, CallRefused),
        (111, ServerTrouble),
        (7, CallRefused),
    ],
)
def test_faults(code, error):
    fault = Fault(code, "said why")
    server = OldServer(BootGetNodeDetails=fault, GetNodes=fault)
    with pytest.raises(error, match="said why") as raised:
        details(client(server))
    assert type(raised.value) is error
    assert isinstance(raised.value, TransientError) == (code in (106, 111))


def test_in_2007_a_failure_is_not_made_an_intent():
    server = OldServer(BootUpdateNode=1)
    assert client(server).call("ReportRunlevel", {"run_level": str(RunLevel.FAILBOOT)}) == 1
    assert server.called("BootUpdateNode") == []


@pytest.mark.parametrize("method", ["GetSlivers", "OpenSession", "AddNode"])
def test_what_a_classic_server_cannot_do_is_said(method):
    server = OldServer()
    with pytest.raises(NotClassic):
        client(server).call(method)
    assert server.calls == []


def test_owners_are_notified_once_of_what_they_know():
    server = OldServer(BootNotifyOwners=1)
    node = client(server)
    errors = [{"event": "error", "code": code} for code in ("no-disk", "disk-too-small", "internal")]
    node.call("BootReportEvents", errors)
    node.call("BootReportEvents", errors)
    assert server.called("BootNotifyOwners") == [["insufficientdisk", 1, 1, 0]]


def test_a_report_for_another_run_is_not_made():
    server = OldServer(BootGetNodeDetails=record("rins"), BootUpdateNode=1)
    node = client(server)
    details(node)
    with pytest.raises(CallRefused):
        node.call("BootUpdateNode", {"boot_state": "boot", "run_id": "another"})
    assert server.called("BootUpdateNode") == []


def test_a_log_that_the_server_does_not_take_costs_nothing_else():
    server = OldServer(upload=NotAtServer("/boot/upload-bmlog.php"))
    assert client(server).call("BootReportEvents", [{"event": "chain.started"}]) == 1


def test_a_log_whose_upload_failed_comes_again_once():
    server = OldServer(upload=ServerUnreachable("no"))
    node = client(server)
    node.call("BootReportEvents", [{"event": "first"}])
    with pytest.raises(ServerUnreachable):
        node.call("BootReportEvents", [{"event": "chain.started"}])
    del server.answers["upload"]
    node.call("BootReportEvents", [{"event": "chain.started"}])
    assert server.logs[-1].count(b"chain.started") == 1
    assert server.logs[-1].count(b"first") == 1


def test_a_long_log_keeps_its_end():
    server = OldServer()
    node = client(server)
    for number in range(40):
        node.call("BootReportEvents", [{"event": "x", "number": number, "text": "x" * 30_000}])
    node.call("BootReportEvents", [{"event": "debug.entered"}])
    assert len(server.logs[0]) < 600_000
    assert b'"number":39' in server.logs[0]
    assert b'"number":1,' not in server.logs[0]


# The run that only the node remembers.


def test_a_run_is_the_same_until_something_else_is_wanted():
    server = OldServer(BootUpdateNode=1, BootNotifyOwners=1)
    memory = ForgetfulMemory()

    def said(state):
        server.answers["BootGetNodeDetails"] = record(state)
        # Each time a new connection, as after a power cut.
        return details(client(server, memory=memory))

    first = said("rins")
    assert said("rins") == first
    client(server, memory=memory).call("BootUpdateNode", {"boot_state": "boot", "run_id": first.run_id})
    stubborn = said("rins")
    assert stubborn == first, "a server that forgets the report must not install the node over and over"
    done = said("boot")
    assert (done.run_id, done.generation) == (first.run_id, first.generation + 1)
    second = said("rins")
    assert second.run_id != first.run_id
    assert second.generation == done.generation + 1
    third = said("inst")
    assert third.run_id != second.run_id, "another installation was asked for"


@given(st.lists(st.sampled_from(sorted(STATES)), min_size=1))
def test_generations_never_go_back_and_tell_every_change(states):
    run = ClassicRun()
    for state in states:
        before, run = run, run.after(state, state)
        assert run.generation == before.generation + (run.seen != before.seen)
        assert run.run_id == before.run_id or run.generation > before.generation
        assert run.is_open == (STATES[state] in (TargetState.NEW, TargetState.INST, TargetState.RINS))
        assert run.run_id or not run.is_open


def test_a_run_is_remembered_on_the_dongle_and_in_memory(tmp_path):
    key = configuration().key

    def memory(ram, dongle):
        cache = Cache(tmp_path / dongle if dongle else None, Events("t"))
        return RunRecord(Documents(cache, key), tmp_path / ram)

    (tmp_path / "dongle").mkdir()
    run = ClassicRun().after("rins", "x")
    memory("ram", "dongle").save(run)
    assert memory("ram", "").load() == run, "a dongle that was pulled out"
    assert memory("other-boot", "dongle").load() == run, "a power cut"
    assert memory("other-boot", "").load() == ClassicRun()
    (tmp_path / "ram/classic-run.json").write_text("{}junk")
    assert memory("ram", "").load() == ClassicRun()
    newer = replace(run, generation=run.generation + 1)
    memory("ram", "").save(newer)
    assert memory("ram", "dongle").load() == newer, "the newer copy counts"


# The key medium.


def test_the_key_medium_says_what_is_spoken():
    found = configuration()
    assert (found.protocol, found.key.secret) == (Protocol.PLCAPI, KEY.encode())
    assert isinstance(client_for(found, ""), ClassicClient)


def test_without_protocol_it_is_the_projects_own(server):
    text = f'NODE_ID="1"\nNODE_KEY="{server.key().to_text()}"\nBOOT_SERVER="http://x"\n'
    found = parse(text, "the medium")
    assert (found.protocol, found.base_image) == (Protocol.SIGNED, None)
    assert type(client_for(found, "")) is ServerClient


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('PROTOCOL="plcapi"', 'PROTOCOL="plc"', "PROTOCOL is none of"),
        (f"base@{MANIFEST}", "base", "BASE_IMAGE is not of the form"),
        (f"base@{MANIFEST}", f"base@{MANIFEST.upper()}", "BASE_IMAGE is not of the form"),
        (f'BASE_IMAGE="base@{MANIFEST}"', "", "BASE_IMAGE is missing"),
        (KEY, "short", "NODE_KEY is malformed"),
        ('PROTOCOL="plcapi"', "", "NODE_KEY is malformed"),
    ],
)
def test_bad_key_media(old, new, reason):
    text = (
        f'NODE_ID="1"\nNODE_KEY="{KEY}"\nBOOT_SERVER="http://plc"\nPROTOCOL="plcapi"\n'
        f'BASE_IMAGE="base@{MANIFEST}"\n'
    )
    with pytest.raises(Exception, match=reason) as refused:
        parse(text.replace(old, new), "the medium")
    assert KEY not in str(refused.value)


def test_a_configuration_without_an_image_is_said(server):
    bare = replace(configuration(), base_image=None)
    assert isinstance(bare, NodeConfiguration)
    with pytest.raises(NotClassic, match="base image"):
        details(ClassicClient(Web(server.web), bare))
