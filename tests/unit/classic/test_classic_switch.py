"""Which nodes may be classic: the operator says so, node by node, and takes it back."""

import pytest

from bootserver.classic_methods import METHODS
from tests.classic_boot_managers import BootManager, MemoryProxy, boot_of_later_years
from tests.unit.classic.nodes import OTHER_KEY, REFUSED, fault_of, manager, node_id_of


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


def test_a_rotation_leaves_no_key_from_another_deployment(server, tmp_path):
    (tmp_path / "key").write_text(OTHER_KEY)
    server.cli("node", "classic", "node1", "--on", "--key-file", tmp_path / "key")
    node = manager(server, key=OTHER_KEY)
    node.session = node.hmac("GetSession")
    server.cli("node", "rotate-key", "node1")
    assert fault_of(node.hmac, "AuthCheck") == REFUSED
    assert fault_of(node.in_session, "AuthCheck") == REFUSED


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
