"""A deployment with one node, and its running server."""

import pytest

from tests.host.server_process import Process, cli


@pytest.fixture
def folder(tmp_path):
    cli(tmp_path / "state", "init", "--server", "http://10.0.2.2:8080")
    cli(tmp_path / "state", "node", "add", "node1", "--state", "inst")
    return tmp_path / "state"


@pytest.fixture
def server(folder):
    process = Process(folder)
    yield process
    if process.process.poll() is None:
        process.end()
