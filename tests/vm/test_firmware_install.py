"""A machine with UEFI and Secure Boot on becomes a node, and starts as one without its boot medium."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.damage import overwrite
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Cd, Firmware, FirstDisk
from tests.vm.harness.site import Site, direct_kernel

pytestmark = pytest.mark.slow

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def assert_node_is_up_with_secure_boot_on(site: Site) -> None:
    assert_node_is_up(site)
    # Four bytes of attributes, then whether it is on.
    assert site.shell.output(f"od -An -t u1 -j 4 {SECURE_BOOT}").strip() == "1"
    assert "[integrity]" in site.shell.output("cat /sys/kernel/security/lockdown")
    # Nothing that runs can spoil what the firmware starts.
    assert "vfat" not in site.shell.output("findmnt -n -o FSTYPE --real")


def test_it_is_installed_mended_and_started_from_its_disk(new_site: MakeSite) -> None:
    site = new_site()
    machine = site.machine
    medium = media.remastered(
        site.folder / "boot.iso", site.built.iso, "systemd.show_status=false",
        "systemd.show_status=false mitigations=off no_timer_check bm.events=/dev/ttyS1",
    )  # fmt: skip

    site.change(boot=Cd(medium), firmware=Firmware.SECURE_BOOT)
    site.power_on()
    machine.wait_event("state.entered", state="inst", timeout=limits.BOOT)
    machine.wait_event("chain.started", how="kexec", timeout=limits.INSTALL)
    assert_node_is_up_with_secure_boot_on(site)
    machine.cut_power()

    # Somebody spoils the EFI system partition, which begins at 2 MiB, and sets the firmware to BIOS.
    overwrite(site.system, 2 * media.MIB, bytes(media.MIB))
    site.change(boot=direct_kernel(site.built), firmware=Firmware.BIOS)
    site.power_on()
    machine.wait_event("step.done", step="repair", timeout=limits.BOOT)
    machine.wait_event("chain.started", timeout=limits.SOON)
    machine.cut_power()

    site.change(boot=FirstDisk(), firmware=Firmware.SECURE_BOOT)
    site.power_on()
    assert_node_is_up_with_secure_boot_on(site)
