"""Slices and services from the command line; what a node would refuse is refused here already."""

import pytest

from tests.unit.bootserver_deployment import Deployment


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
