"""The node's configuration file: good ones, bad ones, and that the key is never quoted."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.nodeconf import parse
from wire.nodefile import MalformedNodeConfiguration
from wire.nodenet import BondMode, IpMethod, NetworkSettings

KEY = base64.b64encode(bytes(range(32))).decode()
GOOD = f"""# made at the server
NODE_ID="7"
NODE_KEY="{KEY}"
BOOT_SERVER="http://10.0.2.2:8080/"
"""
STATIC = (
    GOOD
    + """IP_METHOD="static"
IP_ADDRESS="10.0.2.15"
IP_NETMASK="255.255.255.0"
IP_GATEWAY="10.0.2.2"
IP_DNS1="10.0.2.3"
NET_DEVICE="52:54:00:ab:cd:ef"
HOST_NAME="Node1"
DOMAIN_NAME="Example.ORG"
"""
)


def test_the_least_that_a_node_needs():
    found = parse(GOOD, "key")
    assert (found.node_id, found.server, found.network.method) == (7, "http://10.0.2.2:8080", IpMethod.DHCP)
    assert found.key.to_text() == KEY


def test_a_static_network():
    found = parse(STATIC, "key")
    assert found.network.address == "10.0.2.15"
    assert found.network.prefix_length == 24
    assert found.network.dns == ("10.0.2.3",)
    assert found.network.device == "52:54:00:AB:CD:EF"
    assert found.hostname == "node1.example.org"


def test_dhcp_clears_the_static_fields():
    found = parse(STATIC.replace('"static"', '"dhcp"'), "key")
    assert (found.network.address, found.network.gateway, found.network.dns) == ("", "", ())


MACS = "52:54:00:00:00:01, 52:54:00:00:00:02"


def test_a_vlan_on_a_bond():
    lines = f'BOND_DEVICES="{MACS.lower()}"\nBOND_MODE="802.3ad"\nVLAN_ID="42"\n'
    found = parse(GOOD + lines, "key").network
    assert (found.vlan, found.bond_mode) == (42, BondMode.LACP)
    assert found.bond == tuple(MACS.split(", "))
    assert parse(GOOD + f'BOND_DEVICES="{MACS}"\n', "key").network.bond_mode is BondMode.ACTIVE_BACKUP


def test_ipv6_alone():
    assert parse(GOOD + 'IP_METHOD="none"\n', "key").network == NetworkSettings(IpMethod.NONE)
    lines = 'IP_METHOD="none"\nIPV6_ADDRESS="FD00::7/64"\nIPV6_GATEWAY="fe80::1"\nIP_DNS1="fd00::53"\n'
    found = parse(GOOD + lines, "key").network
    assert (found.address6, found.gateway6, found.dns) == ("fd00::7/64", "fe80::1", ("fd00::53",))


@pytest.mark.parametrize("proxy", ["http://proxy.example.org:3128/", "proxy.example.org:3128"])
def test_a_proxy_is_a_url(proxy):
    assert parse(GOOD + f'PROXY_SERVER="{proxy}"\n', "key").proxy == "http://proxy.example.org:3128"


def test_unknown_keys_are_ignored():
    assert parse(GOOD + 'WLAN_MODE="x"\n', "key").node_id == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "NONSENSE\n", "line 5: not of the form"),
        (GOOD + 'HOST_NAME="a\n', "line 5: not of the form"),
        (GOOD + "HOST_NAME='a\"\n", "line 5: not of the form"),
        (GOOD + ' # indented="1"\n', "line 5: not of the form"),
        (GOOD + 'HOST_NAME=""\n', "line 5: HOST_NAME is empty"),
        (GOOD.replace('"7"', '"seven"'), "line 2: NODE_ID is not a positive number"),
        (GOOD.replace('"7"', '"-1"'), "line 2: NODE_ID is not a positive number"),
        (GOOD.replace('NODE_ID="7"\n', ""), "NODE_ID is missing"),
        (GOOD.replace('"7"', f'"{"9" * 5000}"'), "line 2: NODE_ID is not a positive number"),
        (GOOD.replace("http://", "ftp://"), "line 4: BOOT_SERVER"),
        (GOOD + 'BOOT_SERVER="http://host:99999"\n', "line 5: BOOT_SERVER"),
        (GOOD + 'BOOT_SERVER="http://host:port"\n', "line 5: BOOT_SERVER"),
        (GOOD + 'BOOT_SERVER="http://[::1"\n', "line 5: BOOT_SERVER"),
        (GOOD + 'PROXY_SERVER="ftp://host:3128"\n', "line 5: PROXY_SERVER"),
        (GOOD + 'PROXY_SERVER="host:port"\n', "line 5: PROXY_SERVER"),
        (GOOD + 'IP_METHOD="carrier-pigeon"\n', "line 5: IP_METHOD is none of static, dhcp, none"),
        (GOOD + 'IP_METHOD="static"\n', "IP_ADDRESS is missing"),
        (STATIC.replace("10.0.2.15", "10.0.2.1555"), "line 6: IP_ADDRESS is not an IPv4 address"),
        (STATIC.replace("255.255.255.0", "255.0.255.0"), "line 7: IP_NETMASK is not a netmask"),
        (
            STATIC.replace('IP_GATEWAY="10.0.2.2"', 'IP_GATEWAY="fe80::1"'),
            "line 8: IP_GATEWAY is not an IPv4",
        ),
        (STATIC.replace("10.0.2.3", "dns.example"), "line 9: IP_DNS1 is not an IP address"),
        (GOOD + 'VLAN_ID="42"\n', "line 5: VLAN_ID needs NET_DEVICE or BOND_DEVICES"),
        (STATIC + 'VLAN_ID="4095"\n', "line 13: VLAN_ID is not a number from 1 to 4094"),
        (STATIC + 'VLAN_ID="0"\n', "line 13: VLAN_ID is not a number from 1 to 4094"),
        (GOOD + 'BOND_DEVICES="eno1 eno2"\n', "line 5: BOND_DEVICES is not a list of two or more MAC"),
        (GOOD + f'BOND_DEVICES="{MACS[:17]}"\n', "line 5: BOND_DEVICES is not a list"),
        (GOOD + f'BOND_DEVICES="{MACS[:17]} {MACS[:17]}"\n', "line 5: BOND_DEVICES is not a list"),
        (GOOD + f'BOND_DEVICES="{MACS}"\nBOND_MODE="glue"\n', "line 6: BOND_MODE is none of active-backup"),
        (GOOD + 'BOND_MODE="802.3ad"\n', "line 5: BOND_MODE needs BOND_DEVICES"),
        (STATIC + f'BOND_DEVICES="{MACS}"\n', "line 10: NET_DEVICE is not wanted with BOND_DEVICES"),
        (GOOD + 'IPV6_ADDRESS="fd00::7"\n', "line 5: IPV6_ADDRESS is not of the form ADDRESS/LENGTH"),
        (GOOD + 'IPV6_ADDRESS="10.0.0.7/24"\n', "line 5: IPV6_ADDRESS is not of the form"),
        (GOOD + 'IPV6_ADDRESS="fd00::7/64"\n', "IPV6_GATEWAY is missing"),
        (GOOD + 'IPV6_GATEWAY="fe80::1"\n', "line 5: IPV6_GATEWAY needs IPV6_ADDRESS"),
        (
            GOOD + 'IPV6_ADDRESS="fd00::7/64"\nIPV6_GATEWAY="fe80::1%eth0"\n',
            "line 6: IPV6_GATEWAY is not an IPv6 address",
        ),
        ("", "NODE_ID is missing"),
    ],
)
def test_a_malformed_file_is_refused_with_place_and_reason(text, says):
    with pytest.raises(MalformedNodeConfiguration) as caught:
        parse(text, "/dev/sdb1:plnode.txt")
    assert says in caught.value.detail
    assert "/dev/sdb1:plnode.txt" in caught.value.detail


@pytest.mark.parametrize("key", [KEY[:-4], KEY[:-1] + "*", "not-a-key"])
def test_a_bad_key_is_not_quoted(key):
    with pytest.raises(MalformedNodeConfiguration, match="line 3: NODE_KEY is malformed") as caught:
        parse(GOOD.replace(KEY, key), "key")
    assert key not in str(caught.value)


@given(st.text())
def test_any_text_gives_a_configuration_or_the_one_error(text):
    with suppress(MalformedNodeConfiguration):
        parse(text, "key")
