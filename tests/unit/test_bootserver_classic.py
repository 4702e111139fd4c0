"""Classic boot managers at the server: what they may do, what they may not, and what cannot be helped."""

import statistics
import time
from pathlib import Path
from xmlrpc.client import Fault

import pytest
from bootserver_deployment import Deployment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootserver.calls import REFUSAL
from bootserver.classic import SESSION_SECONDS, ClassicCalls, ClassicSessions, is_classic
from bootserver.classic_methods import METHODS
from bootserver.methods import METHODS as SIGNED_METHODS
from bootserver.methods import Faulty
from bootserver.sessions import NotAuthentic
from tests.classic_boot_managers import BootManager, MemoryProxy, boot_of_2007, boot_of_later_years, value_of
from wire import xmlrpc
from wire.messages import TargetState

OTHER_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def server(tmp_path):
    deployment = Deployment(tmp_path / "state")
    deployment.add()
    return deployment


@pytest.fixture
def marked(server):
    server.cli("node", "classic", "node1", "--on")
    return server


def manager(server, name="node1", *, key=None):
    return BootManager(MemoryProxy(server.web), server.node(name).id, key or server.key(name).to_text())


def fault_of(call, *words):
    with pytest.raises(Fault) as raised:
        call(*words)
    return raised.value.faultCode, raised.value.faultString


REFUSED = (103, REFUSAL)


# The switch.


def test_it_is_off_by_default(server):
    node = manager(server)
    for method in METHODS:
        assert fault_of(node.hmac, method) == REFUSED
    assert server.cli_json("node", "classic", "node1") == {"name": "node1", "classic": False}


def test_the_operator_sees_who_may(server):
    assert server.cli_json("node", "show", "node1")["classic"] is False
    server.cli("node", "classic", "node1", "--on")
    assert server.cli_json("node", "show", "node1")["classic"] is True


def test_one_node_is_switched_on_and_no_other(server):
    server.add("node2")
    server.cli("node", "classic", "node2", "--on")
    assert manager(server, "node2").hmac("AuthCheck") == 1
    assert fault_of(manager(server).hmac, "AuthCheck") == REFUSED


def test_switching_off_ends_it_and_its_sessions(marked):
    node = manager(marked)
    node.session = node.hmac("GetSession")
    marked.cli("node", "classic", "node1", "--off")
    assert fault_of(node.hmac, "AuthCheck") == REFUSED
    assert fault_of(node.in_session, "AuthCheck") == REFUSED
    marked.cli("node", "classic", "node1", "--on")
    assert fault_of(node.in_session, "AuthCheck") == REFUSED, "a session must not come back"
    assert node.hmac("AuthCheck") == 1


def test_signed_calls_go_on_working_for_a_marked_node(marked):
    assert marked.client().call("BootGetNodeDetails")["hostname"] == "node1"


def test_the_switch_says_what_is_weak_about_it(server):
    assert "replayed" in server.cli("node", "classic", "--help")
    assert "on, by the key on its medium" in server.cli("node", "classic", "node1", "--on")


def test_a_key_from_another_deployment(server, tmp_path):
    file = tmp_path / "key"
    file.write_text(OTHER_KEY + "\n")
    server.cli("node", "classic", "node1", "--on", "--key-file", file)
    assert manager(server, key=OTHER_KEY).hmac("AuthCheck") == 1
    assert fault_of(manager(server).hmac, "AuthCheck") == REFUSED, "only one key counts"
    assert server.client().call("GetSlivers"), "signed calls keep their own key"
    for path in (tmp_path / "state").iterdir():
        if path.is_file():
            assert OTHER_KEY.encode() not in path.read_bytes(), path


