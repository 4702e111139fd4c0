"""The weaknesses that docs/classic.md names: they are here so that nobody believes them closed."""

from tests.classic_boot_managers import value_of
from tests.unit.classic.nodes import REFUSED, fault_of, manager


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
