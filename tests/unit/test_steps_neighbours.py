"""When a node shares images, and that nothing of it keeps a node from being installed."""

from dataclasses import replace

import pytest

from host.console import Console
from host.events import Events
from host.network import NetworkUp
from host.options import Options
from host.ports import Host
from host.server import ServerClient
from images.cache import Cache
from images.neighbours import Neighbours
from steps.base import Context, Facts
from steps.neighbours import ShareImages
from wire.messages import ImageRef, NodeDetails, TargetState

DETAILS = NodeDetails(
    1, "n", TargetState.INST, "r", 1, ImageRef("base", "b" * 64), (ImageRef("s", "5" * 64),)
)
UP = NetworkUp("eth0", "52:54:00:12:34:56", "10.0.0.1", "10.0.0.254")
CLIENT = ServerClient.__new__(ServerClient)


class Machine:
    """A node about to be installed."""

    def __init__(self):
        self.told = []
        self.events = Events("test", (lambda event: self.told.append(event.event),))
        self.step = ShareImages()

    def context(self, *facts, details=DETAILS, options=Options()):  # noqa: B008
        cache = Cache(None, self.events)
        return Context(Host(None, None, self.events, Console([]), options), Facts((details, cache, *facts)))


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def started(monkeypatch):
    """Which Neighbours were started; none listens."""
    found = []
    monkeypatch.setattr(Neighbours, "start", lambda near: found.append(near) is None)
    return found


def test_it_is_shared_from_then_on(machine, started):
    context = machine.context(UP, CLIENT)
    assert not machine.step.observe(context).holds
    assert started == []
    machine.step.run(context)
    seen = machine.step.observe(context)
    assert seen.holds
    assert seen.facts == tuple(started)
    assert started[0]._images == ("b" * 64, "5" * 64)


@pytest.mark.parametrize(
    ("details", "options"),
    [
        (replace(DETAILS, neighbours=False), Options()),
        (DETAILS, Options(neighbours="off")),
    ],
    ids=["at the server", "by kernel argument"],
)
def test_switched_off_there_is_nothing_to_do(machine, details, options):
    seen = machine.step.observe(machine.context(UP, CLIENT, details=details, options=options))
    assert seen.holds
    assert seen.facts == ()


@pytest.mark.parametrize("facts", [(UP,), (CLIENT,)], ids=["no server", "no network"])
def test_who_installs_from_its_dongle_alone_is_alone(machine, facts):
    assert machine.step.observe(machine.context(*facts)).facts == ()
    assert machine.step.observe(machine.context(*facts)).holds


# None of the first; the others are no machine's own.
@pytest.mark.parametrize("address", ["192.0.2.1", "", "0.0.0.0", "127.0.0.1"])
def test_a_node_that_cannot_listen_is_alone(machine, address):
    up = NetworkUp("eth0", "52:54:00:12:34:56", address, "10.0.0.254")
    context = machine.context(up, CLIENT)
    machine.step.run(context)
    assert machine.step.observe(context).holds
    assert machine.step.observe(context).facts == ()
    assert machine.told == ["neighbours.refused"]