def test_a_node_keeps_the_number_that_it_has_elsewhere(server, tmp_path):
    (tmp_path / "key").write_text(OTHER_KEY)
    server.cli("node", "classic", "node1", "--on", "--id", 4711, "--key-file", tmp_path / "key")
    node = BootManager(MemoryProxy(server.web), 4711, OTHER_KEY)
    states = []
    boot_of_later_years(node, states)
    assert states == ["install", "boot"]
    assert node.hmac("GetNodes", 4711)[0]["node_id"] == 4711
    assert node.hmac("GetNodes", 1) == []
    assert node_id_of(server) == "4711"
    assert fault_of(manager(server, key=OTHER_KEY).hmac, "AuthCheck") == REFUSED, "by its number here"
    node.session = node.hmac("GetSession")
    server.cli("node", "classic", "node1", "--on", "--id", 4712)
    assert fault_of(node.in_session, "AuthCheck") == REFUSED


def test_two_nodes_never_have_one_number(server):
    server.add("node2")
    server.cli("node", "classic", "node1", "--on", "--id", 2)
    said = server.cli("node", "classic", "node2", "--on", status=1)
    assert "another node calls itself 2" in said
    server.cli("node", "classic", "node2", "--on", "--id", 1)
    assert manager(server, key=server.key("node2").to_text()).hmac("GetNodes")[0]["hostname"] == "node2"
    server.cli("node", "classic", "node1", "--on", "--id", 1, status=1)


@pytest.mark.parametrize(
    "words",
    [
        ("--id", 5),
        ("--on", "--id", 0),
        ("--mac", "52:54:00:ab:cd:ef"),
        ("--off", "--flavour", "a-b-c"),
    ],
)
def test_settings_belong_to_on(server, words):
    server.cli("node", "classic", "node1", *words, status=2)


@pytest.mark.parametrize("words", [("--mac", "52:54"), ("--flavour", "../x"), ("--flavour", "a-b")])
def test_bad_settings_change_nothing(server, words):
    assert "bad-classic-setting" in server.cli("node", "classic", "node1", "--on", *words, status=1)
    assert server.cli_json("node", "classic", "node1")["classic"] is False


def test_a_bad_key_is_not_quoted(server, tmp_path):
    file = tmp_path / "key"
    file.write_text("two words of secret")
    said = server.cli("node", "classic", "node1", "--on", "--key-file", file, status=1)
    assert "bad-node-key" in said
    assert "secret" not in said


def test_a_removed_node_is_refused(marked):
    node = manager(marked)
    node.session = node.hmac("GetSession")
    marked.cli("node", "remove", "node1", "--yes")
    assert fault_of(node.hmac, "AuthCheck") == REFUSED
    assert fault_of(node.in_session, "AuthCheck") == REFUSED


# The two boot managers.


@pytest.mark.parametrize("state", ["new", "inst", "rins"])
def test_an_installation_in_2007(marked, state):
    marked.cli("node", "state", "node1", state)
    states = []
    boot_of_2007(manager(marked), states)
    assert states == [state, "boot"]
    assert marked.node().boot_state == "boot"
    assert marked.node().ssh_host_keys == ["ssh-rsa AAAA+/= root@node1"]


@pytest.mark.parametrize(("state", "called"), [("inst", "install"), ("rins", "reinstall"), ("boot", "boot")])
def test_an_installation_in_later_years(marked, state, called):
    marked.cli("node", "state", "node1", state)
    marked.cli("node", "classic", "node1", "--on", "--flavour", "onelab-f14-i386")
    states = []
    flavour = boot_of_later_years(manager(marked), states)
    assert states == [called, "boot"]
    assert flavour["nodefamily"] == "onelab-f14-i386"
    assert (flavour["pldistro"], flavour["fcdistro"], flavour["arch"]) == ("onelab", "f14", "i386")
    assert marked.node().boot_state == "boot"
    assert marked.node().run_level == "boot"


@pytest.mark.parametrize(
    ("intent", "told", "level"),
    [
        ("boot", "dbg", "failboot"),
        ("dbg", "dbg", "safeboot"),
        ("boot", "failboot", "failboot"),
        ("boot", "disabled", "safeboot"),
        ("inst", "rins", "reinstall"),
        ("dbg", "boot", "boot"),
        ("boot", "reinstall", "reinstall"),
    ],
)
def test_what_a_boot_manager_says_is_an_observation_and_the_intent_stays(marked, intent, told, level):
    marked.cli("node", "state", "node1", intent)
    before = marked.node()
    assert manager(marked).hmac("BootUpdateNode", {"boot_state": told}) == 1
    after = marked.node()
    assert (after.boot_state, after.run_level) == (intent, level)
    assert after.generation == before.generation


