"""A node runs another system from the server's whole disk image, and becomes a node again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host import start_disk
from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.artifacts import Artifacts
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Bus, Disk, Hardware, UsbStick
from tests.vm.harness.machine import Machine
from tests.vm.harness.other_system import SAYS, other_system
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site


@pytest.mark.slow
def test_a_node_runs_a_disk_image_and_comes_back(installed: MakeSite) -> None:
    site = installed()
    machine = site.machine
    publish(site)
    start_by_grub(site)
    site.power_on()
    assert_node_is_up(site)

    site.server.cli("node", "disk-image", NODE, "other")
    reboot = machine.wait_event("reboot", timeout=limits.SOON)
    assert "serial SYSTEM01" in reboot["reason"]
    machine.wait_event("state.entered", state="image", timeout=limits.BOOT)
    machine.wait_event("step.done", step="write_ordered_image", timeout=limits.INSTALL)
    # Nothing but what the installed node had brought before it rebooted.
    (moved,) = machine.events("transfer", program="bootmanager", image="other")
    assert moved["network_bytes"] == 0
    wait_for_the_other_system(site, 1)

    site.server.cli("node", "disk-image", NODE, "--none")
    site.power_cycle()
    machine.wait_event("state.entered", state="rins", timeout=limits.BOOT)
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert not machine.events("confirm.asked")
    assert_node_is_up(site)
    assert site.server.node(NODE)["disk_record"] == {}


@pytest.mark.slow
def test_a_disk_image_is_written_once_and_the_disk_taken_back(new_site: MakeSite) -> None:
    """The power is cut while it is written; the server is away at a later power-on."""
    site = new_site(state="boot")
    machine = site.machine
    publish(site, data_mib=96)
    # No name for the system disk: it must be known by what was noted.
    site.server.cli("node", "set", NODE, "system_disk=", "data_disks=DATA01")
    site.server.cli("node", "disk-image", NODE, "other")
    start_by_grub(site)
    site.power_on()
    machine.wait_event(
        "step.progress",
        step="write_ordered_image",
        fraction=lambda done: done and 0.2 < done < 0.9,
        timeout=limits.BOOT + limits.SOON,
    )
    site.power_cycle()
    machine.wait_event("step.done", step="write_ordered_image", timeout=limits.BOOT)
    wait_for_the_other_system(site, 1)
    node = site.server.node(NODE)
    assert (node["run_level"], node["disk_image_state"]) == ("diskimage", "written")

    site.server.stop()
    site.power_cycle()
    machine.wait_event("state.entered", state="other", timeout=limits.BOOT)
    wait_for_the_other_system(site, 2)
    assert machine.written("system") == machine.written("data") == 0

    site.server.start()
    site.server.cli("node", "disk-image", NODE, "--none")
    site.power_cycle()
    machine.wait_event("state.entered", state="rins", timeout=limits.BOOT)
    # Which only a disk is made into that is blank or ours, since none is named.
    machine.wait_event("step.done", step="partition", timeout=limits.SOON)
    assert not machine.events("confirm.asked")


def publish(site: Site, data_mib: int = 1) -> None:
    """Let the server have the other system's disk."""
    disk = other_system(site.folder / "other.img", 128, data_mib)
    site.server.cli("image", "publish", "other", str(disk))


def start_by_grub(site: Site) -> None:
    """Let the firmware start the medium from a stick, as a machine does."""
    stick = media.remastered(
        site.folder / "stick.iso", site.built.iso, "systemd.show_status=false",
        "systemd.show_status=false bm.events=/dev/ttyS1",
    )  # fmt: skip
    site.change(boot=UsbStick(stick))


def wait_for_the_other_system(site: Site, times: int) -> None:
    site.machine.wait_event("chain.started", how="disk", timeout=limits.BOOT)
    wait_until("a word of the other system", lambda: site.machine.console().count(SAYS) == times, limits.SOON)


def test_the_medium_starts_the_disk_that_the_dongle_names_once(
    built: Artifacts, accel: str, tmp_path: Path
) -> None:
    """GRUB alone: of three disks the one whose beginning has the checksum."""
    disk = other_system(tmp_path / "other.img")
    dongle = dongle_that_names(tmp_path, start_disk.checksum(str(disk)))
    other = Disk("blank", media.blank(tmp_path / "blank.img", 64), "BLANK01")
    with powered_on(built, accel, tmp_path, dongle, other, Disk("other", disk, "OTHER01")) as machine:
        wait_until("a word of the other system", lambda: SAYS in machine.console(), limits.SOON)
    assert wish_on(dongle) is None


def test_the_medium_never_starts_the_dongle(built: Artifacts, accel: str, tmp_path: Path) -> None:
    placeholder = b"0" * 64 + b"  0+64\n"
    dongle = dongle_that_names(tmp_path, placeholder)
    with dongle.open("r+b") as file:
        # An ext4 leaves its first KiB to boot code.
        file.write(other_system(tmp_path / "other.img").read_bytes()[:512])
        file.seek(dongle.read_bytes().index(placeholder))
        file.write(start_disk.checksum(str(dongle)))
    with powered_on(built, accel, tmp_path, dongle) as machine:
        wait_until("the menu", lambda: "as the server says" in machine.console(), limits.SOON)
        assert SAYS not in machine.console()
    assert wish_on(dongle) is None


def dongle_that_names(folder: Path, checksum: bytes) -> Path:
    """Make a dongle as bootmanager leaves it before it reboots."""
    tree = folder / "dongle"
    (tree / "grub").mkdir(parents=True)
    boot = "00000000-0000-4000-8000-000000000001"
    (tree / start_disk.ENVIRONMENT).write_bytes(start_disk.environment(boot, wished=True))
    (tree / start_disk.CHECKSUM).write_bytes(checksum)
    return media.ext4(folder / "dongle.img", 64, "BMCACHE", tree)


def wish_on(dongle: Path) -> start_disk.Wish | None:
    said = media.run("debugfs", "-R", f"cat /{start_disk.ENVIRONMENT}", dongle)
    assert b"bm_disk_once=" in said
    return start_disk.wish_of(said)


@contextmanager
def powered_on(built: Artifacts, accel: str, folder: Path, dongle: Path, *disks: Disk) -> Iterator[Machine]:
    """A machine that starts the medium from a stick, with these disks."""
    # Its own: a stick can be written, so QEMU lets no other machine look at it.
    medium = Path(shutil.copy(built.iso, folder / "stick.img"))
    stick = Disk("dongle", dongle, "CACHE01", Bus.USB, removable=True)
    with Machine(Hardware(UsbStick(medium), (*disks, stick)), folder / "logs", accel) as machine:
        machine.power_on()
        yield machine
