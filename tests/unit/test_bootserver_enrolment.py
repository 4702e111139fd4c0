"""Nodes without identity: what waits, who admits, and that nobody gets anything by a MAC address alone."""

import time
from dataclasses import replace

import pytest
from bootserver_deployment import Deployment, Wire
from click.testing import CliRunner

from bootserver import cli, cli_media, enrolment
from bootserver.enrolment import FORGET_SECONDS, GRANT_SECONDS, MOST_WAITING, MOST_WAITING_PER_PEER
from bootserver.tables import EnrolmentToken, Waiting
from host.enrol import announce
from host.server import AuthenticationRefused, CallRefused, ServerClient, ServerNotAuthentic
from wire import xmlrpc
from wire.enrolment import METHOD, BadToken, EnrolmentKey, GrantNotOpened, Token, fingerprint, seal_grant
from wire.nodeconf import EnrolmentConfiguration, MalformedNodeConfiguration, NetworkSettings, parse_any
from wire.session import NodeKey, new_nonce

MAC = "52:54:00:AB:CD:EF"
HTTPS = EnrolmentConfiguration("https://server", NetworkSettings())


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


class Machine:
    """A node without identity, of this boot."""

    def __init__(self, server, token=None, mac=MAC):
        self.server, self.mac = server, mac
        self.key = EnrolmentKey.generate()
        self.wire = Wire(server.web)
        self.configuration = replace(HTTPS, token=token)

    @property
    def fingerprint(self):
        return fingerprint(self.key.public)

    def ask(self):
        return announce(self.wire, self.configuration, self.key, self.mac)

    def works(self):
        """Whether what it was given is an identity."""
        given = self.ask()
        client = ServerClient(Wire(self.server.web), given.node_id, given.key, "10.0.2.15")
        return client.call("GetSlivers")["hostname"]


def new_token(server, *words):
    return Token.from_text(server.cli("token", "new", "--site", "berlin.example.org", *words))


def waiting(server):
    return server.cli_json("node", "waiting")


def test_a_node_waits_until_a_person_admits_it(server):
    machine = Machine(server)
    assert machine.ask() is None
    (row,) = waiting(server)
    assert (row["mac"], row["fingerprint"], row["token"]) == (MAC, machine.fingerprint, "")
    said = server.cli("node", "admit", machine.fingerprint, "node7", "--state", "inst")
    assert "bootserver media key node7 FILE" in said
    assert machine.works() == "node7"
    assert server.node("node7").boot_state == "inst"
    assert waiting(server) == []


def test_who_waits_gets_nothing_secret(server):
    machine = Machine(server)
    machine.ask()
    answer = xmlrpc.load_reply(machine.wire.answers[-1])
    assert answer.keys() == {"state", "grant", "time"}
    assert (answer["state"], answer["grant"]) == ("waiting", {})


def test_a_mac_alone_gives_nothing(server):
    """Another key pair with the MAC of a node that was admitted, or that is about to be."""
    machine, other = Machine(server), Machine(server)
    machine.ask()
    other.ask()
    assert [row["mac"] for row in waiting(server)] == [MAC, MAC], "both are shown, told apart by fingerprints"
    server.cli("node", "admit", machine.fingerprint, "node7")
    assert machine.works() == "node7"
    assert other.ask() is None
    assert Machine(server).ask() is None


def test_the_grant_opens_for_the_key_pair_only(server):
    """Whoever sends a public key of another gets what only the other can open."""
    machine = Machine(server)
    machine.ask()
    server.cli("node", "admit", machine.fingerprint, "node7")
    key = server.key("node7")
    machine.ask()
    assert all(
        form not in machine.wire.answers[-1]
        for form in (key.secret, key.to_text().encode(), key.secret.hex().encode())
    )
    grant = xmlrpc.load_reply(machine.wire.answers[-1])["grant"]
    nonce = xmlrpc.load_call(machine.wire.sent[-1])[1][0]["nonce"]
    opened = (grant["sealed"], grant["ephemeral"], nonce)
    assert machine.key.open(grant["node_id"], *opened).secret == key.secret
    with pytest.raises(GrantNotOpened):
        EnrolmentKey.generate().open(grant["node_id"], *opened)
    with pytest.raises(GrantNotOpened):
        machine.key.open(grant["node_id"] + 1, *opened)
    with pytest.raises(GrantNotOpened):
        machine.key.open(grant["node_id"], grant["sealed"], grant["ephemeral"], new_nonce())


def test_an_admission_is_by_fingerprint(server):
    machine = Machine(server)
    machine.ask()
    for mark in (MAC, machine.fingerprint[:-1], "", "0000 0000 0000 0000 0000"):
        assert "nobody-waits" in server.cli("node", "admit", "--", mark, "node7", status=1)
    server.cli("node", "admit", machine.fingerprint.replace(" ", "").upper(), "node7")


