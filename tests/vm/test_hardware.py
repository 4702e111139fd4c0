"""Other hardware than virtio, little memory, another network than DHCP, no dongle."""

from dataclasses import replace

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.hardware import Bus, Nic
from tests.vm.harness.site import NODE

pytestmark = pytest.mark.slow


def test_static_address_on_e1000_sata_disks_768_mib_and_no_dongle(new_site: MakeSite) -> None:
    site = new_site()
    site.server.cli(
        "media", "key", NODE, str(site.key), "--server", site.server.url,
        "--static", "10.0.2.15/24", "--gateway", "10.0.2.2", "--dns", "10.0.2.3",
    )  # fmt: skip
    site.without("dongle")
    old = site.machine.hardware.disks
    disks = tuple(replace(disk, bus=Bus.SATA) if disk.bus is Bus.VIRTIO else disk for disk in old)
    site.change(disks=disks, nic=Nic.E1000, memory_mib=768)

    site.power_on()
    site.machine.wait_event("media.found", dongle="", timeout=limits.BOOT)
    site.machine.wait_event("chain.started", timeout=limits.BOOT + limits.INSTALL)
    assert_node_is_up(site)
    addresses = site.shell.output("ip -4 -br address; networkctl --no-pager list")
    assert "10.0.2.15/24" in addresses
    assert "DHCP=ipv6" in site.shell.output("cat /etc/systemd/network/*.network")
