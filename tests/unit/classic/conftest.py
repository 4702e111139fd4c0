"""A server with one node, and the same with the classic switch on."""

import pytest

from tests.unit.bootserver_deployment import Deployment


@pytest.fixture
def server(tmp_path):
    deployment = Deployment(tmp_path / "state")
    deployment.add()
    return deployment


@pytest.fixture
def marked(server):
    server.cli("node", "classic", "node1", "--on")
    return server
