"""Tokens that admit without a person, and the media that carry them or nothing."""

import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from bootserver import cli, cli_media
from bootserver.tables import EnrolmentToken
from host.enrol import announce
from host.server import ServerNotAuthentic
from tests.unit.bootserver_deployment import Deployment
from tests.unit.bootserver_enrolment import MAC, Machine, new_token, waiting
from wire import xmlrpc
from wire.enrolment import BadToken, EnrolmentKey, Token, seal_grant
from wire.nodeconf import EnrolmentConfiguration, parse_any
from wire.nodefile import MalformedNodeConfiguration
from wire.session import NodeKey, new_nonce


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


def test_a_token_admits_without_a_person(server):
    machine = Machine(server, new_token(server, "--state", "inst"))
    assert machine.works() == "525400abcdef.berlin.example.org"
    node = server.node("525400abcdef.berlin.example.org")
    assert (node.site, node.boot_state) == ("berlin.example.org", "inst")
    assert waiting(server) == []


def test_a_token_counts_nodes_and_not_questions(server):
    token = new_token(server, "--count", "2")
    machines = [Machine(server, token, f"52:54:00:00:00:0{number}") for number in range(3)]
    for machine in machines[:2]:
        for _ in range(3):
            assert machine.ask()
    assert server.cli_json("token", "list")[0]["remaining"] == 0
    assert machines[2].ask() is None
    (row,) = waiting(server)
    assert row["token"] == token.name, "the operator sees that it came with a token"


def test_an_expired_token_admits_nobody(server):
    token = new_token(server, "--days", "1")
    with server.state.database.write() as session:
        session.get(EnrolmentToken, token.name).expires = time.time() - 1
    assert Machine(server, token).ask() is None
    assert server.cli_json("token", "list")[0]["usable"] is False


def test_a_revoked_token_admits_nobody(server):
    token = new_token(server)
    server.cli("token", "revoke", token.name)
    assert Machine(server, token).ask() is None
    assert "no-such-token" in server.cli("token", "revoke", token.name, status=1)


def test_a_guessed_token_admits_nobody(server):
    token = new_token(server)
    machine = Machine(server, Token(token.name, Token.generate().secret))
    assert machine.ask() is None
    assert waiting(server)[0]["token"] == ""


def test_the_proof_is_for_one_machine_and_key_pair(server):
    token = new_token(server, "--count", "9")
    machine = Machine(server, token)
    machine.configuration = replace(machine.configuration, server="https://other")
    machine.ask()
    sent = machine.wire.sent[-1]
    for old, new in (
        (MAC, "52:54:00:00:00:01"),
        (machine.key.public, EnrolmentKey.generate().public),
        (xmlrpc.load_call(sent)[1][0]["nonce"], new_nonce()),
    ):
        reply = server.post(sent.replace(old.encode(), new.encode()))
        assert "value" not in reply
    assert server.cli_json("token", "list")[0]["remaining"] == 8


def test_a_token_does_not_give_a_known_machines_identity(server):
    """Who holds a token and knows a MAC address is not that node."""
    token = new_token(server, "--count", "9")
    first = Machine(server, token)
    assert first.works()
    assert Machine(server, token).ask() is None
    assert server.cli_json("token", "list")[0]["remaining"] == 8


def test_a_token_gives_no_second_identity_to_a_machine_of_another_name(server):
    admitted = Machine(server)
    assert admitted.ask() is None
    server.cli("node", "admit", admitted.fingerprint, "berlin-1.example.org")
    assert admitted.works()
    assert Machine(server, new_token(server)).ask() is None
    assert [row["name"] for row in server.cli_json("node", "list")] == ["berlin-1.example.org"]


def test_a_token_gives_no_second_identity_to_a_machine_of_another_site(server):
    assert Machine(server, new_token(server)).works()
    elsewhere = Token.from_text(server.cli("token", "new", "--site", "paris.example.org"))
    assert Machine(server, elsewhere).ask() is None
    assert [row["remaining"] for row in server.cli_json("token", "list")] == [0, 1]


