"""A dongle that rots, loses its power or is pulled out: a fetch more, never a wrong byte."""

from dataclasses import replace
from pathlib import Path

import pytest

from images.manifest import sha256
from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.damage import ext4_files, ext4_flip_byte, ext4_place, ext4_replay, vfat_read
from tests.vm.harness.expect import network_bytes
from tests.vm.harness.hardware import Bus, Disk
from tests.vm.harness.site import NODE

# Run on the node: stores blobs as an installation does, half of them for others, and says which are there.
STORE = """
import random
from pathlib import Path
from host.events import Events
from images.cache import Cache
from images.manifest import sha256
folder = Path("/run/bootmanager/cache")
cache = Cache(folder, Events("test"), budget_bytes=20_000_000)
for number in range(40):
    data = random.Random(number).randbytes(1_000_000)
    assert cache.put(sha256(data), data)
print(*(path.name for path in folder.glob("blobs/*")))
"""


def test_corrupt_blob_is_fetched_again(installed: MakeSite) -> None:
    site = installed()
    path, size = _largest_blob(site.dongle)
    ext4_flip_byte(site.dongle, path, size // 2)
    site.server.set_state(NODE, "rins")

    site.power_on()
    machine = site.machine
    machine.wait_event("cache.corrupt", sha256=path.rpartition("/")[2], timeout=limits.BOOT + limits.INSTALL)
    machine.wait_event("step.done", step="unpack", timeout=limits.INSTALL)
    assert network_bytes(machine) == size


@pytest.mark.slow
def test_what_was_stored_on_a_vfat_dongle_is_there_after_a_power_cut(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    media.vfat(site.dongle, 1024, "BMCACHE")
    site.power_on()
    site.machine.wait_event("debug.entered", timeout=limits.BOOT)
    stored = site.shell.output("python3 -", stdin=STORE, timeout=limits.SOON).split()
    site.machine.cut_power()
    assert len(stored) == 20
    assert [sha256(vfat_read(site.dongle, f"blobs/{digest}")) for digest in stored] == stored


@pytest.mark.slow
def test_a_marked_stick_becomes_the_dongle_also_after_a_power_cut(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    machine = site.machine
    media.marked(site.dongle, 1024)
    blank = media.blank(site.folder / "blank.img", 64)
    site.with_disk(Disk("blank", blank, "BLANK01", Bus.USB, removable=True))

    site.power_on()
    machine.wait_event("step.progress", step="open_cache", timeout=limits.BOOT)
    site.power_cycle()
    machine.wait_event("dongle.made", timeout=limits.BOOT)
    machine.wait_event("media.found", what="cache", fstype="ext4", writable=True, timeout=limits.SOON)
    machine.wait_event("debug.entered", timeout=limits.SOON)
    # Looked for anew, it is found by its label. There is nothing to boot.
    plan = site.shell.run("bootmanager plan boot", timeout=limits.SOON)
    assert plan.returncode == 1
    assert "open_cache: Open the cache dongle -- is so already" in plan.stdout
    assert "[not-installed]" in plan.stdout
    assert machine.written("blank") == 0


@pytest.mark.slow
def test_pulled_out_then_put_back_write_protected_then_with_a_bad_sector(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    dongle = next(disk for disk in machine.hardware.disks if disk.name == "dongle")

    # At first the node's disk has no room for the image.
    server.cli("node", "set", NODE, "root_mib=300")
    site.power_on()
    failed = machine.wait_error("target-full", timeout=limits.BOOT + limits.INSTALL)
    server.cli("node", "set", NODE, "root_mib=3072")
    server.set_state(NODE, "rins")
    machine.wait_event(
        "step.progress", step="unpack", fraction=lambda done: done and done > 0.5,
        timeout=limits.INSTALL, after=failed,
    )  # fmt: skip
    machine.unplug("dongle")
    machine.wait_event("step.done", step="report", timeout=limits.INSTALL, after=failed)
    assert machine.events("cache.failed") or machine.events("cache.read_only")
    whole = network_bytes(machine)

    # Nobody replays the journal of what is write-protected.
    site.with_disk(replace(dongle, read_only=True))
    server.cli("node", "state", NODE, "rins", "--clean")
    site.power_cycle()
    machine.wait_event("media.found", what="cache", writable=False, timeout=limits.BOOT)
    machine.wait_event("step.done", step="unpack", timeout=limits.INSTALL)
    assert machine.events("transfer", image="base")

    ext4_replay(site.dongle)
    path, size = _largest_blob(site.dongle)
    site.with_disk(replace(dongle, bad=(ext4_place(site.dongle, path, size // 2),)))
    # Else the disk would have it all.
    server.cli("node", "state", NODE, "rins", "--clean")
    site.power_cycle()
    machine.wait_event("step.done", step="unpack", timeout=limits.BOOT + limits.INSTALL)
    assert [event["operation"] for event in machine.events("cache.failed")] == ["read"]
    (base,) = machine.events("transfer", image="base")
    assert base["cache_bytes"] > 40 * media.MIB
    assert size <= base["network_bytes"] < whole


def _largest_blob(dongle: Path) -> tuple[str, int]:
    blobs = {path: size for path, size in ext4_files(dongle).items() if "/blobs/" in path}
    return max(blobs.items(), key=lambda item: item[1])
