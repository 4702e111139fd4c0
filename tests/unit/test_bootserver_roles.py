"""Slices and services from the command line; what a node would refuse is refused here already."""

import pytest

from bootserver import slices
from tests.unit.bootserver_deployment import Deployment
from wire.slivers import Instantiation
from wire.structure import unstructure
from wire.tickets import BadTicket, TicketKey


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


def test_slices_and_services(server, tmp_path):
    server.add()
    (tmp_path / "unit").write_text("[Service]\nExecStart=/bin/true\n")
    server.cli("slice", "add", "web", "--image", "sliver")
    assert "slice-exists" in server.cli("slice", "add", "web", "--image", "sliver", status=1)
    server.cli("slice", "add-node", "web", "node1")
    assert "as before" in server.cli("slice", "add-node", "web", "node1")
    assert server.cli_json("slice", "list")[0]["nodes"] == ["node1"]
    server.cli("service", "add", "node1", "metrics", "--unit", tmp_path / "unit")
    assert [row["name"] for row in server.cli_json("service", "list", "node1")] == ["metrics"]
    server.cli("service", "remove", "node1", "metrics")
    server.cli("slice", "remove-node", "web", "node1")
    server.cli("slice", "remove", "web", "--yes")
    reply = server.client().call("GetSlivers")
    assert (reply["slivers"], reply["services"]) == ([], [])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("../x", []),
        ("x", ["--attribute", "bad name=1"]),
        ("x", ["--attribute", "ports=junk"]),
    ],
)
def test_a_slice_that_nodes_would_refuse_is_refused(server, name, more):
    assert "bad-role" in server.cli("slice", "add", name, "--image", "sliver", *more, status=1)
    assert server.cli_json("slice", "list") == []


def test_two_slices_do_not_share_a_port_of_a_node(server):
    server.add()
    for name in ("one", "two"):
        server.cli("slice", "add", name, "--image", "sliver", "--attribute", "ports=tcp:80:80")
    server.cli("slice", "add-node", "one", "node1")
    assert "bad-role" in server.cli("slice", "add-node", "two", "node1", status=1)
    assert server.cli_json("node", "show", "node1")["slices"] == ["one"]


def test_a_script_that_cannot_be_carried_is_refused(server, tmp_path):
    server.add()
    (tmp_path / "init").write_text("#!/bin/sh\n\x1b[2J\n")
    server.cli("slice", "add", "web", "--image", "sliver", "--initscript", tmp_path / "init")
    assert "control character" in server.cli("slice", "add-node", "web", "node1", status=1)
    assert server.client().call("GetSlivers")["slivers"] == []


def test_delegates_of_a_node(server, tmp_path):
    server.add()
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"ssh-ed25519 AAAA {name}\n")
    server.cli("delegate", "add", "node1", "someone", "--key", tmp_path / "one")
    server.cli("delegate", "add", "node1", "someone", "--key", tmp_path / "two")
    told = server.client().call("GetSlivers")["accounts"]
    assert told == [{"name": "someone", "keys": ["ssh-ed25519 AAAA two"], "type": "delegate"}]
    assert [row["name"] for row in server.cli_json("delegate", "list", "node1")] == ["someone"]
    assert "bad-role" in server.cli("delegate", "add", "node1", "../x", "--key", tmp_path / "one", status=1)
    server.cli("delegate", "remove", "node1", "someone")
    assert "was not" in server.cli("delegate", "remove", "node1", "someone")
    assert server.client().call("GetSlivers")["accounts"] == []


def test_a_ticket_is_what_the_node_is_told_and_puts_the_slice_there(server):
    server.add()
    server.add("node2")
    server.cli(
        "slice", "add", "web", "--image", "sliver", "--delegated", "--attribute", "delegations=someone"
    )
    text = server.cli("slice", "ticket", "web", "--node", "node1", "--days", "2").strip()
    reply = server.client().call("GetSlivers")
    ticket = TicketKey.derive(server.key("node1"), server.node("node1").id).verify(text)
    assert unstructure(ticket.sliver) == reply["slivers"][0]
    assert ticket.sliver.instantiation is Instantiation.DELEGATED
    assert unstructure(list(ticket.images)) == reply["images"]
    assert ticket.expires - ticket.issued == 2 * 86400
    with pytest.raises(BadTicket):
        TicketKey.derive(server.key("node2"), server.node("node2").id).verify(text)
    assert server.client("node2").call("GetSlivers")["slivers"] == []


def test_there_is_no_ticket_for_a_slice_that_has_expired(server):
    server.add()
    server.cli("slice", "add", "web", "--image", "sliver", "--delegated")
    with server.state.database.write() as session:
        slices.find(session, "web").expires = 1
    assert "expired" in server.cli("slice", "ticket", "web", "--node", "node1", status=1)
    assert server.cli_json("node", "show", "node1")["slices"] == []
