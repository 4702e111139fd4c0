"""A node that speaks the classic protocol with servers that have less, or say more."""

from xmlrpc.client import Fault

import pytest

from host.classic_client import MethodUnknown, NotClassic, UnknownClassicState
from host.classic_run import STATES
from host.http import NotAtServer, ServerUnreachable
from host.server import AuthenticationRefused, CallRefused, ServerTrouble
from tests.classic_boot_managers import value_of
from tests.unit.classic.plcapi import KEY, OldServer, client, details, record
from wire.errors import TransientError
from wire.messages import RunLevel, TargetState
from wire.structure import MalformedMessage


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
