"""Network settings of one boot count in place of the key medium's, and say nothing else of the node."""

import json

import pytest

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.this_boot import FILE, for_this_boot, interfaces, network_lines
from hwdetect.media import Candidate, Media
from steps.base import Context, Facts
from steps.read_configuration import ReadConfiguration
from tests.unit.menu_desk import NotingRunner
from wire.nodeconf import NodeConfiguration
from wire.nodefile import MalformedNodeConfiguration
from wire.nodenet import NetworkSettings

MEDIUM = (
    'NODE_ID="7"\nNODE_KEY="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="\nBOOT_SERVER="http://x"\n'
    'IP_METHOD="dhcp"\nNET_DEVICE="eth0"\n'
)


@pytest.fixture
def read(tmp_path):
    """Read the key medium; return the facts."""

    def one():
        host = Host(None, None, Events("t"), Console([]), Options(), tmp_path)
        medium = Media(candidates=(Candidate("/dev/sdb1", "/dev/sdb", "plnode.txt", MEDIUM),))
        found = ReadConfiguration().observe(Context(host, Facts((medium,))))
        return Facts(found.facts)

    return one


def test_what_a_person_gave_counts_for_this_boot_and_not_on_the_disk(read, tmp_path):
    assert read()[NetworkSettings] == NetworkSettings(device="eth0")
    (tmp_path / FILE).write_text('NET_DEVICE="eth1"\n')
    assert read()[NetworkSettings] == NetworkSettings(device="eth1")
    # What is installed has the key medium's.
    assert read()[NodeConfiguration].network == NetworkSettings(device="eth0")


def test_settings_that_cannot_be_read_are_an_error_and_no_guess(read, tmp_path):
    (tmp_path / FILE).write_text("IP_METHOD=static\n")
    with pytest.raises(MalformedNodeConfiguration, match="IP_ADDRESS"):
        read()


def test_of_the_key_medium_only_the_lines_about_the_network_are_kept():
    assert network_lines(f"# IP\n{MEDIUM}ENROL_TOKEN=x\n") == 'IP_METHOD="dhcp"\nNET_DEVICE="eth0"\n'


def test_interfaces_with_what_leads_out():
    link = {"ifname": "eth0", "address": "52:54:00:12:34:ab", "operstate": "UP", "link_type": "ether"}
    local = {"local": "fe80::1", "prefixlen": 64, "scope": "link"}
    addresses = [{"local": "10.0.2.15", "prefixlen": 24, "scope": "global"}, local]
    lo = {**link, "ifname": "lo", "link_type": "loopback", "addr_info": []}
    run = NotingRunner({"ip": (0, json.dumps([lo, {**link, "addr_info": addresses}]))})
    assert interfaces(run) == ("eth0 52:54:00:12:34:AB up 10.0.2.15/24",)


def test_without_a_file_there_are_none(tmp_path):
    assert for_this_boot(tmp_path) is None
