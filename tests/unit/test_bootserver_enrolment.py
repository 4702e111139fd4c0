"""Nodes without identity: what waits, who admits, and that nobody gets anything by a MAC address alone."""

import time

import pytest

from bootserver import enrolment
from bootserver.enrolment import FORGET_SECONDS, GRANT_SECONDS, MOST_WAITING, MOST_WAITING_PER_PEER
from bootserver.tables import Waiting
from host.server import AuthenticationRefused, CallRefused
from tests.unit.bootserver_deployment import Deployment
from tests.unit.bootserver_enrolment import MAC, Machine, waiting
from wire import xmlrpc
from wire.enrolment import METHOD, EnrolmentKey, GrantNotOpened, fingerprint
from wire.session import new_nonce


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


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


def test_a_site_that_names_cannot_end_with_is_refused(server):
    for site in ("", "a b", "x" * 250, "-"):
        said = server.cli("token", "new", "--site", site, status=1)
        assert "bad-node-name" in said
        assert f".{site!r}" in said
        assert "000000000000" not in said


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