def test_a_run_level_report_never_changes_the_intent(marked):
    assert manager(marked).hmac("ReportRunlevel", {"run_level": "boot"}) == 1
    assert (marked.node().boot_state, marked.node().run_level) == ("inst", "boot")


def test_the_operator_reads_what_is_notified(marked):
    node = manager(marked)
    for message in ("insufficientdisk", "newdisks", "somethingelse"):
        assert node.hmac("BootNotifyOwners", message, 1, 1, 1) == 1
    events = [(row["event"], row["code"]) for row in map(dict, events_of(marked))]
    assert events == [("error", "insufficientdisk"), ("notice", "newdisks")]
    (row,) = marked.cli_json("node", "list")
    assert row["status"]["error"]["title"] == "The machine has too little disk space"


def events_of(server):
    return server.operator.get("/api/nodes/node1/events").json()


def test_what_a_node_tells_of_its_network_is_kept_but_for_its_address(marked):
    node = manager(marked)
    changes = {"primary_network": {"gateway": "10.0.0.1", "ip": "6.6.6.6", "is_primary": False, "dns1": "1"}}
    node.hmac("BootUpdateNode", changes)
    (network,) = node.hmac("BootGetNodeDetails")["networks"]
    assert (network["gateway"], network["dns1"], network["is_primary"]) == ("10.0.0.1", "1", True)
    assert network["ip"] == "testclient", "where its calls come from"
    assert marked.node().address == "testclient"


# Faults.


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("NoSuchMethod",), 100),
        (("system.listMethods",), 100),
        (("AuthCheck", 1), 101),
        (("BootUpdateNode",), 101),
        (("BootNotifyOwners", "newdisks"), 101),
        (("BootUpdateNode", "boot"), 102),
        (("BootUpdateNode", {"boot_state": "flying"}), 102),
        (("BootUpdateNode", {"boot_state": ["boot"]}), 102),
        (("BootUpdateNode", {"primary_network": {"mac": 5}}), 102),
        (("BootUpdateNode", {"primary_network": []}), 102),
        (("BootUpdateNode", {"ssh_host_key": "x" * 5000}), 102),
        (("BootNotifyOwners", 1, 0, 0, 0), 102),
        (("ReportRunlevel", {}), 102),
        (("ReportRunlevel", "boot"), 102),
        (("GetNodes", None, ["key"]), 102),
        (("GetNodes", {"key": "x"}), 102),
        (("GetNodes", True), 102),
        (("GetNodeFlavour", 99), 102),
    ],
)
def test_faults_have_the_codes_of_the_field(marked, words, code):
    node = manager(marked)
    body = xmlrpc.dump_call(words[0], [node.auth(*words[1:]), *words[1:]])
    assert fault_of(node.proxy.post, body)[0] == code


@pytest.mark.parametrize(
    "auth",
    [
        {"AuthMethod": "hmac"},
        {"AuthMethod": "hmac", "node_id": "1", "value": ""},
        {"AuthMethod": "hmac", "node_id": True, "value": ""},
        {"AuthMethod": "hmac", "node_id": 0, "value": ""},
        {"AuthMethod": "hmac", "node_id": 1, "value": 5},
        {"AuthMethod": "hmac", "node_id": 1, "value": "", "node_ip": 5},
        {"AuthMethod": "session"},
        {"AuthMethod": "session", "session": 5},
    ],
)
def test_a_malformed_auth_struct_is_a_bad_argument(marked, auth):
    assert fault_of(manager(marked).proxy.AuthCheck, auth)[0] == 102


