"""Booting over the network, the server's side: who gets which script, and what is there for the asking."""

import pytest
from starlette.testclient import TestClient

from bootserver import ipxe
from bootserver.dnsmasq import Addresses, BadNetbootNetwork, configuration
from bootserver.netboot import ARGUMENTS, PUBLISHED
from bootserver.netboot_app import netboot_app
from bootserver.tables import Setting
from tests.unit.bootserver_deployment import Deployment
from wire.messages import NodeDetails

KEY = "0123456789abcdef"
MAC = "52:54:00:AB:CD:EF"
NIC = {"name": "eth0", "mac": MAC}
OWN = "/netboot/52-54-00-ab-cd-ef.ipxe"
URL = "http://192.0.2.1:8082"


@pytest.fixture
def server(tmp_path):
    """A deployment whose boot medium was published: what is served lies in its folder."""
    made = Deployment(tmp_path / "state")
    with made.state.database.write() as session:
        session.merge(Setting(key=PUBLISHED, value=KEY))
        session.merge(Setting(key=ARGUMENTS, value="console=ttyS1"))
    folder = made.state.netboot / KEY
    folder.mkdir(parents=True)
    for name in ("vmlinuz", "initrd", "10-a.squashfs", "layers.sha256", "other"):
        (folder / name).write_text(f"{name} of the medium")
    loaders = tmp_path / "ipxe"
    loaders.mkdir()
    for name in ("snponly.efi", "ipxe.lkrn"):
        (loaders / name).write_text(name)
    made.netboot = TestClient(netboot_app(made.state, loaders), base_url=URL)
    made.netboot.portal = made.web.portal
    return made


def test_every_machine_is_led_to_its_own_script(server):
    answer = server.netboot.get("/netboot/boot.ipxe")
    assert answer.text.startswith("#!ipxe\n")
    assert "chain --replace --autofree ${netX/mac:hexhyp}.ipxe" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_machine_that_nobody_knows_gets_what_is_for_all(server):
    text = server.netboot.get(OWN).text
    kernel = next(line for line in text.splitlines() if line.startswith("kernel "))
    assert kernel.startswith(f"kernel {KEY}/vmlinuz initrd=initrd boot=live panic=60 ")
    assert f" live-url={URL}/netboot/{KEY} " in kernel
    assert " ip=${netX/ip}::${netX/gateway}:${netX/netmask}:::none " in kernel
    assert kernel.endswith(" console=ttyS1 || goto failed")
    assert f"initrd --name initrd {KEY}/initrd ||" in text


def test_a_node_gets_its_own_kernel_arguments(server):
    server.add()
    server.set(inventory={"nics": [NIC]}, kernel_arguments="console=ttyS7 pci=noaer")
    text = server.netboot.get(OWN.replace("ab", "AB")).text
    assert "console=ttyS7 pci=noaer ||" in text
    assert "console=ttyS1" not in text
    assert "node1" not in text


@pytest.mark.parametrize(
    "inventory", [{"nics": [NIC]}, {"said": MAC}, {"nics": MAC}, {"nics": [MAC, {"mac": 5}]}]
)
def test_what_nodes_say_takes_no_other_node_its_script_nor_ends_in_an_error(server, inventory):
    for name in ("node1", "node2"):
        server.add(name)
        server.set(name, inventory=inventory, kernel_arguments=name)
    assert "console=ttyS1 ||" in server.netboot.get(OWN).text


def test_a_node_with_usual_arguments_looks_like_a_machine_that_nobody_knows(server):
    with server.state.database.write() as session:
        session.merge(Setting(key=ARGUMENTS, value=NodeDetails.kernel_arguments))
    unknown = server.netboot.get(OWN)
    server.add()
    server.set(inventory={"nics": [NIC]})
    known = server.netboot.get(OWN)
    assert (known.text, known.status_code) == (unknown.text, unknown.status_code)


