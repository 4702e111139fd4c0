"""Disks that are not there, too small, not ours, or too many: refused, named, and never written."""

from pathlib import Path

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.hardware import Bus, Disk
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site
from tests.vm.harness.timeline import Event


def scsi(site: Site, name: str, image: Path) -> Disk:
    return Disk(name, image, name.upper(), Bus.SCSI)


def try_again(site: Site, code: str, after: Event) -> Event:
    """Ask for an installation again, as an operator does, and wait for how it fails."""
    site.server.set_state(NODE, "inst")
    return site.machine.wait_error(code, timeout=limits.SOON, after=after)


def test_one_wrong_disk_after_another(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    server.cli("node", "set", NODE, "system_disk=", "data_disks=none", "memory_mib=4096")
    site.without("system", "data")
    (site.folder / "tree").mkdir()
    (site.folder / "tree" / "thesis.txt").write_text("the only copy\n")
    foreign = media.ext4(site.folder / "foreign.img", 8192, "precious", site.folder / "tree")
    small = media.blank(site.folder / "small.img", 512)
    before = media.digest(foreign)

    site.power_on()
    # Less memory than the operator set as the minimum.
    failed = machine.wait_error("insufficient-memory", timeout=limits.BOOT)
    assert "4096" in failed["detail"]

    server.cli("node", "set", NODE, "memory_mib=512")
    failed = try_again(site, "no-disk", failed)

    machine.plug(scsi(site, "small", small))
    failed = try_again(site, "disk-too-small", failed)
    assert "SMALL" in failed["detail"]

    machine.unplug("small")
    machine.plug(scsi(site, "foreign", foreign))
    failed = try_again(site, "disk-holds-data", failed)
    assert "ext4" in failed["detail"]

    # The technician looks at what would happen, which changes nothing.
    plan = site.shell.run("bootmanager plan inst", timeout=limits.SOON)
    assert (plan.returncode, "FOREIGN" in plan.stdout) == (1, True), plan
    assert "FOREIGN" in site.shell.output("bootmanager inventory", timeout=limits.SOON)

    # Two blank disks, and nobody says which one.
    for name in ("left", "right"):
        machine.plug(scsi(site, name, media.blank(site.folder / f"{name}.img", 8192)))
    failed = try_again(site, "disks-ambiguous", failed)
    for said in ("LEFT", "RIGHT", "QEMU", "8.0 GiB", "blank"):
        assert said in failed["detail"], failed["detail"]
    detail = str(failed["detail"])
    # The screen follows the event, at the speed of a serial line.
    wait_until("the error on the console", lambda: detail in machine.console(), limits.SOON)
    assert "Traceback" not in machine.console()

    # The operator names one: that one is written, the foreign one is not.
    server.cli("node", "set", NODE, "system_disk=RIGHT")
    server.set_state(NODE, "inst")
    machine.wait_event("step.done", step="partition", timeout=limits.SOON, after=failed)
    machine.cut_power()
    assert media.digest(foreign) == before
    assert media.room_taken(site.folder / "right.img") > 0
    assert media.room_taken(site.folder / "left.img") == 0
