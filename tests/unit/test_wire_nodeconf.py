"""The node's configuration file: good ones, bad ones, and that the key is never quoted."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.nodeconf import IpMethod, MalformedNodeConfiguration, parse

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
        (GOOD + 'IP_METHOD="carrier-pigeon"\n', "line 5: IP_METHOD is neither"),
        (GOOD + 'IP_METHOD="static"\n', "IP_ADDRESS is missing"),
        (STATIC.replace("10.0.2.15", "10.0.2.1555"), "line 6: IP_ADDRESS is not an IPv4 address"),
        (STATIC.replace("255.255.255.0", "255.0.255.0"), "line 7: IP_NETMASK is not a netmask"),
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