@pytest.mark.parametrize(
    "word",
    ["${uuid}", "a||b", "a&&shell", "#x", 'dyndbg="x"', "a;b", "a\\", "'x'", "a{b}", "\N{DEGREE SIGN}"],
)
def test_no_kernel_argument_says_anything_to_ipxe(word):
    assert ipxe.split(f"one=1 {word} two") == (["one=1", "two"], [word])
    text = ipxe.start(URL, KEY, f"one=1 {word} two")
    assert word not in text
    assert " one=1 two ||" in text
    assert "echo 1 of the kernel arguments" in text


def test_arguments_for_all_that_cannot_stand_in_a_script_are_refused(server, tmp_path):
    iso = tmp_path / "boot.iso"
    iso.touch()
    said = server.cli("netboot", "publish", iso, "--kernel-arguments", "a $(b)", status=2)
    assert "'$(b)' cannot stand in an iPXE script" in said


@pytest.mark.parametrize(
    "host", ["", "boot.example.org", "192.0.2.1:80 shell", "[2001:db8::1]:80", "192.0.2.1\\"]
)
def test_the_servers_name_comes_into_no_script_unless_it_is_an_address(server, host):
    assert server.netboot.get(OWN, headers={"Host": host}).status_code == 400


def test_the_mediums_parts_are_there_with_ranges_and_their_size(server):
    path = f"/netboot/{KEY}/10-a.squashfs"
    assert server.netboot.get(path).text == "10-a.squashfs of the medium"
    part = server.netboot.get(path, headers={"Range": "bytes=5-"})
    assert (part.status_code, part.text) == (206, "squashfs of the medium")
    assert server.netboot.head("/netboot/snponly.efi").headers["Content-Length"] == "11"


@pytest.mark.parametrize(
    "path",
    [
        f"/netboot/{KEY}/other",
        f"/netboot/{KEY}/layers.sha256",
        f"/netboot/{KEY}/..%2f..%2fmaster.key",
        "/netboot/..%2f/vmlinuz",
        "/netboot/ffffffffffffffff/vmlinuz",
        "/netboot/ipxe.lkrn",
        "/netboot/..%2fstate%2fmaster.key",
        "/netboot/52-54-00.ipxe",
        "/PLCAPI/",
        "/tuf/metadata/timestamp.json",
        "/",
    ],
)
def test_nothing_else_is_there(server, path):
    assert server.netboot.get(path).status_code == 404


def test_before_the_first_publication_there_is_no_script(tmp_path):
    made = Deployment(tmp_path / "state")
    asking = TestClient(netboot_app(made.state), base_url=URL)
    asking.portal = made.web.portal
    assert asking.get(OWN).status_code == 404


@pytest.mark.parametrize(
    "url", ["https://192.0.2.1", "http://boot.example.org", "http://192.0.2.300:80", "x"]
)
def test_dnsmasq_is_given_no_url_that_machines_cannot_use(url):
    with pytest.raises(BadNetbootNetwork, match="http://ADDRESS:PORT"):
        configuration(url, "eth0", "192.0.2.0")


@pytest.mark.parametrize(
    ("interface", "network"),
    [
        ("eth0\nno-dhcp", "192.0.2.0"),
        ("eth0", "192.0.2"),
        ("eth0", "192.0.2.0,static"),
        ("eth0", Addresses("192.0.2.10", "192.0.2.99", "24")),
        ("eth0", Addresses("192.0.2.10", "192.0.2.99", "255.255.255.0", dns="x\ny")),
    ],
)
def test_dnsmasq_is_told_nothing_that_is_no_network(interface, network):
    with pytest.raises(BadNetbootNetwork):
        configuration(URL, interface, network)


def test_either_addresses_are_given_or_left_to_another(server):
    words = ["netboot", "dnsmasq", "--url", URL, "--interface", "eth0"]
    assert "either --range or --proxy" in server.cli(*words, status=2)
    said = server.cli(*words, "--proxy", "192.0.2.0", "--dns", "192.0.2.1", status=2)
    assert "go with --range" in said
    text = server.cli(*words, "--range", "192.0.2.10", "192.0.2.99", "255.255.255.0")
    # Without a value, so that dnsmasq does not name itself.
    assert "\ndhcp-option=option:router\n" in text
