"""A node waits at a running server; the command line in another process changes something."""

import threading
import time

import pytest

from configmanager.upstream import PATIENT
from configmanager.watch import Waiting, Watch
from host.http import HttpClient
from host.server import ServerClient
from tests.host.server_process import Process, cli, key_file
from tests.host.test_host_bootserver import Forwarder
from wire.changes import ChangesKey
from wire.nodeconf import parse

NOTICED_SECONDS = 2.0


class Node:
    """A node that asks and waits as configmanager does."""

    def __init__(self, folder, base_url):
        configuration = parse(key_file(folder), "plnode.txt")
        self.calls = ServerClient(HttpClient(base_url), configuration.node_id, configuration.key, "10.0.2.15")
        self.waiting = HttpClient(base_url, timeouts=PATIENT)
        self.key = ChangesKey.derive(configuration.key, configuration.node_id)
        self.woken = threading.Event()
        self.watch = Watch(self.woken.set)

    def learn(self):
        """Ask, and wait for the next change."""
        reply = self.calls.call("GetSlivers")
        self.woken.clear()
        self.watch.set(Waiting(self.waiting, self.key, reply["generation"]))
        return [sliver["name"] for sliver in reply["slivers"]]


@pytest.fixture
def site(folder, server):
    for name in ("one", "two"):
        cli(folder, "slice", "add", name, "--image", "sliver")
    return folder


def test_a_change_by_the_command_line_is_noticed_at_once(site, server):
    node = Node(site, server.nodes)
    assert node.learn() == []
    for number, name in enumerate(("one", "two")):
        time.sleep(1.2 * number)  # Also in the midst of a wait, not only at its beginning.
        cli(site, "slice", "add-node", name, "node1")
        begun = time.monotonic()
        assert node.woken.wait(10)
        assert time.monotonic() - begun < NOTICED_SECONDS + 1
        assert name in node.learn()
    told = [event["event"] for event in server.get("/api/nodes/node1/events")]
    assert "key.shared" not in told, "who waits is no second place"


def test_a_wait_outlasts_the_server_and_cut_connections(site, server):
    port = int(server.nodes.rpartition(":")[2])
    node = Node(site, server.nodes)
    node.learn()
    assert server.end() == 0
    # Changed while nobody listened.
    cli(site, "slice", "add-node", "one", "node1")
    again = Process(site)
    try:
        with Forwarder(port, int(again.nodes.rpartition(":")[2])):
            assert node.woken.wait(30)
            assert node.learn() == ["one"]
    finally:
        again.end()


def test_a_server_with_waiting_nodes_ends_at_once(site, server):
    node = Node(site, server.nodes)
    node.learn()
    time.sleep(0.5)
    begun = time.monotonic()
    assert server.end() == 0
    # A wait of a node would last for most of a minute.
    assert time.monotonic() - begun < 15
