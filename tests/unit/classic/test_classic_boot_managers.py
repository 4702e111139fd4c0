"""The boot managers of both times before the server, and what becomes of what they say."""

import pytest

from tests.classic_boot_managers import boot_of_2007, boot_of_later_years
from tests.unit.classic.nodes import manager
from wire.messages import TargetState


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


def test_intents_have_names_in_both_times():
    from bootserver.classic_methods import LATER_STATES

    assert set(LATER_STATES) == set(TargetState)
