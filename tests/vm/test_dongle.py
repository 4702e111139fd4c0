"""A dongle that rots, or loses its power: one fetch more, never a wrong byte."""

import pytest

from images.manifest import sha256
from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.damage import ext4_files, ext4_flip_byte, vfat_read
from tests.vm.harness.expect import network_bytes
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
