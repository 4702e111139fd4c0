"""The node of a bootserver, with the classic switch on."""

import pytest


@pytest.fixture
def marked(server):
    server.cli("node", "classic", "node1", "--on")
    return server
