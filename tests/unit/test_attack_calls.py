"""Somebody on the path between node and server: the real client, the real application, and changes between.

What is not here is in test_bootserver_sessions.py (counters, ends of sessions, restarts) and in
test_bootserver_calls.py (methods, addresses, what an unknown node shows).
"""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootserver.calls import REFUSAL
from host.server import AuthenticationRefused, ServerNotAuthentic
from tests.unit.bootserver_deployment import Deployment, event
from wire import xmlrpc
from wire.errors import BootError
from wire.structure import MalformedMessage


def refused(server, body):
    fault = server.post(body)
    return getattr(fault, "faultCode", 0) == 103 and fault.faultString == REFUSAL


# --- calls that were recorded ---


def test_no_recorded_body_is_good_in_a_later_session(server):
    first, second = server.client(), server.client()
    for client in (first, second):
        client.call("ReportRunlevel", {"run_level": "boot"})
        client.call("ReportRunlevel", {"run_level": "safeboot"})
    for body in [*first.wire.sent[1:], *second.wire.sent[1:]]:
        assert refused(server, body)


def test_a_recorded_call_with_the_name_of_a_later_session(server):
    first, second = server.client(), server.client()
    first.call("ReportRunlevel", {"run_level": "failboot"})
    _, (auth, *params) = xmlrpc.load_call(first.wire.sent[-1])
    second.call("ReportRunlevel", {"run_level": "boot"})
    _, (other, *_) = xmlrpc.load_call(second.wire.sent[-1])
    for counter in (1, 2):
        moved = {**auth, "session": other["session"], "counter": counter}
        assert refused(server, xmlrpc.dump_call("ReportRunlevel", [moved, *params]))
    assert server.node().run_level == "boot"


def test_two_nodes_with_one_key_do_not_speak_for_one_another(server):
    server.add("node2")
    with server.state.database.write() as session:
        one, two = (session.get(type(server.node()), number) for number in (1, 2))
        two.sealed_key = server.state.master.seal(server.key("node1").secret, "node 2")
        assert one.id == 1
    key = server.key("node1")
    assert server.key("node2") == key
    first, second = server.client("node1"), server.client("node2")
    first.call("ReportRunlevel", {"run_level": "boot"})
    second.call("ReportRunlevel", {"run_level": "safeboot"})
    for client, number in ((first, 2), (second, 1)):
        method, (auth, *params) = xmlrpc.load_call(client.wire.sent[-1])
        for counter in (1, 2):
            body = xmlrpc.dump_call(method, [{**auth, "node_id": number, "counter": counter}, *params])
            assert refused(server, body)
    assert (server.node("node1").run_level, server.node("node2").run_level) == ("boot", "safeboot")


# --- calls that are changed on their way ---

TOLD = [
    {**event(1, "step.started", step="unpack"), "detail": "1", "more": ["a", "b"], "flag": 1, "none": None},
    event(2, "step.done", step="unpack"),
]


def moved_between_fields(calls):
    calls[0]["step"], calls[0]["detail"] = calls[0]["detail"], calls[0]["step"]


def split_over_two(calls):
    calls[0]["more"] = ["ab"]


def joined(calls):
    calls[0]["more"] = ["", "ab"]


def nested(calls):
    calls[0]["more"] = [["a", "b"]]


def permuted(calls):
    calls.reverse()


def permuted_within(calls):
    calls[0]["more"].reverse()


def a_key_dropped(calls):
    del calls[0]["none"]


def a_key_added(calls):
    calls[0]["extra"] = ""


def a_key_renamed(calls):
    calls[0]["detall"] = calls[0].pop("detail")


def keys_exchanged(calls):
    calls[0]["flag"], calls[0]["none"] = None, 1


def dropped(calls):
    calls.pop()


def doubled(calls):
    calls.append(calls[-1])


def text_for_a_number(calls):
    calls[0]["flag"] = "1"


def truth_for_a_number(calls):
    calls[0]["flag"] = True


def double_for_a_number(calls):
    calls[0]["flag"] = 1.0