@pytest.mark.parametrize(
    "method", ["password", "gpg", "anonymous", "capability", "hmac_dummybox", "HMAC", ""]
)
def test_other_ways_of_the_originals_to_authenticate_do_not_exist(marked, method):
    auth = {**manager(marked).auth(), "AuthMethod": method, "Username": "x", "AuthString": "x"}
    assert fault_of(manager(marked).proxy.AuthCheck, auth) == REFUSED


def test_a_fault_in_the_database_is_told_as_such(marked, monkeypatch):
    from bootserver import classic_methods, methods
    from bootserver.database import DatabaseUnusable

    def broken(visit):
        raise DatabaseUnusable("locked")

    monkeypatch.setitem(classic_methods.METHODS, "AuthCheck", methods.Method(broken, 0, 0))
    assert fault_of(manager(marked).hmac, "AuthCheck")[0] == 106


def test_a_programming_error_is_told_without_its_text(marked, monkeypatch, caplog):
    from bootserver import classic_methods, methods

    def broken(visit):
        raise RuntimeError("inner detail")

    monkeypatch.setitem(classic_methods.METHODS, "AuthCheck", methods.Method(broken, 0, 0))
    code, text = fault_of(manager(marked).hmac, "AuthCheck")
    assert code == 111
    assert "inner detail" not in text
    assert "inner detail" in caplog.text


# What else they may reach: nothing.


def test_the_page_lists_all_that_can_be_called():
    page = (Path(__file__).parents[2] / "docs/classic.md").read_text()
    assert [name for name in METHODS if f"`{name}(" not in page] == []


def test_these_are_all_the_methods():
    assert set(METHODS) == {
        "BootCheckAuthentication",
        "BootGetNodeDetails",
        "BootUpdateNode",
        "BootNotifyOwners",
        "AuthCheck",
        "GetSession",
        "GetNodes",
        "GetInterfaces",
        "GetNodeFlavour",
        "GetNodeTags",
        "ReportRunlevel",
    }


@pytest.mark.parametrize("method", sorted(SIGNED_METHODS.keys() - METHODS.keys()))
def test_methods_of_signed_calls_are_not_reached(marked, method):
    node = manager(marked)
    node.session = node.hmac("GetSession")
    params = [[]] if method == "BootReportEvents" else []
    assert fault_of(node.hmac, method, *params)[0] == 100
    assert fault_of(node.in_session, method, *params)[0] == 100


def test_a_classic_session_is_none_for_signed_calls(marked):
    node = manager(marked)
    session = node.hmac("GetSession")
    auth = {
        "AuthMethod": "hmac-sha256",
        "node_id": 1,
        "node_ip": "",
        "session": session,
        "counter": 1,
        "value": node.auth()["value"],
    }
    assert fault_of(node.proxy.GetSlivers, auth) == REFUSED


def test_a_classic_client_learns_neither_images_nor_run(marked):
    node = marked.node()
    boot_of_2007(manager(marked), [])
    classic = manager(marked)
    said = [classic.hmac(name) for name in ("BootGetNodeDetails", "GetNodes", "GetInterfaces")]
    said.append(classic.hmac("GetNodeFlavour", 1))
    for secret in (node.run_id, "b" * 64, marked.key().to_text()):
        assert secret not in str(said)


@pytest.mark.parametrize("wanted", [2, "node2", [2], ["node2"], {"node_id": 2}, {"hostname": ["node2"]}])
def test_a_node_does_not_see_others(marked, wanted):
    marked.add("node2")
    node = manager(marked)
    assert node.hmac("GetNodes", wanted) == []
    assert [found["node_id"] for found in node.hmac("GetNodes")] == [1]
    assert node.hmac("GetInterfaces", [2]) == []


@pytest.mark.parametrize("wanted", [1, "node1", [2, 1], {"node_id": 1}, {"hostname": ["node1", "node2"]}])
def test_a_node_finds_itself(marked, wanted):
    assert [found["hostname"] for found in manager(marked).hmac("GetNodes", wanted)] == ["node1"]


# Nobody learns who is there.


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
    for _ in range(60):
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


# Sessions.


