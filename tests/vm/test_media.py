"""The boot medium as people use it: through the firmware and GRUB, from a stick and from a CD."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Cd, UsbStick

pytestmark = pytest.mark.slow


def test_usb_stick_starts_the_installed_system_by_a_reboot_into_the_disk(installed: MakeSite) -> None:
    site = installed()
    stick = media.remastered(
        site.folder / "stick.iso", site.built.iso, "systemd.show_status=false",
        "systemd.show_status=false bm.chain=reboot bm.events=/dev/ttyS1",
    )  # fmt: skip
    site.change(boot=UsbStick(stick))
    before = media.digest(stick)

    site.power_on()
    site.machine.wait_event("state.entered", state="boot", timeout=limits.BOOT)
    site.machine.wait_event("chain.started", how="reboot", timeout=limits.SOON)
    assert_node_is_up(site)
    # The stick could have been written.
    assert site.machine.written("medium") == 0
    assert media.digest(stick) == before


def test_cd_starts_the_installed_system(installed: MakeSite) -> None:
    site = installed()
    site.change(boot=Cd(site.built.iso))
    site.power_on()
    site.machine.wait_event("chain.started", how="kexec", timeout=limits.BOOT + limits.SOON)
    assert site.machine.events("state.entered", state="boot")