def test_a_token_is_kept_sealed_and_derived(server):
    token = new_token(server)
    assert token.secret not in server.cli("token", "list", "--format", "json")
    server.state.database.close()
    stored = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert token.name.encode() in stored
    for form in (token.secret.encode(), token.key(), token.key().hex().encode()):
        assert form not in stored
    assert token.secret not in repr(token)


class Impostor:
    """Answers in the server's place with an identity of its own making."""

    def __init__(self, machine, **answer):
        self.machine, self.answer = machine, answer

    def post(self, path, body, **_):
        said = xmlrpc.load_call(body)[1][0]
        grant = seal_grant(said["public_key"], 66, NodeKey.generate(), said["nonce"])
        return xmlrpc.dump_reply({"state": "admitted", "grant": grant, "time": 5, **self.answer})


def test_without_tls_only_who_knows_the_token_gives_an_identity(server):
    machine = Machine(server, new_token(server))
    machine.configuration = replace(machine.configuration, server="http://server")
    for answer in ({}, {"value": "0" * 64}, {"value": 5}):
        with pytest.raises(ServerNotAuthentic):
            announce(Impostor(machine, **answer), machine.configuration, machine.key, MAC)
    assert machine.works()


def test_with_a_token_a_wrong_proof_is_refused_over_tls_too(server):
    machine = Machine(server, new_token(server))
    with pytest.raises(ServerNotAuthentic):
        announce(Impostor(machine, value="0" * 64), machine.configuration, machine.key, MAC)


def test_an_admission_is_in_the_timeline(server):
    machine = Machine(server, new_token(server))
    machine.ask()
    name = "525400abcdef.berlin.example.org"
    (row,) = server.operator.get(f"/api/nodes/{name}/events").json()
    assert (row["event"], row["fingerprint"], row["mac"]) == ("node.admitted", machine.fingerprint, MAC)


@pytest.fixture
def written(server, monkeypatch):
    server.state.tls.make(["10.0.2.2"])
    texts = []
    monkeypatch.setattr(
        cli_media, "write_key_medium", lambda path, content, root, run: texts.append(content.to_text())
    )
    return texts


def test_an_enrolment_medium_has_no_identity(server, written):
    server.cli("media", "enrol", "x.img", "--server", "https://10.0.2.2:8080")
    found = parse_any(written[0], "x")
    assert isinstance(found, EnrolmentConfiguration)
    assert found.token is None
    assert "BEGIN CERTIFICATE" in found.authority
    assert "NODE_" not in written[0]


def test_a_token_comes_onto_the_medium_by_a_file(server, written, tmp_path):
    token = new_token(server)
    (tmp_path / "token").write_text(token.to_text() + "\n")
    words = (
        "media",
        "enrol",
        "x.img",
        "--server",
        "http://10.0.2.2:8080",
        "--token-file",
        tmp_path / "token",
    )
    said = server.cli(*words)
    assert parse_any(written[0], "x").token == token
    assert token.secret not in said
    line = ["--state", str(server.folder), *map(str, words[:-1]), "-"]
    assert CliRunner().invoke(cli.main, line, input=token.to_text()).exit_code == 0


def test_without_tls_and_token_there_is_no_enrolment_medium(server, written):
    said = server.cli("media", "enrol", "x.img", "--server", "http://10.0.2.2:8080", status=1)
    assert MalformedNodeConfiguration.code in said


@pytest.mark.parametrize("text", ["", "x", "0" * 16, "0" * 16 + "." + "x" * 42, "z" * 16 + "." + "x" * 43])
def test_what_is_no_token(text):
    with pytest.raises(BadToken) as caught:
        Token.from_text(text)
    assert "x" * 42 not in str(caught.value)
    if text:
        with pytest.raises(MalformedNodeConfiguration, match="line 2: ENROL_TOKEN") as malformed:
            parse_any(f'BOOT_SERVER="http://x"\nENROL_TOKEN="{text}"\n', "x")
        assert "x" * 42 not in str(malformed.value)