def number_for_text(calls):
    calls[0]["detail"] = 1


def nothing_for_empty(calls):
    calls[0]["none"] = ""


def bytes_for_text(calls):
    calls[0]["detail"] = b"1"


CHANGES = [
    moved_between_fields,
    split_over_two,
    joined,
    nested,
    permuted,
    permuted_within,
    a_key_dropped,
    a_key_added,
    a_key_renamed,
    keys_exchanged,
    dropped,
    doubled,
    text_for_a_number,
    truth_for_a_number,
    double_for_a_number,
    number_for_text,
    nothing_for_empty,
    bytes_for_text,
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A server, and the body of a call that it has not seen yet: what a man on the path holds back."""
    server = Deployment(tmp_path_factory.mktemp("recorded") / "state")
    server.add()
    client = server.client()
    client.call("GetSlivers")
    body = []

    def hold(path, sent, *, content_type, limit):
        body.append(sent)
        raise MalformedMessage("held back")

    client.wire.post = hold
    with pytest.raises(MalformedMessage):
        client.call("BootReportEvents", TOLD)
    return server, body[0]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_parameter_changed(recorded, change):
    server, body = recorded
    method, (auth, told) = xmlrpc.load_call(body)
    assert told == TOLD
    change(told)
    assert refused(server, xmlrpc.dump_call(method, [auth, told]))


@pytest.mark.parametrize(
    "change",
    [
        lambda params: [params],
        lambda params: [*params, {}],
        lambda params: [],
        lambda params: params[0],
        lambda params: [None, *params],
    ],
    ids=["wrapped", "one more", "none", "unwrapped", "shifted"],
)
def test_parameters_counted_otherwise(recorded, change):
    server, body = recorded
    method, (auth, *params) = xmlrpc.load_call(body)
    assert refused(server, xmlrpc.dump_call(method, [auth, *change(params)]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node_ip", "10.0.2.16"),
        ("node_ip", ""),
        ("node_ip", "10.0.2.15 "),
        ("counter", 1),
        ("counter", 3),
        ("counter", 2**62),
        ("counter", "2"),
        ("counter", True),
        ("node_id", 2),
        ("node_id", "1"),
        ("node_id", 2**63 - 1),
        ("session", "0" * 96),
        ("value", "0" * 64),
        ("value", ""),
    ],
)
def test_a_field_of_the_proof_changed(recorded, field, value):
    server, body = recorded
    method, (auth, *params) = xmlrpc.load_call(body)
    assert refused(server, xmlrpc.dump_call(method, [{**auth, field: value}, *params]))


@settings(max_examples=60)
@given(st.data())
def test_any_byte_changed(recorded, data):
    """Either the same call arrives, or it is refused; nothing else happens, and the session goes on."""
    server, body = recorded
    position = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        same = repr(xmlrpc.load_call(bytes(changed))) == repr(xmlrpc.load_call(body))
    except (BootError, xmlrpc.Fault):
        same = False
    if not same:
        assert server.post(bytes(changed)).faultCode in (102, 103)


# --- replies ---


class Path:
    """Stands on the path: the next answers to the node are what `answers` holds, then the true ones."""

    def __init__(self, client, change):
        self.wire, self.change, self.armed = client.wire, change, True
        client._http = client._time_learning = self
        self.base_url = client.wire.base_url

    def post(self, path, body, **how):
        answer = self.wire.post(path, body, **how)
        if self.armed:
            self.armed = False
            return self.change(answer)
        return answer


def changing(**fields):
    def change(answer):
        reply = copy.deepcopy(xmlrpc.load_reply(answer))
        return xmlrpc.dump_reply({**reply, **fields})

    return change


def nothing(answer):
    return answer


REPLIES = {
    "another value": changing(result={"value": {"boot_state": "rins"}}),
    "a fault for a value": changing(result={"fault": {"code": 100, "text": "x"}}),
    "another time": changing(time=4_000_000_000),
    "a time that is true": changing(time=True),
    "another MAC": changing(value="0" * 64),
    "no MAC": changing(value=""),
    "a MAC of other characters": changing(value="\N{LATIN SMALL LETTER E WITH ACUTE}" * 64),
    "cut": lambda answer: answer[: len(answer) // 2],
    "empty": lambda answer: b"",
    "a page": lambda answer: b"<html><body>Please log in</body></html>",
    "an unsigned fault": lambda answer: xmlrpc.dump_fault(102, "no"),
    "an unsigned fault that nobody defined": lambda answer: xmlrpc.dump_fault(0, ""),
    "a value that was never signed": lambda answer: xmlrpc.dump_reply({"value": 1}),
    "a bare value": lambda answer: xmlrpc.dump_reply(1),
    "a time as XML-RPC has it": lambda answer: answer.replace(
        b"<name>result</name>\n<value>",
        b"<name>result</name>\n<value><dateTime.iso8601>20260101T00:00:00</dateTime.iso8601></value>"
        b"</member><member><name>x</name><value>",
    ),
    "nested without end": lambda answer: xmlrpc.dump_reply(1).replace(
        b"<int>1</int>", b"<array><data><value>" * 9000 + b"</value></data></array>" * 9000
    ),
}


# An opening has no `result`: what a client does not know it does not look at.
ONLY_OF_A_CALL = {"another value", "a fault for a value", "a time as XML-RPC has it"}
FORGED_OPENINGS = {
    "another time",
    "a time that is true",
    "another MAC",
    "no MAC",
    "a MAC of other characters",
}
CASES = [("a call", name) for name in REPLIES]
CASES += [("the opening", name) for name in REPLIES if name not in ONLY_OF_A_CALL]


@pytest.mark.parametrize(("at", "name"), CASES)
def test_no_changed_reply_is_believed(server, at, name):
    client = server.client()
    if at == "a call":
        client.call("BootGetNodeDetails")
    time = client.server_time
    Path(client, REPLIES[name])
    with pytest.raises(BootError) as caught:
        client.call("BootGetNodeDetails")
    # Only an opening that has all its parts counts as a refusal of the node.
    forged = at == "the opening" and name in FORGED_OPENINGS
    assert type(caught.value) is (AuthenticationRefused if forged else ServerNotAuthentic)
    assert client.server_time == time, "the time of a reply that is not believed sets no clock"
    assert client.call("BootGetNodeDetails")["hostname"] == "node1", "the next try is a new session"


def test_the_path_alone_changes_nothing(server):
    client = server.client()
    Path(client, nothing)
    assert client.call("BootGetNodeDetails")["hostname"] == "node1"


def test_a_reply_replayed(server):
    client = server.client()
    client.call("BootGetNodeDetails")
    old = client.wire.answers[-1]
    Path(client, lambda answer: old)
    with pytest.raises(ServerNotAuthentic):
        client.call("BootGetNodeDetails")


def test_replies_swapped(server):
    """Two sessions make the same call with the same counter at the same time; neither takes the other's."""
    one, other = server.client(), server.client()
    other.call("BootGetNodeDetails")
    one.call("BootGetNodeDetails")
    other.call("BootGetNodeDetails")
    answer = other.wire.answers[-1]
    Path(one, lambda _: answer)
    with pytest.raises(ServerNotAuthentic):
        one.call("BootGetNodeDetails")


def test_an_opening_replayed(server):
    client = server.client()
    client.call("BootGetNodeDetails")
    old = client.wire.answers[0]
    again = server.client()
    Path(again, lambda answer: old)
    with pytest.raises(AuthenticationRefused):
        again.call("BootGetNodeDetails")


def test_a_call_reflected(server):
    """The node's own proof does not pass for the server's."""
    client = server.client()
    client.call("BootGetNodeDetails")

    def reflect(answer):
        _, (auth, *_) = xmlrpc.load_call(client.wire.sent[-1])
        return changing(value=auth["value"])(answer)

    Path(client, reflect)
    with pytest.raises(ServerNotAuthentic):
        client.call("BootGetNodeDetails")
