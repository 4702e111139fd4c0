"""Which calls the server believes. Each test is an attack, or the thing that must go on working beside it."""

import pytest

from bootserver import sessions
from bootserver.sessions import Auth, NotAuthentic, Sessions
from wire.session import METHOD, NodeKey, Session, new_nonce, same_mac

NODE = 5
ADDRESS = "10.0.2.15"


@pytest.fixture
def server(clock):
    return Sessions(clock)


@pytest.fixture
def key():
    return NodeKey.generate()


def opened(server, key, node_id=NODE):
    nonce = new_nonce()
    reply = server.open(node_id, key, nonce, 77)
    session = Session.derive(key, node_id, reply["session"], nonce, reply["nonce"])
    assert same_mac(reply["value"], session.opening_mac(nonce, reply["nonce"], 77))
    return session


def call(session, counter=1, method="M", params=(), ip=ADDRESS):
    value = session.call_mac(method, ip, counter, list(params))
    return Auth(session.node_id, ip, session.session, counter, value)


def test_calls_in_their_order_are_believed(server, key):
    session = opened(server, key)
    for counter in (1, 2, 3):
        assert server.prove(call(session, counter), "M", [], key)


def test_the_reply_is_bound_to_its_call(server, key):
    session = opened(server, key)
    proven = server.prove(call(session), "M", [], key)
    reply = proven.reply({"value": 1}, 88)
    assert reply["value"] == session.reply_mac(1, proven.auth.value, {"value": 1}, 88)


@pytest.mark.parametrize("counter", [0, 1, 2, 4, -1])
def test_a_counter_that_is_not_the_next_is_refused(server, key, counter):
    session = opened(server, key)
    server.prove(call(session, 1), "M", [], key)
    server.prove(call(session, 2), "M", [], key)
    with pytest.raises(NotAuthentic):
        server.prove(call(session, counter), "M", [], key)
    assert server.prove(call(session, 3), "M", [], key), "the attack must not disturb the node"


def test_a_first_call_must_count_one(server, key):
    session = opened(server, key)
    with pytest.raises(NotAuthentic):
        server.prove(call(session, 2), "M", [], key)


@pytest.mark.parametrize(
    ("method", "params", "change"),
    [
        ("Other", [], {}),
        ("M", [1], {}),
        ("M", [], {"node_ip": "10.0.2.16"}),
        ("M", [], {"node_id": 6}),
        ("M", [], {"counter": 2}),
        ("M", [], {"value": "0" * 64}),
        ("M", [], {"value": ""}),
        ("M", [], {"session": "0" * 96}),
        ("M", [], {"session": "nonsense"}),
    ],
)
def test_a_mac_is_for_one_call_only(server, key, method, params, change):
    session = opened(server, key)
    good = call(session)
    with pytest.raises(NotAuthentic):
        server.prove(Auth(**{**vars(good), **change}), method, params, key)


def test_another_nodes_session_is_refused(server, key):
    other = NodeKey.generate()
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    value = session.call_mac("M", ADDRESS, 2, [])
    with pytest.raises(NotAuthentic):
        server.prove(Auth(6, ADDRESS, session.session, 2, value), "M", [], other)


def test_a_first_call_recorded_is_worth_nothing_when_its_session_was_pushed_out(server, key):
    first = opened(server, key)
    recorded = call(first)
    server.prove(recorded, "M", [], key)
    for _ in range(sessions.SESSIONS_PER_NODE):
        server.prove(call(opened(server, key)), "M", [], key)
    with pytest.raises(NotAuthentic):
        server.prove(recorded, "M", [], key)


@pytest.mark.parametrize("seconds", [sessions.IDLE_SECONDS + 1, sessions.LIFETIME_SECONDS + 1])
def test_a_first_call_recorded_is_worth_nothing_later(server, key, clock, seconds):
    session = opened(server, key)
    recorded = call(session)
    server.prove(recorded, "M", [], key)
    clock.now += seconds
    server.prove(call(opened(server, key)), "M", [], key)
    with pytest.raises(NotAuthentic):
        server.prove(recorded, "M", [], key)


def test_an_opening_not_used_in_time_is_void(server, key, clock):
    session = opened(server, key)
    clock.now += sessions.OPENING_SECONDS + 1
    with pytest.raises(NotAuthentic):
        server.prove(call(session), "M", [], key)


def test_a_session_ends_after_silence(server, key, clock):
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    clock.now += sessions.IDLE_SECONDS + 1
    with pytest.raises(NotAuthentic):
        server.prove(call(session, 2), "M", [], key)


def test_a_session_ends_after_its_lifetime_however_busy(server, key, clock):
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    counter = 1
    while clock.now + sessions.IDLE_SECONDS / 2 <= 1000 + sessions.LIFETIME_SECONDS:
        counter += 1
        clock.now += sessions.IDLE_SECONDS / 2
        server.prove(call(session, counter), "M", [], key)
    clock.now += sessions.IDLE_SECONDS / 2
    with pytest.raises(NotAuthentic):
        server.prove(call(session, counter + 1), "M", [], key)


def test_a_changed_key_ends_the_sessions_of_the_old_one(server, key):
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    with pytest.raises(NotAuthentic):
        server.prove(call(session, 2), "M", [], NodeKey.generate())


def test_a_restarted_server_knows_no_session(server, key):
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    with pytest.raises(NotAuthentic):
        Sessions().prove(call(session, 2), "M", [], key)
    with pytest.raises(NotAuthentic):
        Sessions().prove(call(session, 1), "M", [], key)


def test_a_flood_of_openings_costs_no_memory_and_pushes_nobody_out(server, key):
    session = opened(server, key)
    server.prove(call(session), "M", [], key)
    for _ in range(500):
        server.open(NODE, key, new_nonce(), 77)
    assert len(server._active) == 1
    assert len(server._spent) == 1
    assert server.prove(call(session, 2), "M", [], key)


def test_a_node_has_a_bounded_number_of_sessions(server, key):
    for _ in range(20):
        server.prove(call(opened(server, key)), "M", [], key)
    assert len(server._active) == sessions.SESSIONS_PER_NODE


GOOD = {
    "AuthMethod": METHOD,
    "node_id": 1,
    "node_ip": "",
    "session": "s",
    "counter": 1,
    "value": "00",
}


def test_a_sound_struct_is_read():
    assert Auth.read({**GOOD, "more": 1}) == Auth(1, "", "s", 1, "00")


@pytest.mark.parametrize(
    "change",
    [
        {"AuthMethod": "hmac"},
        {"AuthMethod": "session"},
        {"node_id": "1"},
        {"node_id": True},
        {"node_id": 0},
        {"node_id": 2**31},
        {"counter": True},
        {"counter": 1.0},
        {"value": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"value": None},
        {"session": 5},
        {"node_ip": "x" * 65},
    ],
)
def test_types_are_not_confused(change):
    with pytest.raises(NotAuthentic):
        Auth.read({**GOOD, **change})


@pytest.mark.parametrize("struct", [None, [], "x", {}, 5])
def test_no_auth_struct(struct):
    with pytest.raises(NotAuthentic):
        Auth.read(struct)
