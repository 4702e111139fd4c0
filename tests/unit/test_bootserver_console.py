"""Console passwords at the server: whose counts, what is kept, what nodes are told."""

import pytest
from click.testing import CliRunner

from bootserver import cli
from tests.unit.bootserver_deployment import Deployment
from wire import password
from wire.messages import NodeDetails
from wire.password import is_password
from wire.structure import structure

WORDS = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(password, "_LOG2_N", 10)


@pytest.fixture
def server(tmp_path):
    deployment = Deployment(tmp_path / "state")
    deployment.add("node1")
    deployment.add("node2")
    return deployment


def set_password(server, *words, typed=f"{WORDS}\n"):
    return CliRunner().invoke(
        cli.main, ["--state", str(server.folder), "console-password", *words], input=typed
    )


def told(server, name):
    return structure(server.client(name).call("BootGetNodeDetails"), NodeDetails)


def test_at_first_there_is_none(server):
    assert told(server, "node1").console_password == ""


def test_the_deployments_counts_where_a_node_has_none_of_its_own(server):
    before = told(server, "node1").generation
    assert set_password(server).exit_code == 0
    assert set_password(server, "--node", "node2", typed="other words here\n").exit_code == 0
    assert is_password(WORDS, told(server, "node1").console_password)
    assert is_password("other words here", told(server, "node2").console_password)
    assert not is_password(WORDS, told(server, "node2").console_password)
    assert told(server, "node1").generation > before
    set_password(server, "--node", "node2", "--remove")
    assert is_password(WORDS, told(server, "node2").console_password)
    set_password(server, "--remove")
    assert told(server, "node2").console_password == ""


def test_only_the_hash_is_kept_and_nothing_shows_it(server):
    done = set_password(server, "--node", "node1")
    assert WORDS not in done.output
    server.state.database.close()
    kept = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert WORDS.encode() not in kept
    hashed = server.node().console_password
    shown = server.cli("node", "show", "node1", "--format", "json") + server.operator.get("/nodes/node1").text
    assert hashed.startswith("scrypt:")
    assert hashed not in shown


@pytest.mark.parametrize(
    ("words", "typed", "code"),
    [
        ([], "short\n", "bad-console-password"),
        ([], "", "bad-console-password"),
        (["--node", "x"], WORDS, "no-such-node"),
    ],
)
def test_what_is_refused_changes_nothing(server, words, typed, code):
    done = set_password(server, *words, typed=typed)
    assert done.exit_code == 1
    assert f"[{code}]" in done.output
    assert told(server, "node1").console_password == ""
