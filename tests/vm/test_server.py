"""The server away, or with an image that went bad."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.damage import ext4_fill, flip_byte
from tests.vm.harness.expect import assert_sliver_answers, network_bytes
from tests.vm.harness.hardware import Disk
from tests.vm.harness.site import NODE, direct_kernel


@pytest.mark.slow
def test_server_away_the_installed_node_boots_what_it_has(installed: MakeSite) -> None:
    site = installed()
    site.server.stop()

    site.power_on()
    entered = site.machine.wait_event("state.entered", state="boot", timeout=limits.BOOT + limits.SOON)
    assert "server" in entered["reason"]
    assert_sliver_answers(site, limits.NODE_UP)


@pytest.mark.slow
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

    # Once more in the middle: it has checked in, and nobody changes anything at the server.
    machine.wait_event("step.started", step="unpack", timeout=limits.SOON, after=again)
    site.server.stop()
    failed = machine.wait_error("server-unreachable", timeout=limits.INSTALL, after=again)
    site.server.start()
    machine.wait_event("step.done", step="unpack", timeout=limits.INSTALL, after=failed)
    assert not machine.events("confirm.asked")


@pytest.mark.slow
def test_server_away_a_blank_machine_is_reinstalled_from_the_dongle(installed: MakeSite) -> None:
    site = installed()
    machine = site.machine
    site.server.stop()
    # The disks died; a technician puts in new ones and chooses Reinstall in the boot menu.
    site.with_disk(Disk("system", media.blank(site.folder / "new-system.img", 8192), "SYSTEM01"))
    site.with_disk(Disk("data", media.blank(site.folder / "new-data.img", 4096), "DATA01"))
    site.change(boot=direct_kernel(site.built, state="rins"))

    site.power_on()
    entered = machine.wait_event("state.entered", state="rins", timeout=limits.BOOT + limits.SOON)
    assert "from the cache" in entered["reason"]
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert network_bytes(machine) == 0


@pytest.mark.slow
def test_an_older_publication_is_refused_before_a_disk_is_touched(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    metadata = server.folder / "metadata"
    recorded = {path.name: path.read_bytes() for path in metadata.iterdir()}
    # A publication that the node sees, and then its server's metadata as they were before.
    server.cli("image", "publish", "base", str(site.built.base))
    # Twice more, lest the server by renewing the old ones in time comes to the same numbers.
    for _ in range(2):
        server.cli("keys", "expiry", "--offline", "30")
    site.power_on()
    machine.wait_event("step.done", step="verify_images", timeout=limits.BOOT)
    machine.cut_power()
    blank = media.digest(media.blank(site.folder / "system.img", 8192))
    server.stop()
    for path in metadata.iterdir():
        path.unlink()
    for name, data in recorded.items():
        (metadata / name).write_bytes(data)
    server.start()

    site.power_on()
    machine.wait_error("metadata-rolled-back", timeout=limits.BOOT)
    assert media.digest(site.system) == blank


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
