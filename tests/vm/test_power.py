"""The power is cut in the middle of an installation; the next power-on carries on, without a person."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up

pytestmark = pytest.mark.slow


def test_cut_after_partitioning_in_unpacking_and_before_the_mark(new_site: MakeSite) -> None:
    site = new_site()
    machine = site.machine

    site.power_on()
    machine.wait_event("step.done", step="partition", timeout=limits.BOOT + limits.SOON)
    site.power_cycle()
    machine.wait_event("step.kept", step="partition", timeout=limits.BOOT + limits.SOON)
    machine.wait_event(
        "step.progress", step="unpack", fraction=lambda done: done and done > 0.3, timeout=limits.INSTALL
    )
    site.power_cycle()
    machine.wait_event("step.done", step="unpack", timeout=limits.BOOT + limits.INSTALL)
    machine.wait_event("step.started", step="mark", timeout=limits.INSTALL)
    site.power_cycle()
    machine.wait_event("step.kept", step="unpack", timeout=limits.BOOT + limits.SOON)
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert not machine.events("confirm.asked")
    assert_node_is_up(site)
