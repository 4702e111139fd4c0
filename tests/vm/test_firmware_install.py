"""A node that a BIOS installed is put behind UEFI firmware with Secure Boot on."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Firmware, FirstDisk

pytestmark = pytest.mark.slow

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def test_its_disk_starts_with_secure_boot_on_and_without_the_boot_medium(installed: MakeSite) -> None:
    site = installed()
    # The EFI system partition begins at 2 MiB. A boot from the medium mends what was done to it.
    media.run("qemu-io", "-f", "qcow2", "-c", "write -z 2M 1M", site.system)
    site.power_on()
    site.machine.wait_event("step.done", step="repair", timeout=limits.BOOT)
    site.machine.wait_event("chain.started", timeout=limits.SOON)
    site.machine.cut_power()

    site.change(boot=FirstDisk(), firmware=Firmware.SECURE_BOOT)
    site.power_on()
    assert_node_is_up(site)
    # Four bytes of attributes, then whether it is on.
    assert site.shell.output(f"od -An -t u1 -j 4 {SECURE_BOOT}").strip() == "1"
    assert "[integrity]" in site.shell.output("cat /sys/kernel/security/lockdown")
    # Nothing that runs can spoil what the firmware starts.
    assert "vfat" not in site.shell.output("findmnt -n -o FSTYPE --real")
