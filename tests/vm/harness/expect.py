"""What scenarios find out about a node from outside."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from tests.vm.harness import limits
from tests.vm.harness.machine import Machine
from tests.vm.harness.roles import (
    ANSWER,
    MIRROR,
    MIRROR_BYTES,
    MIRROR_RATE,
    PROBE,
    SERVICE,
    SERVICE_ANSWER,
    SERVICE_PORT,
    WEB,
    probe_answer,
)
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site


def answer(site: Site, port: int) -> str:
    """Return what a port of the node says to a request from outside, "" if nothing."""
    try:
        with urllib.request.urlopen(site.url(port), timeout=20) as reply:
            return str(reply.read().decode(errors="replace").strip())
    except (urllib.error.URLError, OSError):
        return ""


def assert_sliver_answers(site: Site, timeout: float) -> None:
    """Wait until the sliver answers, up to `timeout` seconds: all that shows while the server is away."""
    wait_until("an answer from the sliver", lambda: answer(site, WEB.port) == ANSWER, timeout)


def assert_node_is_up(site: Site) -> None:
    """Wait until the installed node reports run level boot and its sliver answers; its service runs then."""
    site.machine.wait_event("runlevel", run_level="boot", timeout=limits.NODE_UP)
    assert_sliver_answers(site, limits.SOON)
    assert site.shell.output(f"systemctl is-active bm-{SERVICE}").strip() == "active"
    assert answer(site, SERVICE_PORT) == SERVICE_ANSWER


def assert_all_roles(site: Site) -> None:
    """Wait until what give_all_roles() asks for is seen from outside, its limit too."""
    expected = probe_answer(NODE)
    wait_until("an answer by vsys", lambda: answer(site, PROBE.port) == expected, limits.SOON)
    rate = mirror_rate(site)
    assert MIRROR_RATE / 10 < rate < MIRROR_RATE * 1.2, f"{rate:.0f} bit/s"


def mirror_rate(site: Site) -> float:
    """Return the bit/s at which the mirror's page comes out of the node."""
    started = time.monotonic()
    with urllib.request.urlopen(site.url(MIRROR.port), timeout=60) as reply:
        content = reply.read()
    assert len(content) == MIRROR_BYTES
    return 8 * len(content) / (time.monotonic() - started)


def network_bytes(machine: Machine) -> int:
    """Return how many bytes of images came over the network since power-on."""
    return sum(int(event["network_bytes"]) for event in machine.events("transfer"))
