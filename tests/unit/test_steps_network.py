"""Which ways out a machine has, by what ip(8) says, and when the network step looks for another one."""

import json
from dataclasses import replace

import pytest

from host import network, network_files, ways
from host.console import Console
from host.events import Events
from host.network import NetworkUp, NoNetwork
from host.options import Options
from host.ports import Host
from host.run import CommandFailed, Completed, Runner
from steps.base import Context, Facts
from steps.network import Network
from wire.nodeconf import EnrolmentConfiguration
from wire.nodenet import IpMethod, NetworkSettings

DEAD = NetworkUp("eth0", "52:54:00:00:00:01", "10.9.0.7", "10.9.0.1")
GOOD = NetworkUp("eth1", "52:54:00:00:00:02", "10.50.0.7", "10.50.0.1")
GOOD6 = replace(GOOD, address="fd00:50::7", gateway="fe80::1")


def link(name, mac, *addresses, up=True, **more):
    found = [
        {"family": "inet6" if ":" in each else "inet", "local": each, "scope": "global"} for each in addresses
    ]
    return {
        "ifname": name,
        "address": mac.lower(),
        "addr_info": found,
        "link_type": "ether",
        "operstate": "UP" if up else "DOWN",
        "flags": ["LOWER_UP"] if up else [],
        **more,
    }


def route(way, metric=1024):
    return {"dst": "default", "gateway": way.gateway, "dev": way.interface, "metric": metric}


class Ip(Runner):
    """A machine whose ip(8) says what stands in a table; other commands only are noted."""

    def __init__(self, links, routes=(), routes6=()):
        self.said = {"addr": links, "link": links, "-4": list(routes), "-6": list(routes6)}
        self.ran = []
        self.is_online = True

    def __call__(self, argv, **_):
        words = [str(word) for word in argv]
        self.ran.append(words)
        if "wait-online" in words[0] and not self.is_online:
            raise CommandFailed(words, 1, "")
        told = next((self.said[word] for word in words[2:] if word in self.said), [])
        return Completed(tuple(words), 0, json.dumps(told) if words[0] == "ip" else "", "", 0.0)


def two_cards(**changed):
    return [
        link("eth0", DEAD.mac, DEAD.address),
        link("eth1", GOOD.mac, GOOD.address, GOOD6.address, **changed),
    ]


def test_the_better_metric_and_ipv4_come_first():
    ip = Ip(two_cards(), [route(DEAD), route(GOOD, 100)], [route(GOOD6)])
    assert network.ways(ip) == (GOOD, DEAD, GOOD6)
    assert network.current(ip) == GOOD
    assert network.current(ip, 6) == GOOD6
    assert network.current(Ip(two_cards())) is None


def test_routers_of_equal_rank_are_one_ipv6_route_with_several_hops():
    hops = [{"dev": "eth1", "gateway": "fe80::1"}, {"dev": "eth1", "gateway": "fe80::2"}]
    found = network.ways(Ip(two_cards(), [], [{"dst": "default", "metric": 1024, "nexthops": hops}]))
    assert found == (GOOD6, replace(GOOD6, gateway="fe80::2"))


def test_an_address_that_another_machine_may_have_does_not_count_yet():
    links = two_cards()
    links[1]["addr_info"][1]["tentative"] = True
    assert network.ways(Ip(links, [], [route(GOOD6)])) == ()


@pytest.mark.parametrize(
    ("other", "idle"),
    [
        ({}, ("eth1",)),
        ({"up": False}, ()),
        ({"master": "bond0"}, ()),
        # A sliver's.
        ({"linkinfo": {"info_kind": "veth"}}, ()),
        ({"link_type": "loopback"}, ()),
    ],
    ids=str,
)
def test_which_links_may_still_lead_out(other, idle):
    ip = Ip(two_cards(**other), [route(DEAD)])
    assert network.idle_links(ip) == idle
    assert ways.has_choice(ip, NetworkSettings()) is bool(idle)
    for settings in (NetworkSettings(device="eth0"), NetworkSettings(bond=("A", "B"))):
        assert not ways.has_choice(ip, settings)


class Machine:
    """A machine about to bring up its network, and what it told."""

    def __init__(self, monkeypatch, tmp_path, ip, settings=NetworkSettings()):  # noqa: B008
        monkeypatch.setattr(network_files.configured, "__defaults__", (tmp_path,))
        monkeypatch.setattr(network_files.write, "__defaults__", (tmp_path,))
        self.reached = []
        monkeypatch.setattr(ways, "reached_from", lambda goal, by="": self.reached.append(by) or self.by(by))
        self.told, self.ip, self.step = [], ip, Network()
        self.by = lambda by: ""
        events = Events("test", (lambda event: self.told.append((event.event, event.data)),))
        facts = Facts((settings, EnrolmentConfiguration("https://192.0.2.2:8443", settings)))
        self.context = Context(Host(ip, None, events, Console([]), Options()), facts)


