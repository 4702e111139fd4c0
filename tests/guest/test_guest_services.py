"""The node's own services on a real systemd."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Action, Verb
from configmanager.backends.services import ServiceFailed, Services
from tests.guest.conftest import Guest
from wire.slivers import NodeService, NodeSlivers

UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
WANTED = NodeSlivers(1, 1, "guest", services=(NodeService("beacon", UNIT),))
NOTHING = replace(WANTED, services=())


def converge(backend: Services, wanted: NodeSlivers) -> list[Action]:
    """Do what is planned, and see that nothing is left to do."""
    actions = backend.plan(wanted, backend.observe())
    for action in actions:
        backend.apply(wanted, action)
    assert backend.plan(wanted, backend.observe()) == ()
    return list(actions)


def active(unit: str) -> str:
    return subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True).stdout.strip()


@pytest.fixture
def services(guest: Guest):
    backend = Services(guest.node)
    yield backend
    converge(backend, NOTHING)


def test_a_service_runs_is_changed_and_goes_without_a_trace(services):
    assert [action.verb for action in converge(services, WANTED)] == [Verb.CREATE]
    assert active("bm-beacon.service") == "active"
    changed = replace(WANTED, services=(NodeService("beacon", UNIT.replace("infinity", "1000000")),))
    assert [action.verb for action in converge(services, changed)] == [Verb.CHANGE]
    assert "1000000" in subprocess.run(["pgrep", "-a", "sleep"], capture_output=True, text=True).stdout
    converge(services, NOTHING)
    assert active("bm-beacon.service") == "inactive"
    assert not list(Path("/etc/systemd/system").rglob("bm-beacon*"))


def test_a_service_that_was_killed_is_started_again(services):
    converge(services, WANTED)
    subprocess.run(["systemctl", "kill", "--signal=KILL", "bm-beacon.service"], check=True)
    assert [action.verb for action in converge(services, WANTED)] == [Verb.START]


def test_a_service_that_cannot_start_is_named_with_its_last_words(services):
    broken = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no luck >&2; exit 3'\n"
    wanted = replace(WANTED, services=(NodeService("broken", broken),))
    (action,) = services.plan(wanted, services.observe())
    with pytest.raises(ServiceFailed, match="no luck"):
        services.apply(wanted, action)
