"""The files for systemd-networkd, and what debug mode and the plan show people."""

import pytest

from bootmanager.engine import Preview
from bootmanager.preview import plan_data, plan_text
from host import network, network_files
from host.installed import NoKernel, kernel_versions, newest_kernel
from host.ways import Goal, goal_of
from steps.base import Change, Effect, Keeps
from wire.nodeconf import EnrolmentConfiguration
from wire.nodenet import BondMode, IpMethod, NetworkSettings

STATIC = NetworkSettings(
    IpMethod.STATIC, "52:54:00:AB:CD:EF", "10.0.2.15", "255.255.255.0", "10.0.2.2", ("10.0.2.3",)
)


BOND = ("52:54:00:00:00:01", "52:54:00:00:00:02")


def address_file(settings):
    return network_files.render(settings)["10-bootmanager.network"]


def test_dhcp_takes_any_hardware_interface_but_no_slivers_one():
    text = address_file(NetworkSettings())
    assert "Type=ether\nKind=!*" in text
    assert "DHCP=yes" in text
    assert "IPv6AcceptRA=yes" in text
    assert "IPv4ReversePathFilter=loose" in text


def test_static_by_mac():
    text = address_file(STATIC)
    assert "PermanentMACAddress=52:54:00:ab:cd:ef\nKind=!*" in text
    assert "Address=10.0.2.15/24\nGateway=10.0.2.2\nDNS=10.0.2.3" in text
    assert "DHCP=ipv6" in text


def test_by_name():
    assert "[Match]\nName=eno1\n" in address_file(NetworkSettings(device="eno1"))


def test_ipv6_alone_by_what_routers_announce():
    text = address_file(NetworkSettings(IpMethod.NONE))
    assert "IPv6AcceptRA=yes" in text
    assert "DHCP=ipv6" in text
    # The same address from the boot medium and from the node, whose system ids differ.
    assert "[DHCPv6]\nDUIDType=link-layer" in text


def test_static_ipv6_hears_no_router():
    text = address_file(NetworkSettings(IpMethod.NONE, address6="fd00::7/64", gateway6="fe80::1"))
    assert "Address=fd00::7/64\nGateway=fe80::1\nIPv6AcceptRA=no" in text
    assert "DHCP=" not in text


def test_a_vlan_on_a_bond():
    settings = NetworkSettings(vlan=42, bond=BOND, bond_mode=BondMode.LACP)
    files = network_files.render(settings)
    assert "Mode=802.3ad" in files["10-bootmanager-bond.netdev"]
    assert "MACAddress=52:54:00:00:00:01" in files["10-bootmanager-bond.netdev"]
    members = files["10-bootmanager-members.network"]
    assert "PermanentMACAddress=52:54:00:00:00:01 52:54:00:00:00:02\nKind=!*" in members
    assert "Bond=bond0" in members
    assert "Name=vlan42\nKind=vlan\n\n[VLAN]\nId=42" in files["10-bootmanager-vlan.netdev"]
    carrier = files["10-bootmanager-carrier.network"]
    assert "Name=bond0" in carrier
    assert "VLAN=vlan42" in carrier
    assert "DHCP=" not in carrier
    assert "[Match]\nName=vlan42\n" in files["10-bootmanager.network"]
    assert network_files.made_interfaces(settings) == {"bond0", "vlan42"}


def test_a_vlan_on_one_interface():
    files = network_files.render(NetworkSettings(device="eno1", vlan=42))
    assert "Name=eno1\nKind=!*" in files["10-bootmanager-carrier.network"]
    assert set(files) == {
        f"10-bootmanager{each}" for each in ("-vlan.netdev", "-carrier.network", ".network")
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (NetworkSettings(), "an address by DHCP on any interface"),
        (STATIC, "the address 10.0.2.15 on 52:54:00:AB:CD:EF"),
        (
            NetworkSettings(IpMethod.NONE, vlan=5, bond=("A", "B")),
            "an IPv6 address on VLAN 5 on the bond of A, B",
        ),
    ],
)
def test_what_is_waited_for_in_words(settings, says):
    assert network.wanted(settings) == says


def test_changed_settings_are_noticed_and_leave_nothing_of_the_former(tmp_path):
    network_files.write(NetworkSettings(vlan=42, bond=BOND), tmp_path)
    assert network_files.configured(NetworkSettings(vlan=42, bond=BOND), tmp_path)
    assert not network_files.configured(STATIC, tmp_path)
    network_files.write(STATIC, tmp_path)
    assert network_files.configured(STATIC, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["10-bootmanager.network"]


@pytest.mark.parametrize(
    ("server", "proxy", "goal"),
    [
        ("https://10.0.2.2:8443", "", Goal("10.0.2.2", 8443)),
        ("https://boot.example.org", "", Goal("boot.example.org", 443)),
        ("https://[fd00::2]:8443", "", Goal("fd00::2", 8443)),
        ("https://boot.example.org", "http://proxy:3128", Goal("proxy", 3128)),
        ("https://boot.example.org", "http://proxy", Goal("proxy", 80)),
    ],
)
def test_what_has_to_be_reached_first(server, proxy, goal):
    assert goal_of(EnrolmentConfiguration(server, NetworkSettings(), proxy)) == goal
    assert goal.version == {"10.0.2.2": 4, "fd00::2": 6}.get(goal.host, 0)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "boot").mkdir()
    return tmp_path


def test_the_newest_kernel_with_an_initramfs(root):
    for name in ("vmlinuz-6.9.1", "initrd.img-6.9.1", "vmlinuz-6.12.3", "initrd.img-6.12.3", "vmlinuz-6.13"):
        (root / "boot" / name).write_text("")
    assert kernel_versions(root) == ["6.9.1", "6.12.3", "6.13"]
    found = newest_kernel(root, "loglevel=7")
    assert (found.image, found.initramfs) == ("vmlinuz-6.12.3", "initrd.img-6.12.3")
    assert found.arguments == "root=/dev/bmnode/root ro panic=60 quiet loglevel=7"


def test_no_kernel(root):
    with pytest.raises(NoKernel):
        newest_kernel(root, "")
    (root / "boot/vmlinuz-6.12.3").write_text("")
    with pytest.raises(NoKernel, match="initramfs"):
        newest_kernel(root, "")


PREVIEWS = (
    Preview("detect", "Detect hardware", Effect.READS, True),
    Preview(
        "partition",
        "Partition",
        Effect.DESTROYS,
        False,
        (Change(Keeps.DESTROY, "/dev/vda", "ext4 with data"), Change(Keeps.CREATE, "/dev/vda", "GPT")),
    ),
    Preview("report", "Report", Effect.CHANGES, False, (), "not known before it runs: Mark"),
)


def test_the_plan_for_people():
    assert plan_text(PREVIEWS).splitlines() == [
        "detect: Detect hardware -- known",
        "partition: Partition -- to do",
        "    will DESTROY /dev/vda: ext4 with data",
        "    will create  /dev/vda: GPT",
        "report: Report -- not known before it runs: Mark",
    ]


def test_the_plan_for_programs():
    data = plan_data(PREVIEWS)
    assert [step["step"] for step in data] == ["detect", "partition", "report"]
    assert data[1]["changes"][0] == {"keeps": "destroy", "target": "/dev/vda", "text": "ext4 with data"}
