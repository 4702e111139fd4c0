"""The nodes' API, with the real client against the real application and nothing between but memory."""

import asyncio
import time

import httpx
import pytest
from sqlalchemy import event
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bootserver import app, bounded, calls, methods, sessions
from bootserver.bounded import read_bounded
from bootserver.calls import REFUSAL
from bootserver.state import initialise
from host.server import AuthenticationRefused, CallRefused, ServerTrouble
from wire import xmlrpc
from wire.messages import NodeDetails, TargetState
from wire.sealing import MasterKey
from wire.session import NodeKey, new_nonce
from wire.structure import structure


def open_body(node_id, nonce=None):
    return xmlrpc.dump_call("OpenSession", [{"node_id": node_id, "nonce": nonce or new_nonce()}])


def test_a_node_gets_its_details(server):
    details = structure(server.client().call("BootGetNodeDetails"), NodeDetails)
    assert details.hostname == "node1"
    assert details.boot_state is TargetState.INST
    assert details.base_image.manifest == "b" * 64
    assert server.node().contacted == pytest.approx(time.time(), abs=5)
    assert server.node().address == "10.0.2.15"


def test_the_empty_struct_of_older_callers_is_taken_too(server):
    client = server.client()
    assert client.call("BootGetNodeDetails", {}) == client.call("BootGetNodeDetails")


def test_a_wrong_key_is_refused(server):
    with pytest.raises(AuthenticationRefused):
        server.client(key=NodeKey.generate()).call("BootGetNodeDetails")


def test_an_unknown_node_is_refused(server):
    with pytest.raises(AuthenticationRefused):
        server.client(node_id=4711).call("BootGetNodeDetails")


def test_an_unknown_node_looks_like_a_wrong_key(server):
    known, unknown = server.post(open_body(1)), server.post(open_body(4711))
    assert known.keys() == unknown.keys()
    for field in ("session", "nonce", "value"):
        assert len(known[field]) == len(unknown[field])
    assert server.post(open_body(4711, "0" * 64))["nonce"] != server.post(open_body(4711, "0" * 64))["nonce"]
    faults = []
    for node_id, reply in ((1, known), (4711, unknown)):
        auth = {
            "AuthMethod": "hmac-sha256",
            "node_id": node_id,
            "node_ip": "",
            "session": reply["session"],
            "counter": 1,
            "value": "0" * 64,
        }
        faults.append(server.web.post("/PLCAPI/", content=xmlrpc.dump_call("GetSlivers", [auth])).content)
    assert faults[0] == faults[1]


def test_what_answers_for_an_unknown_node_is_a_secret_of_this_server(server, tmp_path, monkeypatch):
    """With a key that others can compute they would tell: this answer's MAC is right, so nobody is there."""
    other = initialise(tmp_path / "other", {})
    # All that goes into an answer is the same at both, but for their secrets.
    shared = sessions.Sessions(clock=lambda: 1.0)
    monkeypatch.setattr(sessions.os, "urandom", bytes)
    monkeypatch.setattr(calls.time, "time", lambda: 1000.0)
    body = open_body(4711, "0" * 64)

    def answer(state):
        return xmlrpc.load_reply(calls.Calls(state, shared).answer(body, "10.0.2.15"))

    here, again, there = answer(server.state), answer(server.state), answer(other)
    assert here == again
    assert here.pop("value") != there.pop("value")
    assert here == there


def test_an_unknown_node_costs_the_same_time(server):
    times = {1: [], 4711: []}
    # In turns, and the least of each: whatever else the machine does only adds to it.
    for _ in range(25):
        for node_id, taken in times.items():
            body = open_body(node_id)
            before = time.perf_counter()
            server.post(body)
            taken.append(time.perf_counter() - before)
    known, unknown = (min(taken) for taken in times.values())
    # Coarse on purpose: it fails when one of the two does a query or a derivation less by far.
    assert unknown / known == pytest.approx(1, abs=0.5)


def test_an_unknown_node_costs_the_same_work(server, monkeypatch):
    """What takes the time is counted: queries, unsealing, derivations, MACs."""
    done = []

    def counting(owner, name):
        real = getattr(owner, name)

        def counted(*words):
            done.append(name)
            return real(*words)

        monkeypatch.setattr(owner, name, counted)

    counting(MasterKey, "unseal")
    counting(NodeKey, "derive")
    counting(sessions, "mac")
    counting(sessions, "same_mac")
    event.listen(server.state.database._engine, "before_cursor_execute", lambda *words: done.append(words[2]))
    work = []
    for node_id in (1, 4711):
        done.clear()
        reply = server.post(open_body(node_id))
        auth = {"AuthMethod": "hmac-sha256", "node_id": node_id, "node_ip": "", "counter": 1}
        auth |= {"session": reply["session"], "value": "0" * 64}
        assert server.post(xmlrpc.dump_call("GetSlivers", [auth])).faultCode == 103
        work.append(list(done))
    assert work[0] == work[1]
    assert {"unseal", "derive", "mac", "same_mac"} < set(work[0])
    # Half a megabyte of inventory would be read of a known node only.
    assert not any("inventory" in item for item in work[0])