def test_one_session_a_node(marked):
    node = manager(marked)
    first = node.hmac("GetSession")
    second = node.hmac("BootGetNodeDetails")["session"]
    assert first != second
    node.session = first
    assert fault_of(node.in_session, "AuthCheck") == REFUSED
    node.session = second
    assert node.in_session("AuthCheck") == 1
    assert node.in_session("BootGetNodeDetails")["session"] == second


def test_a_session_ends_with_its_key(marked, tmp_path):
    node = manager(marked)
    node.session = node.hmac("GetSession")
    file = tmp_path / "key"
    file.write_text(OTHER_KEY)
    marked.cli("node", "classic", "node1", "--on", "--key-file", file)
    assert fault_of(node.in_session, "AuthCheck") == REFUSED


def test_a_key_that_changes_while_a_call_is_judged(marked, tmp_path, monkeypatch):
    calls = ClassicCalls(marked.state)
    proven = calls._proven
    (tmp_path / "key").write_text(OTHER_KEY)

    def meanwhile(auth, params):
        identity = proven(auth, params)
        marked.cli("node", "classic", "node1", "--on", "--key-file", tmp_path / "key")
        return identity

    monkeypatch.setattr(calls, "_proven", meanwhile)
    with pytest.raises(NotAuthentic, match="meanwhile"):
        calls.result("GetSession", [manager(marked).auth()], "peer")


def test_a_session_ends_after_a_day(marked):
    now = [0.0]
    calls = ClassicCalls(marked.state, ClassicSessions(clock=lambda: now[0]))
    session = calls.result("GetSession", [manager(marked).auth()], "peer")
    auth = {"AuthMethod": "session", "session": session}
    now[0] = SESSION_SECONDS - 1.0
    assert calls.result("AuthCheck", [auth], "peer") == 1
    now[0] = SESSION_SECONDS + 1.0
    with pytest.raises(NotAuthentic):
        calls.result("AuthCheck", [auth], "peer")


# The weaknesses that docs/classic.md names. They are here so that nobody believes them closed.


def test_weakness_a_recorded_call_can_be_replayed(marked):
    node = manager(marked)
    node.hmac("BootUpdateNode", {"boot_state": "boot"})
    recorded = node.proxy.sent[-1]
    marked.cli("node", "state", "node1", "rins")
    assert node.proxy.post(recorded) == 1
    assert marked.node().boot_state == "boot", "the operator's reinstallation is undone by a recording"


def test_weakness_a_mac_is_good_for_another_method_and_another_field(marked):
    node = manager(marked)
    auth = node.auth()
    assert node.proxy.AuthCheck(auth) == 1
    assert node.proxy.GetSession(auth)
    auth = node.auth({"boot_state": "boot"})
    assert node.proxy.BootUpdateNode(auth, {"ssh_host_key": "boot"}) == 1
    assert marked.node().ssh_host_keys == ["boot"]


def test_weakness_the_address_is_not_checked(marked):
    auth = {**manager(marked).auth(), "node_ip": "6.6.6.6"}
    assert manager(marked).proxy.AuthCheck(auth) == 1


def test_a_changed_value_is_refused_all_the_same(marked):
    node = manager(marked)
    auth = node.auth({"boot_state": "dbg"})
    assert fault_of(node.proxy.BootUpdateNode, auth, {"boot_state": "boot"}) == REFUSED
    assert fault_of(node.proxy.BootUpdateNode, {**auth, "value": auth["value"].upper()}, {}) == REFUSED
    assert node.proxy.BootUpdateNode({**auth, "value": value_of(node.key, [{}])}, {}) == 1


# HTTP below /boot/.


def node_id_of(server, **form):
    answer = server.web.post("/boot/getnodeid.php", data=form)
    assert answer.status_code == 200
    return answer.text


def test_a_nodes_id_by_its_card(server):
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "-1"
    server.cli("node", "classic", "node1", "--on", "--mac", "52:54:00:AB:cd:ef")
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "1"
    assert server.web.post("/boot/getnodeid.php?mac_addr=52:54:00:AB:CD:EF").text == "1"
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:00") == "-1"
    assert node_id_of(server, mac_addr="%") == "-1"
    server.cli("node", "classic", "node1", "--off")
    assert node_id_of(server, mac_addr="52:54:00:ab:cd:ef") == "-1"


