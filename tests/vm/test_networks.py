"""Networks of the field: a VLAN, a bond, IPv6 alone, several cards, a late link, a proxy.

Most machines only start the medium and check in: the event log shows address, route and check-in.
"""

import time

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.field import SERVER6, Card, Field, Lan, field
from tests.vm.harness.server import GUESTS_HOST, wait_until
from tests.vm.harness.site import NODE, Site
from tests.vm.harness.timeline import Event

MACS = tuple(f"52:54:00:00:00:0{number}" for number in range(1, 4))
GATEWAY = "10.50.0.1"
LAN = Lan("lan", (f"{GATEWAY}/24",), ("--dhcp-range=10.50.0.100,10.50.0.199",))
# Its DHCP server names a router that is not there.
DEAD_ROUTER = "10.9.0.254"
DEAD = Lan("dead", ("10.9.0.1/24",), ("--dhcp-range=10.9.0.100,10.9.0.199", f"--dhcp-option=3,{DEAD_ROUTER}"))
LAN6 = Lan("lan6", ("fd00:50::1/64",), ("--enable-ra", "--dhcp-range=fd00:50::100,fd00:50::1ff,64"))
LATE_SECONDS = 40


def quick_machine(new_site: MakeSite) -> Site:
    """Return a site whose machine needs no disk."""
    site = new_site(state="dbg")
    site.without("system", "data", "dongle")
    return site


def checked_in(site: Site, timeout: float = limits.BOOT) -> Event:
    """Wait until the machine has learnt from its server what is wanted; return its way there."""
    # The server is in the namespace, so what the machine says comes by the serial line alone.
    site.machine.wait_event("state.entered", state="dbg", timeout=timeout)
    (up,) = site.machine.events("network.up")
    assert site.server.node(NODE)["address"] == up["address"]
    return up


def vlan_on_bond(net: Field) -> None:
    net.key("--set", f"BOND_DEVICES={MACS[0]} {MACS[1]}", "--set", "VLAN_ID=42")


def heard_of_again(site: Site) -> None:
    """Wait until the node has spoken to its server once more."""
    before = site.server.node(NODE)["contacted"]
    wait_until(
        "the node over the other link", lambda: site.server.node(NODE)["contacted"] > before, limits.SOON
    )


@pytest.mark.slow
def test_a_vlan_on_a_bond_with_a_dead_member_and_then_the_other_one(new_site: MakeSite) -> None:
    site = quick_machine(new_site)
    with field(site, Card(MACS[0], LAN, vlan=42), Card(MACS[1], LAN, vlan=42)) as net:
        vlan_on_bond(net)
        site.machine.power_on()
        net.link(0, up=False)
        up = checked_in(site)
        assert (up["interface"], up["gateway"]) == ("vlan42", GATEWAY)
        # DHCP knows the bond by its first member, whichever works.
        assert up["mac"] == MACS[0].upper()

        net.link(0, up=True)
        net.link(1, up=False)
        # Debug mode goes on asking its server.
        heard_of_again(site)


@pytest.mark.slow
def test_a_vlan_on_a_bond_outlives_kexec(installed: MakeSite) -> None:
    site = installed()
    machine, server = site.machine, site.server
    with field(site, Card(MACS[0], LAN, vlan=42), Card(MACS[1], LAN, vlan=42)) as net:
        vlan_on_bond(net)
        machine.power_on()
        up = machine.wait_event("network.up", timeout=limits.BOOT)
        machine.wait_event("chain.started", how="kexec", timeout=limits.BOOT)
        said = "runlevel run_level=boot"
        wait_until("the installed node's report", lambda: said in machine.console(), limits.NODE_UP)
        assert server.node(NODE)["address"] == up["address"]

        net.link(0, up=False)
        # A change that the node hears of at once, if it hears.
        server.set_state(NODE, "boot")
        heard_of_again(site)


def test_ipv6_alone(new_site: MakeSite) -> None:
    site = quick_machine(new_site)
    with field(site, Card(MACS[0], LAN6)) as net:
        net.key("--set", "IP_METHOD=none", host=SERVER6)
        site.machine.power_on()
        up = checked_in(site)
        assert up["address"].startswith("fd00:50::1")
        # Announced by the router itself.
        assert up["gateway"].startswith("fe80::")


def test_of_three_interfaces_the_one_that_leads_out_is_taken(new_site: MakeSite) -> None:
    site = quick_machine(new_site)
    machine = site.machine
    with field(site, Card(MACS[0], DEAD), Card(MACS[1], LAN), Card(MACS[2], LAN)) as net:
        net.key()
        machine.power_on()
        net.link(2, up=False)
        up = checked_in(site)
        assert (up["mac"], up["gateway"]) == (MACS[1].upper(), GATEWAY)
        # Whichever address came first: the way that leads nowhere does not hold the machine up.
        for event in machine.events("network.dead_end"):
            assert event["gateway"] == DEAD_ROUTER
            said = f"no answer of {GUESTS_HOST} port {site.server.port} through {event['interface']}"
            assert said in machine.console()


@pytest.mark.slow
def test_a_fixed_address_on_a_link_that_comes_up_after_40_seconds(new_site: MakeSite) -> None:
    site = quick_machine(new_site)
    machine = site.machine
    with field(site, Card(MACS[0], LAN)) as net:
        net.key("--static", "10.50.0.17/24", "--gateway", GATEWAY)
        machine.power_on()
        net.link(0, up=False)
        asked = machine.wait_event("wait.started", seconds=90, timeout=limits.BOOT)
        assert asked["for"] == "the address 10.50.0.17 on any interface"
        # What is waited for here is the time itself.
        time.sleep(LATE_SECONDS)
        assert not machine.events("network.up")
        net.link(0, up=True)
        up = checked_in(site, limits.SOON)
        assert up["address"] == "10.50.0.17"
        assert LATE_SECONDS <= up["uptime"] - asked["uptime"] < LATE_SECONDS + 30
        assert f"waiting for {asked['for']}, at most 90 s" in machine.console()


@pytest.mark.slow
def test_a_server_that_only_a_proxy_reaches(new_site: MakeSite) -> None:
    site = quick_machine(new_site)
    lan = Lan("lan", LAN.addresses, (*LAN.dhcp, "--dhcp-option=3,10.50.0.254"))
    with field(site, Card(MACS[0], lan)) as net:
        net.proxy(GATEWAY, 3128)
        net.key("--proxy", f"http://{GATEWAY}:3128")
        site.machine.power_on()
        checked_in(site)
        assert f"CONNECT {GUESTS_HOST}:{site.server.port}" in (site.logs / "proxy.log").read_text()
