"""Slices and services from the command line; what a node would refuse is refused here already."""

import json
import time

import pytest
from click.testing import CliRunner

from bootserver import cli, slices
from bootserver.catalogue import publish
from tests.unit.bootserver_deployment import Deployment
from wire.conf_files import MAXIMUM_CONTENT
from wire.slivers import Instantiation, NodeService, NodeSlivers
from wire.structure import structure, unstructure
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


def test_a_slice_that_takes_a_removed_ones_name_has_another_number(server):
    server.add()
    numbers = []
    for _ in range(2):
        server.cli("slice", "add", "web", "--image", "sliver")
        server.cli("slice", "add-node", "web", "node1")
        numbers.append(server.client().call("GetSlivers")["slivers"][0]["slice_id"])
        server.cli("slice", "remove", "web", "--yes")
    assert numbers[0] != numbers[1]


def test_a_slice_is_changed_where_it_is(server, tmp_path):
    server.add()
    (tmp_path / "key").write_text("ssh-ed25519 AAAA someone\n")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    ports = ("--attribute", "ports=tcp:80:80")
    server.cli("slice", "add", "web", "--image", "sliver", "--days", 1, *ports, "--attribute", "cpu_share=64")
    server.cli("slice", "add-node", "web", "node1")
    before = server.node().generation
    wanted = ("--key", tmp_path / "key", "--initscript", tmp_path / "script", "--attribute", "cpu_share=")
    server.cli("slice", "set", "web", "--days", 400, *wanted)
    [said] = structure(server.client().call("GetSlivers"), NodeSlivers).slivers
    assert said.expires > time.time() + 399 * 86400
    assert [key.key for key in said.keys] == ["ssh-ed25519 AAAA someone"]
    assert (said.initscript, said.image) == ("#!/bin/sh\n", "sliver")
    assert [(each.tagname, each.value) for each in said.attributes] == [("ports", "tcp:80:80")]
    assert server.node().generation > before
    assert "ports=tcp:80:80" in server.cli("slice", "list")


def test_a_change_of_a_slice_that_a_node_would_refuse_changes_nothing(server):
    server.add()
    for port in (80, 81):
        server.cli("slice", "add", f"s{port}", "--image", "sliver", "--attribute", f"ports=tcp:{port}:80")
    assert "bad-role" in server.cli("slice", "set", "s80", "--attribute", "ports=junk", status=1)
    for port in (80, 81):
        server.cli("slice", "add-node", f"s{port}", "node1")
    before = server.cli_json("slice", "list")
    assert "bad-role" in server.cli("slice", "set", "s80", "--attribute", "ports=tcp:81:80", status=1)
    assert server.cli_json("slice", "list") == before


def test_an_image_that_is_not_published_is_told_of(server):
    words = ("--state", server.folder, "slice", "add")
    known = CliRunner().invoke(cli.main, [*map(str, words), "web", "--image", "sliver"])
    other = CliRunner().invoke(cli.main, [*map(str, words), "db", "--image", "nope", "--format", "json"])
    assert (known.exit_code, known.stderr) == (0, "")
    assert "no image nope is published" in other.stderr
    assert json.loads(other.stdout)["name"] == "db"


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


def test_files_of_one_node_and_of_all(server, tmp_path):
    for name in ("node1", "node2"):
        server.add(name)
    for name in ("all", "own"):
        (tmp_path / name).write_text(f"{name}\n")
    server.cli("conf-file", "add", "/etc/motd", "--all", "--from", tmp_path / "all", "--post", "true")
    server.cli(
        "conf-file", "add", "/etc/motd", "--node", "node1", "--from", tmp_path / "own", "--mode", "600"
    )
    server.cli("conf-file", "add", "/etc/x", "--all", "--from", tmp_path / "all", "--service", "web")
    told = structure(server.client().call("GetSlivers"), NodeSlivers).conf_files
    assert [(file.dest, file.data, file.mode, file.service) for file in told] == [
        ("/etc/motd", b"own\n", 0o600, ""),
        ("/etc/x", b"all\n", 0o644, "web"),
    ]
    rows = server.cli_json("conf-file", "list", "--node", "node2")
    assert [(row["dest"], row["bytes"], row["for"]) for row in rows] == [
        ("/etc/motd", 4, "all"),
        ("/etc/x", 4, "all"),
    ]
    server.cli("conf-file", "remove", "/etc/motd", "--node", "node1")
    assert "was not" in server.cli("conf-file", "remove", "/etc/motd", "--node", "node1")
    server.cli("conf-file", "remove", "/etc/x", "--all")
    told = structure(server.client().call("GetSlivers"), NodeSlivers).conf_files
    assert [(file.data, file.postinstall_cmd, file.source) for file in told] == [(b"all\n", "true", "all")]
    server.cli("conf-file", "add", "/etc/y", "--from", tmp_path / "all", status=2)


def test_every_node_is_told_of_a_file_of_all(server, tmp_path):
    for name in ("node1", "node2"):
        server.add(name)
    before = [server.node(name).generation for name in ("node1", "node2")]
    (tmp_path / "file").touch()
    server.cli("conf-file", "add", "/etc/motd", "--all", "--from", tmp_path / "file")
    after = [server.node(name).generation for name in ("node1", "node2")]
    assert all(new > old for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        ["/etc/shadow"],
        ["/etc/../x"],
        ["/etc/motd", "--mode", "rw-r--r--"],
        ["/etc/motd", "--owner", "a b"],
        ["/etc/motd", "--always", "--service", "web"],
    ],
)
def test_a_file_that_nodes_would_refuse_is_refused(server, tmp_path, wrong):
    server.add()
    (tmp_path / "file").touch()
    added = server.cli("conf-file", "add", *wrong, "--node", "node1", "--from", tmp_path / "file", status=1)
    assert "bad-role" in added
    assert server.cli_json("conf-file", "list", "--node", "node1") == []


def test_files_have_bounds(server, tmp_path):
    server.add()
    (tmp_path / "file").write_bytes(bytes(MAXIMUM_CONTENT + 1))
    one = ("--node", "node1", "--from", tmp_path / "file")
    assert "over 262144 bytes" in server.cli("conf-file", "add", "/etc/big", *one, status=1)
    (tmp_path / "file").write_bytes(bytes(MAXIMUM_CONTENT))
    for number in range(4):
        server.cli("conf-file", "add", f"/etc/{number}", *one)
    assert "over 1048576 bytes" in server.cli("conf-file", "add", "/etc/4", *one, status=1)
    assert len(server.cli_json("conf-file", "list", "--node", "node1")) == 4


def test_a_service_with_an_overlay_and_a_check(server, tmp_path):
    server.add()
    server.cli(
        *("service", "add", "node1", "web", "--overlay", "web", "--health", "true", "--health-seconds", "5")
    )
    told = structure(server.client().call("GetSlivers"), NodeSlivers).services
    assert told == (NodeService("web", "", "web", "true", 5),)
    assert "bad-role" in server.cli("service", "add", "node1", "other", status=1)
    assert [row["overlay"] for row in server.cli_json("service", "list", "node1")] == ["web"]


def test_a_new_overlay_is_told_to_the_nodes_that_have_it(server):
    for name in ("node1", "node2"):
        server.add(name)
    server.cli("service", "add", "node1", "web", "--overlay", "web")
    before = [server.node(name).generation for name in ("node1", "node2")]
    with server.state.database.write() as session:
        publish(session, "web", "a" * 64)
    after = [server.node(name).generation for name in ("node1", "node2")]
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)
    reply = structure(server.client().call("GetSlivers"), NodeSlivers)
    assert reply.image("web").manifest == "a" * 64
