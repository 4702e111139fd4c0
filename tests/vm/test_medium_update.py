"""A boot medium newer than what is plugged in: started from the dongle, left alone once it failed."""

import json

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.expect import assert_node_is_up, network_bytes
from tests.vm.harness.hardware import Firmware, UsbStick
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE

pytestmark = pytest.mark.slow

# The old medium, and what it does until the newer one is loaded.
FETCHED = limits.BOOT + 2 * limits.SOON


def test_a_newer_medium_starts_and_one_that_never_reports_is_left_alone(installed: MakeSite) -> None:
    site = installed()
    machine, made = site.machine, media.made_at(site.built.iso)
    good = media.dated(site.folder / "good.iso", site.built.iso, made + 1)
    site.server.cli("media", "publish", str(good))

    site.power_on()
    machine.wait_event("medium.tried", made=made + 1, timeout=FETCHED)
    machine.wait_event("chain.started", how="medium", timeout=limits.SOON)
    # By the newer one; from here on all is as ever.
    machine.wait_event("medium.reported", made=made + 1, timeout=FETCHED)
    machine.wait_event("chain.started", how="kexec", timeout=limits.SOON)
    assert len({event["boot"] for event in machine.events("program.started")}) == 2
    assert machine.written("medium") == 0

    # Its layer is none, so the ramdisk gives up, waits for a minute, and restarts the machine.
    bad = media.dated(site.folder / "bad.iso", site.built.iso, made + 2, {"20-project.squashfs": b"junk"})
    site.server.cli("media", "publish", str(bad))
    site.power_cycle()
    tried = machine.wait_event("medium.tried", made=made + 2, timeout=FETCHED)
    # The kernel and the distribution are those of the one before.
    assert 0 < network_bytes(machine) < 20e6
    damaged = "20-project.squashfs is damaged"
    wait_until("the newer medium to fail", lambda: damaged in machine.console(), limits.BOOT)
    machine.wait_event("medium.kept", code="medium-not-reported", timeout=FETCHED)
    machine.wait_event("chain.started", how="kexec", timeout=limits.SOON, after=tried)
    assert_node_is_up(site)
    assert [event["made"] for event in machine.events("medium.tried")] == [made + 2]


def test_a_nodes_own_stick_may_be_pulled_out_once_the_newer_medium_runs(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    server, machine, stick = site.server, site.machine, site.folder / "stick.img"
    watched = media.remastered(
        site.folder / "watched.iso", site.built.iso, "quiet", "bm.events=/dev/ttyS1 quiet"
    )
    server.cli("media", "make", str(watched), str(stick), "--node", NODE, "--server", server.url)
    made = media.made_at(site.built.iso)
    server.cli("media", "publish", str(media.dated(site.folder / "newer.iso", site.built.iso, made + 1)))
    before = media.digest(stick)
    site.without("key")
    # The kernel is locked down: it takes a signed kernel only, by the one call that looks at that.
    site.change(boot=UsbStick(stick), firmware=Firmware.SECURE_BOOT)

    site.power_on()
    machine.wait_event("medium.tried", made=made + 1, timeout=FETCHED)
    machine.wait_event("medium.reported", made=made + 1, timeout=FETCHED)
    machine.wait_event("debug.entered", timeout=limits.SOON)
    assert "[integrity]" in site.shell.output("cat /sys/kernel/security/lockdown")
    assert site.shell.output("findmnt -n -o FSTYPE /run/live/medium").strip() == "tmpfs"
    found = json.loads(site.shell.output("bootmanager inventory --format json", timeout=limits.SOON))
    (medium,) = (disk for disk in found["disks"] if disk["serial"] == "BOOTSTICK")
    assert set(medium["roles"]) >= {"boot medium", "key medium"}
    machine.unplug("medium")
    # Files that nobody has read so far.
    site.shell.output("find /usr/share -xdev -type f -exec cat {} + > /dev/null", timeout=limits.SOON)
    machine.cut_power()
    assert media.digest(stick) == before
