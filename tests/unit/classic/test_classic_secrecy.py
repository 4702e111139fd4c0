"""Nobody without a key learns from the classic calls who is there."""

import statistics
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootserver.calls import REFUSAL
from bootserver.classic import ClassicCalls, is_classic
from bootserver.classic_methods import METHODS
from bootserver.methods import Faulty
from bootserver.sessions import NotAuthentic
from tests.classic_boot_managers import BootManager, MemoryProxy
from tests.unit.classic.nodes import OTHER_KEY, REFUSED, fault_of, manager
from wire import xmlrpc


def test_unmarked_unknown_and_wrong_key_are_refused_with_the_same_bytes(marked):
    marked.add("node2")
    answers = set()
    for node_id, key in ((1, OTHER_KEY), (2, marked.key("node2").to_text()), (4711, OTHER_KEY)):
        node = BootManager(None, node_id, key)
        body = xmlrpc.dump_call("GetSession", [node.auth()])
        answers.add(marked.web.post("/PLCAPI/", content=body).content)
    for session in ("", "x" * 44, "é"):
        body = xmlrpc.dump_call("GetSession", [{"AuthMethod": "session", "session": session}])
        answers.add(marked.web.post("/PLCAPI/", content=body).content)
    assert answers == {xmlrpc.dump_fault(103, REFUSAL)}


def test_unmarked_unknown_and_wrong_key_take_the_same_time(marked):
    marked.add("node2")
    times = {1: [], 2: [], 4711: []}
    for _ in range(25):
        for node_id, taken in times.items():
            body = xmlrpc.dump_call("GetSession", [BootManager(None, node_id, OTHER_KEY).auth()])
            before = time.perf_counter()
            marked.post(body)
            taken.append(time.perf_counter() - before)
    wrong_key, unmarked, unknown = (statistics.median(taken) for taken in times.values())
    # Coarse on purpose: it fails when one of them does a query or a decryption less by far.
    assert unmarked / unknown == pytest.approx(1, abs=0.5)
    assert wrong_key / unknown == pytest.approx(1, abs=0.5)


def test_the_decoys_key_opens_nothing(marked):
    """The key that an unknown node's call is checked with is computable by everybody, and never enough."""
    from wire.session import NodeKey

    for node_id in (2, 4711):
        node = BootManager(MemoryProxy(marked.web), node_id, NodeKey(bytes(32)).to_text())
        assert fault_of(node.hmac, "GetSession") == REFUSED


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
AUTHS = st.fixed_dictionaries(
    {"AuthMethod": st.sampled_from(["hmac", "session"])},
    optional=dict.fromkeys(("node_id", "node_ip", "value", "session"), ANYTHING),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(METHODS)), AUTHS, st.lists(ANYTHING, max_size=3), st.booleans())
def test_whatever_is_sent_without_the_key_is_refused(marked, method, auth, params, known):
    auth = {**auth, "node_id": 1} if known else auth
    assert is_classic([auth, *params])
    with pytest.raises((NotAuthentic, Faulty)) as refused:
        ClassicCalls(marked.state).result(method, [auth, *params], "peer")
    if isinstance(refused.value, Faulty):
        assert refused.value.code == 102, "a bad argument, known from the call alone"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(METHODS)), st.lists(ANYTHING, max_size=4))
def test_whatever_a_node_sends_has_a_result_or_a_documented_fault(marked, method, params):
    auth, code = manager(marked).auth(*params), 0
    try:
        result = ClassicCalls(marked.state).result(method, [auth, *params], "peer")
        assert b"<nil" not in xmlrpc.dump_reply(result)
    except Faulty as fault:
        code = fault.code
    assert code in (0, 101, 102)
    assert marked.node().boot_state == "inst"
