"""Ten nodes in network namespaces, each a process, that install one image at once; neighbours that fail."""

import os
import signal
import time

import pytest

from images import make
from tests.host.image_server import describe, make_tree, publish_tree
from tests.host.lan import ask, lan

pytestmark = pytest.mark.host
MIB = 1024 * 1024
# Small packs, so that a small image has many.
PACK_BYTES = MIB


class Site:
    """A LAN with an image."""

    def __init__(self, net, folder, mib):
        self.net, self.tree = net, make_tree(folder / "tree", random_mib=mib)
        self.image = publish_tree("base", self.tree, net.store)
        net.publish(self.image)

    def nodes(self, *behaviours):
        """Start nodes, and wait until each knows the others."""
        found = [self.net.node(self.image, behaviour) for behaviour in behaviours]
        for node in found:
            assert node.hear() == "gives"
        time.sleep(MEET_SECONDS)
        return found

    def install(self, *nodes):
        """Let nodes install at once; return what each did, and how many images the server sent."""
        before = self.net.sent_by_server()
        for node in nodes:
            node.tell("begin")
        done = [node.hear() for node in nodes]
        for node in nodes:
            assert describe(node.target) == describe(self.tree)
        return done, (self.net.sent_by_server() - before) / self.image.size


# In life disks are made ready meanwhile, which takes longer.
MEET_SECONDS = 1.5


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "LEAST_PACK_BYTES", PACK_BYTES)
    monkeypatch.setattr(make, "MOST_PACK_BYTES", 2 * PACK_BYTES)

    def made(mib, rate):
        found = Site(net, tmp_path, mib)
        net.serve(rate)
        return found

    with lan(tmp_path) as net:
        yield made


def told(result, event):
    return [each for each in result["told"] if each["event"] == event]


def of_neighbours(results):
    return [round(each["neighbour_bytes"] / MIB, 1) for each in results]


def test_ten_nodes_that_install_at_once_draw_one_image_and_a_half_at_most(site):
    here = site(32, "200mbit")
    assert len(here.image.packs) >= 12
    done, images = here.install(*here.nodes(*["honest"] * 10))
    assert images <= 1.5
    # The same by what the nodes say, without headers.
    assert sum(each["network_bytes"] for each in done) <= 1.45 * here.image.size
    whole = here.image.size + len(here.image.to_bytes())
    assert all(each["network_bytes"] + each["neighbour_bytes"] == whole for each in done)
    assert [event for each in done for event in told(each, "neighbour.dropped")] == []


def test_a_node_that_comes_later_takes_all_from_its_neighbours(site):
    here = site(12, "100mbit")
    one, other, later = here.nodes(*["honest"] * 3)
    here.install(one, other)
    (result,), images = here.install(later)
    assert images < 0.1
    assert result["neighbour_bytes"] == sum(pack.blob.size for pack in here.image.packs)


def test_nodes_that_keep_little_keep_what_the_others_lack(site):
    here = site(12, "100mbit")
    done, images = here.install(*here.nodes(*["small"] * 4))
    assert images <= 2
    assert min(each["neighbour_bytes"] for each in done) > 0


def test_who_lies_is_found_out_and_told_of_once(site):
    here = site(12, "100mbit")
    liar, one, other = here.nodes("lies", "honest", "honest")
    here.install(liar)
    results, _ = here.install(one, other)
    for result in results:
        (dropped,) = told(result, "neighbour.dropped")
        assert dropped["lied"]
        assert liar.address in dropped["neighbour"]
    assert sum(of_neighbours(results)) > 0, "the honest ones went on with one another"


@pytest.mark.parametrize("behaviour", ["drips", "boasts"])
def test_who_is_slow_or_never_has_anything_costs_little_time(site, behaviour):
    here = site(12, "100mbit")
    bad, one, other = here.nodes(behaviour, "honest", "honest")
    if behaviour == "drips":
        here.install(bad)
        results, _ = here.install(one, other)
        assert all(told(result, "neighbour.dropped") for result in results)
    else:
        results, _ = here.install(bad, one, other)
    assert max(result["seconds"] for result in results) < 30


def test_who_dies_is_done_without(site):
    here = site(12, "20mbit")
    dying, one, other = here.nodes(*["honest"] * 3)
    for node in (dying, one, other):
        node.tell("begin")
    # In the middle of it, and its connections stay open.
    time.sleep(1.5)
    os.kill(dying.process.pid, signal.SIGSTOP)
    results = [node.hear() for node in (one, other)]
    for node in (one, other):
        assert describe(node.target) == describe(here.tree)
    assert max(result["seconds"] for result in results) < 60


def test_who_is_switched_off_at_the_server_neither_gives_nor_takes(site):
    here = site(6, "100mbit")
    silent = here.net.node(here.image, neighbours=False)
    assert silent.hear() == "gives"
    (one,) = here.nodes("honest")
    here.install(silent)
    (alone,), images = here.install(one)
    assert images >= 1
    assert alone["neighbour_bytes"] == 0


def test_a_stranger_on_the_lan_gets_no_answer(site):
    here = site(6, "100mbit")
    one, other = here.nodes("honest", "honest")
    (result, _), _ = here.install(one, other)
    (started,) = told(result, "neighbours.started")
    url, stranger = f"http://{started['address']}:{started['port']}", here.net.stranger()
    pack = "/images/blobs/" + here.image.packs[0].blob.sha256
    for path, status in (("/holdings", 200), (pack, 200), ("/", 404), ("/etc/passwd", 404)):
        assert ask(other.namespace, url + path).startswith(f"HTTP/1.0 {status} ")
        assert ask(stranger, url + path) == ""
