"""What a classic client may reach: the classic calls, its own node, and nothing else."""

from pathlib import Path

import pytest

from bootserver.classic_methods import METHODS
from bootserver.methods import METHODS as SIGNED_METHODS
from tests.classic_boot_managers import boot_of_2007
from tests.unit.classic.nodes import REFUSED, fault_of, manager


def test_the_page_lists_all_that_can_be_called():
    page = (Path(__file__).parents[3] / "docs/classic.md").read_text()
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
