"""The boot medium on machines with UEFI: as a stick, and as a CD with Secure Boot on."""

import json
from typing import Any

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.hardware import Bus, Cd, Disk, Firmware, UsbStick
from tests.vm.harness.site import NODE, Site

pytestmark = pytest.mark.slow


def inventory(site: Site) -> dict[str, Any]:
    """Start the machine, and return what it says of itself in debug mode."""
    site.power_on()
    site.machine.wait_event("debug.entered", timeout=limits.BOOT)
    found = json.loads(site.shell.output("bootmanager inventory --format json", timeout=limits.SOON))
    assert isinstance(found, dict)
    return found


def test_a_nodes_own_stick_is_all_it_needs_and_keeps_every_byte(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    server, stick = site.server, site.folder / "stick.img"
    # A disk that Linux has no driver for.
    without = media.remastered(
        site.folder / "boot.iso",
        site.built.iso,
        "quiet",
        "modprobe.blacklist=nvme bm.events=/dev/ttyS1 quiet",
    )
    server.cli("media", "make", str(without), str(stick), "--node", NODE, "--server", server.url)
    # This firmware looks for the boot record of a CD on sticks too; others have the partitions only.
    media.without_cd_record(stick)
    before = media.digest(stick)
    site.without("key", "dongle")
    site.with_disk(Disk("data", site.data, "DATA01", Bus.NVME))
    site.change(boot=UsbStick(stick), firmware=Firmware.UEFI)

    found = inventory(site)
    assert (found["firmware"], found["secure_boot"]) == ("uefi", False)
    (medium,) = (disk for disk in found["disks"] if disk["serial"] == "BOOTSTICK")
    assert set(medium["roles"]) >= {"boot medium", "key medium"}
    assert [(one["bus"], one["ids"], one["firmware"]) for one in found["lacking"]] == [
        ("pci", "1b36:0010", "")
    ]
    assert "[1b36:0010]" in site.machine.console()
    site.machine.cut_power()
    assert media.digest(stick) == before


def test_a_cd_starts_with_secure_boot_on(new_site: MakeSite) -> None:
    site = new_site(state="dbg")
    site.change(boot=Cd(site.built.iso), firmware=Firmware.SECURE_BOOT)
    found = inventory(site)
    assert (found["firmware"], found["secure_boot"]) == ("uefi", True)
    assert "[integrity]" in site.shell.output("cat /sys/kernel/security/lockdown")
