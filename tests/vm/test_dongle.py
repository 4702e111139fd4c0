"""A dongle that rots, or loses its power: one fetch more, never a wrong byte."""

import pytest

from images.manifest import sha256
from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.damage import ext4_files, ext4_flip_byte, vfat_read
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
    blobs = {path: size for path, size in ext4_files(site.dongle).items() if "/blobs/" in path}
    path, size = max(blobs.items(), key=lambda item: item[1])
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
    # Looked for anew, it is found by its label.
    plan = site.shell.output("bootmanager plan boot", timeout=limits.SOON)
    assert "open_cache: Open the cache dongle -- is so already" in plan
    assert machine.written("blank") == 0
