"""A deployment with one node and its running server; servers of blobs; a target of images; a stick."""

import os
import subprocess
from contextlib import ExitStack

import pytest

from host.events import Events
from host.http import PATIENT
from hwdetect import marked_stick
from images import source
from tests.host.loopback import serving
from tests.host.server_process import Process, cli
from tests.host.unruly_server import Server


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


@pytest.fixture
def start(monkeypatch):
    """Servers of blobs, each begun by a call with what Server takes; hardly a pause between tries."""
    monkeypatch.setattr(source, "PATIENT", PATIENT.new(backoff_factor=0, backoff_jitter=0.01))
    with ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(serving(Server(*words, **options)))


@pytest.fixture
def heard():
    """What was told as events: (name, data)."""
    return []


@pytest.fixture
def events(heard):
    return Events("test", (lambda event: heard.append((event.event, event.data)),))


@pytest.fixture
def target(tmp_path):
    """A folder to unpack into."""
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def stick(tmp_path, monkeypatch):
    """A blank stick of 64 MiB, a loop device.

    Its first partition is one too: not every machine for tests makes nodes of partitions.
    """
    image = tmp_path / "stick"
    image.touch()
    os.truncate(image, 64 * 2**20)
    node = _attached(image)
    part = _attached("--offset", str(2**20), image)
    monkeypatch.setattr(marked_stick, "partition_node", lambda disk, number: {(node, 1): part}[disk, number])
    monkeypatch.setattr(marked_stick.disks, "settle", lambda run: None)
    yield node
    for each in (part, node):
        subprocess.run(["losetup", "--detach", each], check=True)


def _attached(*words):
    line = ["losetup", "--find", "--show", *words]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()
