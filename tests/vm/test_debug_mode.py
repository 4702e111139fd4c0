"""Debug mode: a technician gets in by ssh, an operator releases the node from afar."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.site import NODE

pytestmark = pytest.mark.slow


def test_technician_gets_in_looks_and_the_operator_releases(installed: MakeSite) -> None:
    site = installed()
    machine = site.machine
    # Another installation is wanted, but first somebody looks.
    site.server.set_state(NODE, "inst")
    site.server.set_state(NODE, "dbg")

    site.power_on()
    machine.wait_event("debug.entered", timeout=limits.BOOT)
    assert site.shell.output("findmnt -n -o FSTYPE /").strip() == "overlay"

    plan = site.shell.output("bootmanager plan inst", timeout=limits.SOON)
    assert "will DESTROY" in plan
    assert "SYSTEM01" in plan
    assert [machine.written(name) for name in ("system", "data", "key")] == [0, 0, 0]
    assert site.server.node(NODE)["run_level"] == "safeboot"

    site.server.set_state(NODE, "boot")
    machine.wait_event("chain.started", timeout=limits.SOON)