def test_a_known_node_gets_a_new_key(server):
    server.add("node7")
    old = server.client("node7")
    old.call("GetSlivers")
    machine = Machine(server)
    machine.ask()
    assert "node-exists" in server.cli("node", "admit", machine.fingerprint, "node7", status=1)
    server.cli("node", "admit", machine.fingerprint, "node7", "--known")
    assert machine.works() == "node7"
    with pytest.raises(AuthenticationRefused):
        old.call("GetSlivers")


@pytest.mark.parametrize("command", [("rotate-key",), ("remove", "--yes")])
def test_a_key_pair_fetches_no_later_key(server, command):
    machine = Machine(server)
    machine.ask()
    server.cli("node", "admit", machine.fingerprint, "node7")
    machine.ask()
    server.cli("node", command[0], "node7", *command[1:])
    assert machine.ask() is None


def test_a_grant_is_for_this_run(server, monkeypatch):
    machine = Machine(server)
    machine.ask()
    server.cli("node", "admit", machine.fingerprint, "node7")
    assert machine.ask()
    later = time.time() + GRANT_SECONDS + 60
    monkeypatch.setattr("bootserver.enrolment.time.time", lambda: later)
    assert machine.ask() is None


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


def test_a_token_is_kept_sealed_and_derived(server):
    token = new_token(server)
    assert token.secret not in server.cli("token", "list", "--format", "json")
    server.state.database.close()
    stored = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert token.name.encode() in stored
    for form in (token.secret.encode(), token.key(), token.key().hex().encode()):
        assert form not in stored
    assert token.secret not in repr(token)


def test_a_site_that_names_cannot_end_with_is_refused(server):
    for site in ("", "a b", "x" * 250, "-"):
        assert "bad-node-name" in server.cli("token", "new", "--site", site, status=1)


def test_a_flood_is_bounded_and_passes(server, monkeypatch):
    for _ in range(MOST_WAITING_PER_PEER):
        Machine(server).ask()
    with pytest.raises(CallRefused, match="fault 108"):
        Machine(server).ask()
    assert len(waiting(server)) == MOST_WAITING_PER_PEER
    later = time.time() + FORGET_SECONDS + 60
    monkeypatch.setattr("bootserver.enrolment.time.time", lambda: later)
    assert waiting(server) == []
    Machine(server).ask()
    assert len(waiting(server)) == 1
    with server.state.database.read() as session:
        assert session.query(Waiting).count() == 1


def test_a_flood_from_many_addresses_is_bounded_too(server):
    announcer = enrolment.Enrolment(server.state)
    for number in range(MOST_WAITING):
        said = {"mac": MAC, "public_key": f"{number:064x}", "nonce": "0" * 64}
        announcer.announce([said], f"10.0.{number // 5}.1")
    with pytest.raises(Exception, match="too many nodes wait already"):
        announcer.announce([said | {"public_key": "f" * 64}], "10.9.9.9")


def test_asking_often_writes_nothing(server):
    machine = Machine(server)
    machine.ask()

    def seen():
        with server.state.database.read() as session:
            return session.get(Waiting, machine.key.public).seen

    before = seen()
    machine.ask()
    assert seen() == before


GOOD = {"mac": MAC, "public_key": "1" * 64, "nonce": "2" * 64}


@pytest.mark.parametrize(
    "params",
    [
        [],
        [{}],
        [GOOD, 1],
        [GOOD | {"mac": "x"}],
        [GOOD | {"mac": MAC.lower()}],
        [GOOD | {"public_key": "1" * 63}],
        [GOOD | {"public_key": "G" * 64}],
        [GOOD | {"nonce": 5}],
        [GOOD | {"token": 5}],
        [GOOD | {"token": "x" * 17}],
        [GOOD | {"proof": "x"}],
        [GOOD | {"more": "x"}],
        [GOOD | {"mac": MAC + "\n"}],
    ],
)
def test_what_is_no_announcement(server, params):
    assert server.post(xmlrpc.dump_call(METHOD, params)).faultCode == 102
    assert waiting(server) == []


def test_a_public_key_without_a_pair_gets_no_grant(server):
    """Points of low order would make a shared secret that everybody knows."""
    server.post(xmlrpc.dump_call(METHOD, [GOOD | {"public_key": "0" * 64}]))
    server.cli("node", "admit", fingerprint("0" * 64), "node7")
    assert server.post(xmlrpc.dump_call(METHOD, [GOOD | {"public_key": "0" * 64}])).faultCode == 102


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


def test_the_dashboard_and_the_api_show_who_waits(server):
    assert "Waits for admission" not in server.operator.get("/").text
    machine = Machine(server)
    machine.ask()
    for path in ("/", "/fleet"):
        page = server.operator.get(path).text
        assert machine.fingerprint in page
        assert "bootserver node admit" in page
    (row,) = server.operator.get("/api/waiting").json()
    assert row["mac"] == MAC


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
        cli_media, "write_key_medium", lambda path, content, run: texts.append(content.to_text())
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
