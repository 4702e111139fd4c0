"""A service says to systemd that it goes on; the manager does so before each thing that a backend does."""

import socket

import pytest

from configmanager.converge import converge
from configmanager.notify import tell_systemd
from host.events import Events
from tests.unit.configmanager_things import Things
from wire.slivers import NodeSlivers, Sliver


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """What systemd hears, as a function."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def said():
            words = []
            while True:
                try:
                    words.append(door.recv(100).decode())
                except BlockingIOError:
                    return words

        yield said


def test_each_action_and_each_look_is_a_sign_of_life(heard, tmp_path):
    things = Things(tmp_path)
    desired = NodeSlivers(1000, 1, "node1", tuple(Sliver(f"demo_{n}", n, 5000) for n in (1, 2, 3)))

    made = converge((things,), desired, Events("configmanager"))

    assert made.done == 3
    assert heard() == ["WATCHDOG=1"] * 4


def test_nobody_is_told_where_systemd_did_not_start_it(heard, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET")

    tell_systemd("READY=1")

    assert heard() == []
