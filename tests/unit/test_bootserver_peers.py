"""Who is at the other end of a request, whatever the socket is."""

import pytest
from starlette.requests import Request

from bootserver.peers import peer_of


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("10.0.0.7", 1), "10.0.0.7"),
        # An IPv4 node at a socket that answers both versions.
        (("::ffff:10.0.0.7", 1), "10.0.0.7"),
        (("fd00::7", 1), "fd00::7"),
        (("testclient", 1), "testclient"),
        (None, ""),
    ],
)
def test_the_address_is_the_nodes_own(client, peer):
    assert peer_of(Request({"type": "http", "client": client})) == peer
