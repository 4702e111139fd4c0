"""A machine with no boot medium: its firmware, iPXE, the server, and what is refused on the way."""

import os

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.damage import flip_byte
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Firmware, NetworkCard
from tests.vm.harness.lan import on_a_lan
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site

pytestmark = pytest.mark.slow

ARGUMENTS = "console=ttyS0,115200 mitigations=off no_timer_check bm.events=/dev/ttyS1"


def starting_from_the_network(site: Site) -> Site:
    """Take the site's boot medium away; its server has it for machines that start over the network."""
    site.server.cli("netboot", "publish", str(site.built.iso), "--kernel-arguments", ARGUMENTS)
    script = f"{site.server.netboot_url}/netboot/boot.ipxe"
    site.change(boot=NetworkCard(script), memory_mib=1024)
    return site


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_machine_with_a_key_medium_only_checks_in(new_site: MakeSite) -> None:
    site = starting_from_the_network(new_site(state="dbg"))
    with on_a_lan(site):
        # What it tells the server stays there; the serial line says it too.
        site.machine.power_on()
        site.machine.wait_event("step.started", step="verify_medium", timeout=limits.BOOT)
        site.machine.wait_event("state.entered", state="dbg", timeout=limits.SOON)
        assert site.machine.events("state.entered")[-1]["reason"] == "the server wants dbg"
        wait_until("the run level", lambda: site.server.node(NODE)["run_level"] == "safeboot", limits.SOON)
        assert site.server.node(NODE)["address"].startswith("10.0.2.5")
        assert site.machine.written("key") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_uefi_firmware_boots_by_http(new_site: MakeSite) -> None:
    site = starting_from_the_network(new_site(state="dbg"))
    site.change(firmware=Firmware.UEFI)
    # Firmware tries PXE first, and would find it.
    with on_a_lan(site, without="tag:efi"):
        site.machine.power_on()
        site.machine.wait_event("state.entered", state="dbg", timeout=limits.BOOT)
        told = (site.logs / "dnsmasq.log").read_text()
        assert f"bootfile-name  {site.server.netboot_url}/netboot/snponly.efi" in told
        assert "snponly.efi to" not in told, "it came by TFTP"


def test_a_layer_that_somebody_changed_does_not_run(new_site: MakeSite) -> None:
    site = starting_from_the_network(new_site())
    (layer,) = site.server.folder.glob("netboot/*/20-project.squashfs")
    flip_byte(layer, 4096)
    site.power_on()
    refused = "network boot: 20-project.squashfs is refused: sha256 "
    wait_until("the refusal", lambda: refused in site.machine.console(), limits.BOOT)
    assert not site.machine.events()


def test_a_machine_with_1_gib_installs_itself(new_site: MakeSite) -> None:
    site = starting_from_the_network(new_site(state="inst"))
    site.power_on()
    site.machine.wait_event("state.entered", state="inst", timeout=limits.BOOT)
    site.machine.wait_event("chain.started", how="kexec", timeout=limits.INSTALL)
    assert_node_is_up(site)
    assert site.machine.written("key") == 0
