"""A dongle that rots: one fetch more, never a wrong byte."""

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.damage import ext4_files, ext4_flip_byte
from tests.vm.harness.expect import network_bytes
from tests.vm.harness.site import NODE


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
