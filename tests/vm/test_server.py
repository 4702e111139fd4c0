"""The server away, or with an image that went bad."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.damage import ext4_fill, flip_byte
from tests.vm.harness.expect import assert_sliver_answers, network_bytes
from tests.vm.harness.site import NODE


@pytest.mark.slow
def test_server_away_the_installed_node_boots_what_it_has(installed: MakeSite) -> None:
    site = installed()
    site.server.stop()

    site.power_on()
    entered = site.machine.wait_event("state.entered", state="boot", timeout=limits.BOOT + limits.SOON)
    assert "server" in entered["reason"]
    assert_sliver_answers(site, limits.NODE_UP)


def test_server_away_a_blank_machine_keeps_asking_until_it_is_back(new_site: MakeSite) -> None:
    site = new_site()
    machine = site.machine
    site.server.stop()

    site.power_on()
    machine.wait_error("server-unreachable", timeout=limits.BOOT + limits.SOON)
    asked = machine.wait_event("debug.asked", code="server-unreachable", timeout=limits.SOON)
    site.server.start()
    again = machine.wait_event("state.entered", state="inst", timeout=limits.SOON, after=asked)
    machine.wait_event("step.done", step="partition", timeout=limits.SOON, after=again)


@pytest.mark.slow
def test_corrupt_image_at_the_server_then_a_full_dongle(new_site: MakeSite) -> None:
    site = new_site()
    machine = site.machine
    ext4_fill(site.dongle, leave_mib=8)
    blobs = sorted((site.server.folder / "blobs").rglob("?" * 64), key=lambda blob: blob.stat().st_size)
    # Linked with the other tests' server: a copy of its own is damaged.
    victim, good = blobs[-1], blobs[-1].read_bytes()
    victim.unlink()
    victim.write_bytes(good)
    flip_byte(victim, len(good) // 2)

    site.power_on()
    failed = machine.wait_error("corrupt-image", timeout=limits.BOOT + limits.INSTALL)
    assert victim.name[:12] in failed["detail"]

    # Mended at the server; the operator asks for a reinstallation: by now the disks are the node's own, and
    # nobody is there to be asked. The dongle cannot take the image, and that is no matter.
    victim.write_bytes(good)
    site.server.set_state(NODE, "rins")
    machine.wait_event("step.done", step="unpack", timeout=limits.INSTALL, after=failed)
    assert machine.events("cache.full")
    assert network_bytes(machine) >= site.built.sizes["base.tar.zst"]