def test_a_removed_node_is_refused_in_its_session(server):
    client = server.client()
    client.call("GetSlivers")
    server.cli("node", "remove", "node1", "--yes")
    with pytest.raises(AuthenticationRefused):
        client.call("GetSlivers")


def test_a_replayed_call_is_refused(server):
    client = server.client()
    client.call("ReportRunlevel", {"run_level": "boot"})
    client.call("ReportRunlevel", {"run_level": "failboot"})
    for body in client.wire.sent[1:]:
        fault = server.post(body)
        assert (fault.faultCode, fault.faultString) == (103, REFUSAL)
    assert server.node().run_level == "failboot"
    client.call("ReportRunlevel", {"run_level": "safeboot"})
    assert len(client.wire.sent) == 4, "the replay must not cost the node its session"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ReportRunlevel", b"BootUpdateNode"),
        (b">boot<", b">failboot<"),
        (b"10.0.2.15", b"10.0.2.16"),
        (b"<name>counter</name>\n<value><int>3", b"<name>counter</name>\n<value><int>4"),
    ],
    ids=["method", "value", "address", "counter"],
)
def test_a_changed_call_is_refused(server, old, new):
    client = server.client()
    client.call("GetSlivers")
    client.call("GetSlivers")
    client.call("ReportRunlevel", {"run_level": "boot"})
    recorded = client.wire.sent[-1]
    assert old in recorded
    fault = server.post(recorded.replace(old, new))
    assert (fault.faultCode, fault.faultString) == (103, REFUSAL)


def test_every_refusal_reads_the_same(server):
    server.add("node2")
    client = server.client()
    client.call("GetSlivers")
    bodies = [
        xmlrpc.dump_call("GetSlivers", []),
        xmlrpc.dump_call("GetSlivers", [{}]),
        xmlrpc.dump_call("NoSuchMethod", [{}]),
        xmlrpc.dump_call("GetSlivers", [{"AuthMethod": "hmac", "node_id": 1, "node_ip": "", "value": ""}]),
        client.wire.sent[-1],
        client.wire.sent[-1].replace(b"<int>1</int>", b"<int>2</int>"),
    ]
    answers = {server.web.post("/PLCAPI/", content=body).content for body in bodies}
    assert answers == {xmlrpc.dump_fault(103, REFUSAL)}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("NoSuchMethod",), 100),
        (("OpenSessions",), 100),
        (("GetSlivers", {}, {}), 101),
        (("ReportRunlevel",), 101),
        (("ReportRunlevel", {"run_level": "flying"}), 102),
        (("ReportRunlevel", "boot"), 102),
    ],
)
def test_faults_are_authenticated_and_have_the_codes_of_the_field(server, call, code):
    client = server.client()
    with pytest.raises(CallRefused, match=f"fault {code}"):
        client.call(*call)
    assert b"<fault>" not in client.wire.answers[-1], "a bare fault could be anybody's"


def test_a_base_image_that_was_never_published_is_named(server):
    server.set(base_image="other")
    with pytest.raises(ServerTrouble, match=r"fault 106.*other"):
        server.client().call("BootGetNodeDetails")


