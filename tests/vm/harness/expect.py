"""What scenarios find out about a node from outside."""

from __future__ import annotations

import urllib.error
import urllib.request

from tests.vm.harness import limits
from tests.vm.harness.machine import Machine
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import ANSWER, SERVICE, Site


def sliver_answer(site: Site) -> str:
    """Return what the sliver's service says to a request from outside the node, "" if nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.sliver_port()}/", timeout=20) as reply:
            return str(reply.read().decode().strip())
    except (urllib.error.URLError, OSError):
        return ""


def assert_sliver_answers(site: Site, timeout: float) -> None:
    """Wait until the sliver answers, up to `timeout` seconds: all that shows while the server is away."""
    wait_until("an answer from the sliver", lambda: sliver_answer(site) == ANSWER, timeout)


def assert_node_is_up(site: Site) -> None:
    """Wait until the installed node reports run level boot and its sliver answers; its service runs then."""
    site.machine.wait_event("runlevel", run_level="boot", timeout=limits.NODE_UP)
    assert_sliver_answers(site, limits.SOON)
    assert site.shell.output(f"systemctl is-active bm-{SERVICE}").strip() == "active"


def network_bytes(machine: Machine) -> int:
    """Return how many bytes of images came over the network since power-on."""
    return sum(int(event["network_bytes"]) for event in machine.events("transfer"))
