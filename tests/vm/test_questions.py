"""When a technician is asked at the console, and what the answer does."""

import re

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site


def disks_now(site: Site) -> list[str]:
    return [media.digest(site.system), media.digest(site.data)]


def test_new_node_asks_no_leaves_the_disks_yes_installs(new_site: MakeSite) -> None:
    site = new_site(state="new")
    machine = site.machine
    blank = disks_now(site)

    site.power_on()
    asked = machine.wait_event("confirm.asked", timeout=limits.BOOT)
    # The screen follows the event, at the speed of a serial line.
    wait_until(
        "the question on the console", lambda: "anything else to stop" in machine.console(), limits.SOON
    )
    console = machine.console()
    assert "QEMU" in console
    assert "SYSTEM01" in console
    assert re.search(r"will create +/dev/\w+: volumes swap, root, slivers", console)
    machine.type("no\n")
    declined = machine.wait_error("declined", timeout=limits.SOON)
    assert disks_now(site) == blank

    site.server.set_state(NODE, "new")
    machine.wait_event("confirm.asked", timeout=limits.SOON, after=declined)
    assert asked is not None
    machine.type("yes\n")
    machine.wait_event("state.entered", state="inst", timeout=limits.SOON)
    machine.wait_event("step.done", step="partition", timeout=limits.SOON)
    assert len(machine.events("confirm.asked")) == 2
    assert disks_now(site) != blank


@pytest.mark.slow
def test_install_asks_only_because_a_named_disk_holds_data(new_site: MakeSite) -> None:
    site = new_site()
    tree = site.folder / "tree"
    tree.mkdir()
    (tree / "thesis.txt").write_text("the only copy\n")
    media.ext4(site.system, 8192, "precious", tree)
    before = disks_now(site)

    site.power_on()
    asked = site.machine.wait_event("confirm.asked", timeout=limits.BOOT)
    assert "SYSTEM01" in asked["question"]
    assert "ext4" in asked["question"]
    assert "DATA01" not in asked["question"]
    site.machine.type("no\n")
    site.machine.wait_error("declined", timeout=limits.SOON)
    assert disks_now(site) == before
