"""The image of a whole disk: published from one disk, written onto another, and that one boots."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Disk, FirstDisk
from tests.vm.harness.installed import MainJob
from tests.vm.harness.site import NODE

pytestmark = pytest.mark.slow


def test_a_technician_writes_a_disk_image_and_it_boots(installed: MakeSite, main_job: MainJob) -> None:
    site = installed()
    machine = site.machine
    # The system disk of a node that was shut down.
    site.server.cli("image", "publish", "appliance", str(main_job.folder / "system.img"))
    site.without("system")
    blank = Disk("new", media.blank(site.folder / "new.img", 8192), "NEW01")
    site.change(disks=(blank, *machine.hardware.disks))
    site.server.set_state(NODE, "dbg")
    site.power_on()
    machine.wait_event("debug.entered", timeout=limits.BOOT)

    plan = site.shell.output("bootmanager image plan appliance NEW01", timeout=limits.SOON)
    assert "will create" in plan
    assert "DESTROY" not in plan
    small = site.shell.run("bootmanager image plan appliance DATA01", timeout=limits.SOON)
    assert small.returncode == 1
    assert "[disk-too-small]" in small.stdout
    for medium in ("CACHE01", "KEY01", "BOOTMEDIUM"):
        refused = site.shell.run(f"bootmanager image write appliance {medium}", timeout=limits.SOON)
        assert refused.returncode == 1
        assert "[disk-refused]" in refused.stderr
    assert [machine.written(name) for name in ("new", "data", "key")] == [0, 0, 0]

    # It reads the disk back by itself, and fails where that is not the image.
    said = site.shell.output("bootmanager image write appliance NEW01", timeout=limits.INSTALL)
    assert "write_disk_image: done" in said
    assert machine.written("data") == 0

    site.server.set_state(NODE, "boot")
    machine.cut_power()
    site.change(boot=FirstDisk())
    site.power_on()
    assert_node_is_up(site)
