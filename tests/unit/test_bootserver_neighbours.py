"""Whom the server tells a node of: who is near it, gives the same image, and has said so of late."""

import time

import pytest
from starlette.testclient import TestClient

from bootserver.app import node_app
from bootserver.neighbours import lan
from bootserver.tables import Giver
from host.server import CallRefused, ServerClient
from images.manifest import sha256
from tests.unit.bootserver_deployment import Deployment, Wire
from wire.neighbours import MAXIMUM_IMAGES, MAXIMUM_NEIGHBOURS, METHOD, SEEN_SECONDS, Met, Neighbour
from wire.structure import structure

BASE, OTHER = sha256(b"base"), sha256(b"other")
PORT = 40000


class Fleet(Deployment):
    """A server, and nodes that call it, each from an address of its own."""

    def __init__(self, folder):
        super().__init__(folder)
        self.app = node_app(self.state)
        self.names = set()

    def meet(self, name, address, offer, *, peer="", site=""):
        """Let a node call; `peer` is where its connection comes from, if not from its own address."""
        if name not in self.names:
            self.add(name)
            self.names.add(name)
            self.set(name, site=site)
        wire = Wire(TestClient(self.app, client=(peer or address, 1)))
        client = ServerClient(wire, self.node(name).id, self.key(name), address)
        return structure(client.call(METHOD, offer), Met).neighbours

    def call(self, name, address, images=(BASE,), **more):
        found = self.meet(name, address, {"port": PORT, "images": list(images)}, **more)
        return {each.address for each in found}


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "state")


def test_nodes_of_one_subnet_are_told_of_each_other(fleet):
    assert fleet.call("a", "10.0.0.1") == set()
    assert fleet.call("b", "10.0.0.2") == {"10.0.0.1"}
    assert fleet.call("c", "10.0.1.3") == set()
    assert fleet.call("a", "10.0.0.1") == {"10.0.0.2"}


def test_where_it_gives_is_told(fleet):
    for port in (40001, 40002):
        fleet.meet("a", "10.0.0.1", {"port": port, "images": [BASE]})
    found = fleet.meet("b", "10.0.0.2", {"port": PORT, "images": [BASE]})
    assert found == (Neighbour("10.0.0.1", 40002),)


def test_the_same_private_subnet_behind_two_translators_is_two_lans(fleet):
    fleet.call("a", "192.168.1.1", peer="198.51.100.1")
    assert fleet.call("b", "192.168.1.2", peer="198.51.100.2") == set()
    assert fleet.call("c", "192.168.1.3", peer="198.51.100.1") == {"192.168.1.1"}


def test_a_site_is_one_lan(fleet):
    fleet.call("a", "10.0.0.1", site="paris")
    fleet.call("b", "10.0.7.2", site="rome")
    assert fleet.call("c", "10.0.9.3", site="paris") == {"10.0.0.1"}
    assert fleet.call("d", "10.0.3.4") == set()


def test_of_no_use_is_who_has_other_images(fleet):
    fleet.call("a", "10.0.0.1", [OTHER])
    assert fleet.call("b", "10.0.0.2", [BASE]) == set()
    assert fleet.call("c", "10.0.0.3", [BASE, OTHER]) == {"10.0.0.1", "10.0.0.2"}


def test_who_was_not_heard_of_of_late_is_forgotten(fleet):
    fleet.call("a", "10.0.0.1")
    with fleet.state.database.write() as session:
        session.query(Giver).one().seen = time.time() - SEEN_SECONDS - 1
    assert fleet.call("b", "10.0.0.2") == set()


def test_a_removed_node_is_nobodys_neighbour(fleet):
    fleet.call("a", "10.0.0.1")
    fleet.cli("node", "remove", "a", "--yes")
    assert fleet.call("b", "10.0.0.2") == set()


def test_off_means_neither_told_nor_told_of(fleet):
    fleet.call("a", "10.0.0.1")
    fleet.cli("node", "set", "a", "neighbours=off")
    assert fleet.call("b", "10.0.0.2") == set()
    with pytest.raises(CallRefused, match=r"fault 108.*switched off"):
        fleet.call("a", "10.0.0.1")
    fleet.cli("node", "set", "a", "neighbours=on")
    assert fleet.call("a", "10.0.0.1") == {"10.0.0.2"}


def test_of_many_those_next_to_it(fleet):
    count, half = 2 * MAXIMUM_NEIGHBOURS, MAXIMUM_NEIGHBOURS // 2
    numbers = [fleet.add(f"n{number}") for number in range(count)]
    with fleet.state.database.write() as session:
        for number, node_id in enumerate(numbers):
            place = {"address": f"10.0.0.{number}", "port": PORT, "lan": "10.0.0.0/24"}
            session.add(Giver(node_id=node_id, images=[BASE], seen=time.time(), **place))
    fleet.names |= {f"n{number}" for number in range(count)}
    for number in (0, half, count - 1):
        offsets = [*range(1, MAXIMUM_NEIGHBOURS - half + 1), *range(-half, 0)]
        expected = {f"10.0.0.{(number + offset) % count}" for offset in offsets}
        assert fleet.call(f"n{number}", f"10.0.0.{number}") == expected


@pytest.mark.parametrize(
    "offer",
    [
        None,
        {},
        {"port": PORT},
        {"port": str(PORT), "images": [BASE]},
        {"port": 80, "images": [BASE]},
        {"port": PORT, "images": ["../etc/passwd"]},
        {"port": PORT, "images": [BASE] * (MAXIMUM_IMAGES + 1)},
    ],
)
def test_what_no_node_offers_is_refused(fleet, offer):
    with pytest.raises(CallRefused, match="fault 102"):
        fleet.meet("a", "10.0.0.1", offer)


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "localhost", "10.0.0.1; rm"])
def test_a_node_cannot_send_others_to_what_is_no_node(fleet, address):
    with pytest.raises(CallRefused, match="fault 102"):
        fleet.call("a", address)
    assert fleet.call("b", "10.0.0.2") == set()


def test_what_makes_a_lan():
    assert lan("10.0.0.1", "10.0.0.1") == lan("10.0.0.250", "10.0.0.250") == "10.0.0.0/24"
    assert lan("fd00::1", "fd00::1") == "fd00::/64"
    assert lan("10.0.0.1", "198.51.100.1") == "10.0.0.0/24 by 198.51.100.1"