def test_a_programming_error_is_told_without_its_text(server, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("inner detail")

    monkeypatch.setitem(methods.METHODS, "GetSlivers", methods.Method(broken, 0, 1))
    with pytest.raises(ServerTrouble, match="fault 111") as refused:
        server.client().call("GetSlivers")
    assert "inner detail" not in str(refused.value)
    assert "inner detail" in caplog.text


@pytest.mark.parametrize("body", [b"", b"junk", b"<methodCall>", b"<a/>" * 10])
def test_malformed_bodies_get_fault_102(server, body):
    assert server.post(body).faultCode == 102


@pytest.mark.parametrize(
    "params",
    [
        [],
        [{}],
        [{"node_id": "1", "nonce": "0" * 64}],
        [{"node_id": True, "nonce": "0" * 64}],
        [{"node_id": 0, "nonce": "0" * 64}],
        [{"node_id": 1, "nonce": "short"}],
        [{"node_id": 1, "nonce": 5}],
        [{"node_id": 1, "nonce": "0" * 64}, 1],
    ],
)
def test_malformed_openings_get_fault_102(server, params):
    assert server.post(xmlrpc.dump_call("OpenSession", params)).faultCode == 102


@pytest.mark.parametrize(("depth", "code"), [(200, 102), (31, 103)])
def test_a_deeply_nested_call_is_refused(server, depth, code):
    # The reader takes 32 levels; a parameter that deep is, with all around it, too deep for a MAC.
    value = b"<array><data><value>" * depth + b"</value></data></array>" * depth
    client = server.client()
    client.call("GetSlivers")
    param = b"<param><value>%s</value></param></params>" % value
    assert server.post(client.wire.sent[-1].replace(b"</params>", param)).faultCode == code


def test_a_body_over_the_limit_is_refused_by_its_stated_length(server):
    answer = server.web.post("/PLCAPI/", content=b"x" * (xmlrpc.MAXIMUM_BYTES + 1))
    assert answer.status_code == 413


def test_a_body_over_the_limit_is_refused_while_it_comes():
    async def receive():
        pieces.append(1)
        assert len(pieces) < 10, "the server reads for ever"
        return {"type": "http.request", "body": b"x" * 2**20, "more_body": True}

    pieces = []
    request = Request({"type": "http", "headers": [(b"content-length", b"5")]}, receive)
    with pytest.raises(HTTPException, match="413"):
        asyncio.run(read_bounded(request, 4 * 2**20))
    assert len(pieces) == 5


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    async def receive():
        await asyncio.sleep(60)

    monkeypatch.setattr(bounded, "BODY_SECONDS", 0.01)
    request = Request({"type": "http", "headers": [(b"content-length", b"5")]}, receive)
    with pytest.raises(HTTPException, match="408"):
        asyncio.run(bounded.Bodies().read(request, 4 * 2**20))


def test_few_large_bodies_come_at_a_time_and_small_ones_pass_them():
    """Anybody may begin one on each of a thousand connections, and let it be."""
    coming, more = [], []

    def body(length):
        async def receive():
            coming.append(length)
            await more[0].wait()
            return {"type": "http.request", "body": b"x" * int(length or 5), "more_body": False}

        headers = [(b"content-length", length)] if length else []
        return Request({"type": "http", "headers": headers}, receive)

    async def flood():
        more.append(asyncio.Event())
        bodies = bounded.Bodies()
        large = [bodies.read(body(length), 4 * 2**20) for length in [b"4000000", b""] * 20]
        waiting = asyncio.gather(*large, *(bodies.read(body(b"5"), 4 * 2**20) for _ in range(50)))
        while coming.count(b"5") < 50:
            await asyncio.sleep(0)
        assert len(coming) == 50 + bounded.LARGE_AT_A_TIME
        more[0].set()
        assert len(await waiting) == 90

    asyncio.run(flood())


def test_few_bodies_are_read_at_a_time(server, monkeypatch):
    busy, most = set(), []

    def answer(calls, body, peer):
        busy.add(body)
        most.append(len(busy))
        time.sleep(0.01)
        busy.remove(body)
        return b""

    async def flood():
        transport = httpx.ASGITransport(server.web.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            posts = (client.post("/PLCAPI/", content=b"%d" % number) for number in range(24))
            return await asyncio.gather(*posts)

    monkeypatch.setattr(calls.Calls, "answer", answer)
    assert [answer.status_code for answer in asyncio.run(flood())] == [200] * 24
    assert 1 < max(most) <= app.CALLS_AT_A_TIME


@pytest.mark.parametrize("length", ["-1", "x", "99999999999"])
def test_a_strange_content_length_is_refused(server, length):
    assert server.web.post("/PLCAPI/", content=b"", headers={"Content-Length": length}).status_code == 413


def test_blobs_are_served_by_their_hash(server):
    digest = server.state.blobs.put(b"0123456789")
    path = f"/images/blobs/{digest}"
    assert server.web.get(path).content == b"0123456789"
    part = server.web.get(path, headers={"Range": "bytes=3-5"})
    assert (part.status_code, part.content) == (206, b"345")
    assert server.web.head(path).headers["content-length"] == "10"


@pytest.mark.parametrize("name", ["0" * 64, "master.key", "..%2Fmaster.key", "A" * 64, "%2e%2e/master.key"])
def test_nothing_else_is_served(server, name):
    assert server.web.get(f"/images/blobs/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/nodes", "/nodes/node1", "/fleet", "/events"])
def test_nodes_do_not_reach_the_operators_pages(server, path):
    assert server.web.get(path).status_code == 404


def test_the_servers_time_is_told(server):
    client = server.client()
    client.call("GetSlivers")
    assert client.server_time == pytest.approx(time.time(), abs=5)