def test_a_nodes_id_by_the_address_of_its_calls(marked):
    assert node_id_of(marked) == "-1"
    manager(marked).hmac("AuthCheck")
    assert node_id_of(marked) == "1"
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on")
    manager(marked, "node2").hmac("AuthCheck")
    assert node_id_of(marked) == "-1", "two nodes behind one address: no guess"


def test_a_card_that_two_nodes_claim_is_nobodys(marked):
    manager(marked).hmac("BootUpdateNode", {"primary_network": {"mac": "52:54:00:ab:cd:ef"}})
    assert node_id_of(marked, mac_addr="52:54:00:ab:cd:ef") == "1"
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on", "--mac", "52:54:00:ab:cd:ef")
    assert node_id_of(marked, mac_addr="52:54:00:ab:cd:ef") == "-1"


def upload(server, content=b"all went well", **fields):
    files = {"log": ("bm.log", content)}
    return server.web.post("/boot/upload-bmlog.php", data={"type": "bm.log", **fields}, files=files)


def logs(server, node_id=1):
    return [path.read_bytes() for path in sorted((server.folder / f"classic/logs/{node_id}").glob("*"))]


def test_a_log_is_kept_for_nodes_that_called_from_there(marked):
    assert upload(marked).status_code == 404
    manager(marked).hmac("AuthCheck")
    answer = upload(marked, b"line one\r\nline \xff two\n", hostname="node1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert logs(marked) == [b"line one\r\nline \xff two\n"]
    (path,) = (marked.folder / "classic/logs/1").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_the_last_logs_are_kept(marked):
    manager(marked).hmac("AuthCheck")
    for number in range(12):
        upload(marked, b"%d" % number)
    assert logs(marked) == [b"%d" % number for number in range(4, 12)]


def test_behind_one_address_the_name_says_whose_log_it_is(marked):
    marked.add("node2")
    marked.cli("node", "classic", "node2", "--on")
    for name in ("node1", "node2"):
        manager(marked, name).hmac("AuthCheck")
    assert upload(marked, b"whose?").status_code == 404
    assert upload(marked, b"two", hostname="Node2").status_code == 200
    assert (logs(marked, 1), logs(marked, 2)) == ([], [b"two"])


def test_a_log_over_the_limit_is_refused(marked):
    assert upload(marked, b"x" * (2 * 1024 * 1024)).status_code == 404, "a stranger's is not even read"
    manager(marked).hmac("AuthCheck")
    assert upload(marked, b"x" * (2 * 1024 * 1024)).status_code == 413
    assert logs(marked) == []


def test_the_archive_of_the_base_filesystem(marked):
    folder = marked.folder / "classic"
    folder.mkdir()
    for name in ("bootstrapfs-planetlab-trixie-x86_64.tar.bz2", "bootstrapfs-planetlab-i386.tar.bz2.sha1sum"):
        (folder / name).write_text(name)
        assert marked.web.get(f"/boot/{name}").status_code == 404
    (folder / "other").write_text("x")
    manager(marked).hmac("AuthCheck")
    for path in folder.glob("bootstrapfs-*"):
        assert marked.web.get(f"/boot/{path.name}").text == path.name
    for name in (
        "other",
        "bootstrapfs-no-such-thing.tar.bz2",
        "..%2Fmaster.key",
        "bootstrapfs-..%2F-x.tar.bz2",
    ):
        assert marked.web.get(f"/boot/{name}").status_code == 404
    marked.cli("node", "classic", "node1", "--off")
    assert marked.web.get("/boot/bootstrapfs-planetlab-trixie-x86_64.tar.bz2").status_code == 404


def test_intents_have_names_in_both_times():
    from bootserver.classic_methods import LATER_STATES

    assert set(LATER_STATES) == set(TargetState)
