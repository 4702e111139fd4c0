"""The packet filter for slivers between two networks of the node, with packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.sliver_network import NODE_A, NODE_B, OUTSIDE_A, OUTSIDE_B, SERVE, Site, joined, member

pytestmark = pytest.mark.host


@pytest.fixture
def site() -> Iterator[Site]:
    with joined() as made:
        yield made


def test_a_node_with_slivers_is_no_router_between_its_networks(site: Site) -> None:
    with site.a.running(SERVE, 80), site.b.running(SERVE, 80):
        # It would be one.
        assert site.a.ask(OUTSIDE_B, 80).startswith(f"{OUTSIDE_A} ")
        site.rules([member("one", 1)])
        assert site.a.ask(OUTSIDE_B, 80) == "TimeoutError"
        assert site.b.ask(OUTSIDE_A, 80) == "TimeoutError"
        assert "packets 0" not in site.node.run("nft", "list", "counter", "inet", "slivers", "dropped_routed")
        # Slivers get out into both, with the node's address there.
        assert site.slivers[0].ask(OUTSIDE_A, 80).startswith(f"{NODE_A} ")
        assert site.slivers[0].ask(OUTSIDE_B, 80).startswith(f"{NODE_B} ")


def test_a_published_port_is_reached_from_each_network(site: Site) -> None:
    site.rules([member("one", 1, "tcp:8080:80")])
    with site.slivers[0].running(SERVE, 80):
        assert site.a.ask(NODE_A, 8080).startswith(f"{OUTSIDE_A} ")
        assert site.b.ask(NODE_B, 8080).startswith(f"{OUTSIDE_B} ")