def test_one_way_is_not_tried_and_the_wait_is_announced(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, Ip(two_cards(up=False), [route(DEAD)]))
    (change,) = machine.step.observe(machine.context).changes
    assert "dhcp" in change.text
    machine.step.run(machine.context)
    assert machine.step.observe(machine.context).facts == (DEAD,)
    assert machine.reached == []
    (waited, what), (up, where) = machine.told
    assert (waited, what["seconds"], up, where["address"]) == ("wait.started", 90, "network.up", DEAD.address)
    assert ["networkctl", "reload"] in machine.ip.ran


def test_of_two_ways_the_one_that_answers_is_preferred(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, Ip(two_cards(), [route(DEAD), route(GOOD)]))
    machine.by = lambda by: GOOD.address if by == "eth1" else ""
    machine.step.run(machine.context)
    preferring = [" ".join(words) for words in machine.ip.ran if "replace" in words]
    assert preferring == ["ip -4 route replace default via 10.50.0.1 dev eth1 metric 1"]
    assert [event for event, _ in machine.told] == ["wait.started", "network.dead_end", "network.up"]
    assert machine.step.observe(machine.context).holds

    # What the next try finds: the way that is preferred does not answer any more.
    again = Network()
    machine.by = lambda by: ""
    (change,) = again.observe(machine.context).changes
    assert "192.0.2.2" in change.text
    again.run(machine.context)
    # With the server away, the network is there all the same.
    assert again.observe(machine.context).holds


def test_interfaces_of_former_settings_are_removed(monkeypatch, tmp_path):
    links = [link("eth0", DEAD.mac, DEAD.address), link("vlan5", DEAD.mac, linkinfo={"info_kind": "vlan"})]
    machine = Machine(monkeypatch, tmp_path, Ip(links, [route(DEAD)]))
    machine.step.run(machine.context)
    assert ["ip", "link", "delete", "vlan5"] in machine.ip.ran


class Late(Ip):
    """A machine whose first card never has a gateway; the other gets address and route at these seconds."""

    def __init__(self, monkeypatch, address_at, route_at, settings=NetworkSettings()):  # noqa: B008
        super().__init__([link("eth0", DEAD.mac, DEAD.address), link("eth1", GOOD.mac)])
        self.seconds, self._address_at, self._route_at = 0.0, address_at, route_at
        self._settings = settings
        monkeypatch.setattr(network, "time", self)

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds
        if self.seconds >= self._address_at:
            self.said["addr"][1] = link("eth1", GOOD.mac, GOOD.address)
        if self.seconds >= self._route_at:
            self.said["-4"] = [route(GOOD)]

    def wait(self, version=0):
        return network.wait(self, self._settings, version, seconds=90)


@pytest.mark.parametrize(("address_at", "route_at"), [(2, 2), (40, 41), (89, 90)])
def test_an_address_without_a_gateway_does_not_end_the_wait_for_other_links(
    monkeypatch, address_at, route_at
):
    late = Late(monkeypatch, address_at, route_at)
    assert late.wait() == GOOD
    assert late.seconds == route_at


@pytest.mark.parametrize(("address_at", "route_at", "seconds"), [(999, 999, 90), (10, 999, 11)])
def test_a_link_that_never_leads_out_is_waited_for_as_long_as_was_said(
    monkeypatch, address_at, route_at, seconds
):
    late = Late(monkeypatch, address_at, route_at)
    with pytest.raises(NoNetwork, match="an address but no gateway") as caught:
        late.wait()
    assert late.seconds == seconds
    assert ("waited 90 s for another by eth1" in caught.value.detail) is (seconds == 90)


def test_an_address_of_the_other_version_is_none(monkeypatch):
    late = Late(monkeypatch, 0, 999)
    late.sleep(0)
    with pytest.raises(NoNetwork, match="by eth0, eth1"):
        late.wait(version=6)


@pytest.mark.parametrize(
    "settings", [NetworkSettings(device="eth0"), NetworkSettings(bond=("A", "B"))], ids=str
)
def test_links_that_are_not_to_have_an_address_are_not_waited_for(monkeypatch, settings):
    late = Late(monkeypatch, 2, 2, settings)
    with pytest.raises(NoNetwork, match="no gateway; interfaces"):
        late.wait()
    assert late.seconds == 0


def test_no_network_says_what_was_waited_for_and_what_is_there(monkeypatch, tmp_path):
    settings = NetworkSettings(IpMethod.NONE)
    machine = Machine(monkeypatch, tmp_path, Ip(two_cards(up=False)), settings)
    with pytest.raises(NoNetwork, match="an address but no gateway"):
        machine.step.run(machine.context)
    machine.ip.is_online = False
    with pytest.raises(NoNetwork) as caught:
        machine.step.run(machine.context)
    assert "waited 90 s for an IPv6 address on any interface" in caught.value.detail
    assert "eth1 52:54:00:00:00:02 down" in caught.value.detail
