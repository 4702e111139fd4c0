"""The text that nft and tc are given, and what is read from outside for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import network_classes, network_kernel, network_rules
from configmanager.backends.network_classes import Share
from configmanager.backends.network_rules import Member
from configmanager.backends.network_settings import BadNetworkSettings, Link, NetworkSettings, read_settings
from configmanager.slots import Slot
from host.run import Completed, Runner
from wire.rspec import RSpec
from wire.slivers import PortForward

MBIT = 1_000_000
LINK = Link("eth0", 100 * MBIT)
WEB = Member("demo-web", Slot(5), RSpec(), (PortForward("tcp", 8080, 80), PortForward("udp", 53, 5353)))
DNS = Member("demo_dns", Slot(0xABC), RSpec(), ())


def lines_with(text: str, *words: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if all(word in line for word in words)]


def test_rules_know_each_sliver_by_interface_and_address() -> None:
    text = network_rules.ruleset([WEB, DNS], [IPv4Network("192.0.2.0/24")], [])
    pair = f'"sliver5" . {Slot(5).address}, "sliver2748" . {Slot(2748).address}'
    assert lines_with(text, "add element", "addresses") == [
        f"add element inet slivers addresses {{ {pair} }}",
        f"add element arp slivers addresses {{ {pair} }}",
    ]
    assert '"sliver5" : 5, "sliver2748" : 2748' in text
    assert '"sliver5" : 51fe:1005, "sliver2748" : 51fe:1abc' in text
    assert '"sliver5" : 51fe:2005, "sliver2748" : 51fe:2abc' in text
    assert '"sliver5" : "sent_demo.web", "sliver2748" : "sent_demo_dns"' in text
    assert f"tcp . 8080 : {Slot(5).address} . 80, udp . 53 : {Slot(5).address} . 5353" in text
    assert "exempt { 192.0.2.0/24 }" in text


@pytest.mark.parametrize(
    ("published", "left"),
    [
        ((), "32768-65535"),
        ((80, 32767), "32768-65535"),
        ((40_000, 40_001), "40002-65535"),
        ((32768, 65535, 60_000), "32769-59999"),
        # Better a port that is another's by chance than none.
        (range(32768, 65536), "32768-65535"),
        (range(33000, 65536, 1000), "32768-65535"),
    ],
)
def test_slivers_go_out_from_ports_that_nobody_has_published(published: Sequence[int], left: str) -> None:
    ports = tuple(PortForward("tcp", port, 80) for port in published)
    text = network_rules.ruleset([WEB, Member("all", Slot(6), RSpec(), ports)], [], [])
    assert lines_with(text, "fully-random") == [
        f"meta l4proto {{ tcp, udp }} masquerade to :{left} fully-random"
    ]


def test_who_has_published_a_port_twice_goes_out_from_the_first() -> None:
    ports = (PortForward("tcp", 8081, 80), PortForward("tcp", 8080, 80), PortForward("udp", 8080, 80))
    text = network_rules.ruleset([Member("a", Slot(6), RSpec(), ports)], [], [])
    (line,) = lines_with(text, "add element", " leaving ")
    elements = line.partition("{ ")[2].removesuffix(" }").split(", ")
    assert sorted(elements) == ['"sliver6" . tcp . 80 : 8081', '"sliver6" . udp . 80 : 8080']


def test_counters_stay_but_for_those_of_slivers_that_are_gone() -> None:
    text = network_rules.ruleset([WEB], [], [*WEB.counters, *DNS.counters, network_rules.SPOOFED])
    assert not re.search(r"(flush|delete|reset|destroy) (table|counter)s? inet slivers.*(web|dropped)", text)
    assert lines_with(text, "delete counter") == [
        "delete counter inet slivers received_demo_dns",
        "delete counter inet slivers sent_demo_dns",
    ]
    assert "delete table" not in text
    assert "destroy" not in text


def test_what_the_rules_count_is_not_begun_anew_with_them() -> None:
    text = network_rules.ruleset([WEB], [], [])
    for name in network_rules.COUNTED:
        assert lines_with(text, f" {name} ") == [
            f"add set inet slivers {name} {{ type ifname; flags dynamic; }}"
        ]
        assert lines_with(text, f"add @{name} {{ iifname ")


def test_without_slivers_no_empty_element_is_added() -> None:
    assert "add element" not in network_rules.ruleset([], [], [])


def test_names_of_counters_differ_as_those_of_slivers_do() -> None:
    slot, rspec = Slot(1), RSpec()
    names = {Member(name, slot, rspec, ()).counters[0] for name in ("a_b", "a-b", "ab")}
    assert len(names) == 3


def share(name: str, number: int, slice_id: int = 1, **rspec: int) -> Share:
    return Share(name, slice_id, Slot(number), RSpec(**rspec))


def test_classes_have_rate_ceil_and_turns_by_share() -> None:
    shares = [
        share("a", 5, net_min=10 * MBIT, net_max=30 * MBIT, net_share=3, net2_max=40 * MBIT),
        share("b", 6),
    ]
    text = network_classes.batch(network_classes.divide(LINK, 50 * MBIT, shares), shares, None)
    assert text.splitlines()[0] == "qdisc replace dev eth0 root handle 51fe: htb default 2"
    (a,) = lines_with(text, "classid 51fe:1005 ")
    (b,) = lines_with(text, "classid 51fe:1006 ")
    assert "parent 51fe:3 " in a
    assert "prio 1 rate 10000000bit " in a
    assert "ceil 30000000bit " in a
    assert a.endswith("quantum 37500")
    # No more than the operator gives slivers together, and one share.
    assert "rate 8bit " in b
    assert "ceil 50000000bit " in b
    assert b.endswith("quantum 12500")
    (exempt,) = lines_with(text, "classid 51fe:2005 ")
    assert "parent 51fe:1 " in exempt
    assert "ceil 40000000bit" in exempt
    (together,) = lines_with(text, "classid 51fe:3 ")
    assert "rate 10000008bit " in together
    assert "ceil 50000000bit " in together
    (node,) = lines_with(text, "classid 51fe:2 ")
    assert "prio 0 rate 5000000bit " in node
    assert "ceil 100000000bit " in node


def test_what_two_large_packets_of_a_neighbour_kept_from_a_class_it_may_send_afterwards() -> None:
    shares = [share("a", 5, net_min=2 * MBIT, net_max=5 * MBIT, net2_max=50 * MBIT)]
    text = network_classes.batch(network_classes.divide(LINK, 20 * MBIT, shares), shares, None)
    (ordinary,) = lines_with(text, "classid 51fe:1005 ")
    assert f"burst {3028 + 2 * 65_536 // 10}b " in ordinary
    assert f"cburst {3028 + 2 * 65_536 // 4}b " in ordinary
    # Beside all that the link carries, not only what slivers may send together.
    (exempt,) = lines_with(text, "classid 51fe:2005 ")
    assert f"cburst {3028 + 2 * 65_536 // 2}b " in exempt


def test_the_flows_of_a_queue_are_told_once() -> None:
    """fq_codel_change() of Linux refuses them for a queue that is there."""
    shares = [share("a", 5), share("b", 6)]
    there = ["51fe:1", "51fe:2", "51fe:3", "51fe:1005", "51fe:2005"]
    queued = {"51fe:2", "51fe:1005", "51fe:2005"}
    text = network_classes.batch(network_classes.divide(LINK, 0, shares), shares, there, queued)
    queues = [line.split()[5] for line in lines_with(text, "fq_codel")]
    assert queues == ["51fe:1006", "51fe:2006"]


def test_a_tree_that_is_there_is_changed_and_not_made_again() -> None:
    shares = [share("a", 5)]
    there = ["51fe:1", "51fe:2", "51fe:3", "51fe:1005", "51fe:2005", "51fe:1006", "51fe:2006"]
    text = network_classes.batch(network_classes.divide(LINK, 0, shares), shares, there)
    assert "root" not in text
    assert lines_with(text, "class delete") == [
        "class delete dev eth0 classid 51fe:1006",
        "class delete dev eth0 classid 51fe:2006",
    ]


@pytest.mark.parametrize(("rate", "turn"), [(MBIT, 3028), (100 * MBIT, 12_500), (10_000 * MBIT, 65_536)])
def test_a_turn_is_a_millisecond_of_the_link_within_bounds(rate: int, turn: int) -> None:
    shares = [share("a", 5)]
    text = network_classes.batch(network_classes.divide(Link("eth0", rate), 0, shares), shares, None)
    assert lines_with(text, "classid 51fe:1005 ")[0].endswith(f"quantum {turn}")


def test_the_oldest_slices_have_their_guarantee() -> None:
    shares = [
        share("young", 1, 9, net_min=60 * MBIT),
        share("old", 2, 3, net_min=30 * MBIT, net2_min=20 * MBIT),
        share("small", 3, 10, net2_min=40 * MBIT),
    ]
    tree = network_classes.divide(LINK, 0, shares)
    assert tree.refused == {"young"}
    assert tree.guaranteed == {"old": (30 * MBIT, 20 * MBIT), "young": (8, 8), "small": (8, 40 * MBIT)}


def test_a_guarantee_is_within_what_the_operator_gives() -> None:
    shares = [share("a", 1, net_min=20 * MBIT), share("b", 2, 2, net2_min=20 * MBIT)]
    assert network_classes.divide(LINK, 10 * MBIT, shares).refused == {"a"}


def test_settings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "configmanager.conf"
    assert read_settings(file) == NetworkSettings()
    file.write_text("[network]\nrate = 20000000\nexempt = 192.0.2.0/25, 192.0.2.128/25\n 10.0.0.0/8\n")
    exempt = (IPv4Network("10.0.0.0/8"), IPv4Network("192.0.2.0/24"))
    assert read_settings(file) == NetworkSettings(20_000_000, exempt)


@pytest.mark.parametrize(
    "text",
    [
        "rate = 1",
        "[network]\nrate = fast",
        "[network]\nrate = -5",
        "[network]\nrate = 12",
        "[network]\nceil = 1",
    ]
    + [f"[network]\nexempt = {word}" for word in ("here", "10.0.0.1/8", "2001:db8::/32", "1.2.3.4/33")],
)
def test_settings_that_cannot_be_are_refused_with_their_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "configmanager.conf"
    file.write_text(text)
    with pytest.raises(BadNetworkSettings, match=re.escape(str(file))):
        read_settings(file)


LISTED = """table inet slivers {
\tcounter sent_demo.web {
\t\tpackets 0 bytes 0
\t}

\tset addresses {
\t\ttypeof iifname . ip saddr
\t\telements = { %s }
\t}

\tset open {
\t\ttype ifname
\t\tsize 65535
\t\tflags dynamic%s
\t}

\tchain source {
\t\tiifname . ip saddr != @addresses counter name "dropped_spoofed" drop
\t}
}
"""
QDISCS = """qdisc noqueue 0: dev lo root refcnt 2
qdisc htb 51fe: dev up0 root refcnt 2 r2q 10 default 0x2 direct_packets_stat %d direct_qlen 1000
qdisc fq_codel 1005: dev up0 parent 51fe:1005 limit 10240p flows 128 quantum 1514
qdisc htb 1: dev other root refcnt 2 r2q 10 default 0x2 direct_packets_stat 0 direct_qlen 1000
"""
CLASSES = """class htb 51fe:1 root rate 1Gbit ceil 1Gbit linklayer ethernet burst 1375b/1 mpu 0b level 7
class htb 51fe:1005 parent 51fe:3 leaf 1005: prio 1 quantum 12500 rate 8bit ceil 1Gbit level 0
"""
FLOW = "class fq_codel 1005:%d parent 1005:\n"


class Listing(Runner):
    """What nft and tc list; when something was counted, also for whom."""

    def __init__(self, elements: str, counted: int, classes: str) -> None:
        self.elements, self.counted, self.classes = elements, counted, classes

    def __call__(self, argv: Sequence[Any], **_: Any) -> Completed:
        words = list(argv)
        by_rules = '\n\t\telements = { "sliver5" ct count over 8192 }' if self.counted > 1 else ""
        listed = LISTED % (self.elements, by_rules)
        said = {
            ("inet", "slivers"): listed,
            ("slivers", "addresses"): listed,
            ("qdisc", "show"): QDISCS % self.counted,
            ("dev", "up0"): self.classes,
        }.get(tuple(words[-2:]), "")
        return Completed(tuple(words), 0, said, "", 0.0)


def test_what_changes_by_itself_is_no_change() -> None:
    one = network_kernel.look(
        Listing('"sliver5" . 100.64.0.22,\n\t\t\t     "sliver6" . 100.64.0.26', 1, CLASSES + FLOW % 1)
    )
    lines = CLASSES.splitlines(keepends=True)
    same = Listing('"sliver6" . 100.64.0.26, "sliver5" . 100.64.0.22', 7, FLOW % 2 + lines[1] + lines[0])
    assert network_kernel.look(same) == one
    assert one.counters == ["sent_demo.web"]
    assert one.handles("up0") == ["51fe:1", "51fe:1005"]
    assert one.handles("other") is None
    assert one.queued == {"up0": {"51fe:1005"}}
    for other in (
        Listing('"sliver5" . 100.64.0.26, "sliver6" . 100.64.0.22', 1, CLASSES),
        Listing('"sliver5" . 100.64.0.22', 1, CLASSES),
        Listing('"sliver6" . 100.64.0.26, "sliver5" . 100.64.0.22', 1, CLASSES.replace("8bit", "80bit")),
    ):
        assert network_kernel.look(other) != one


def test_a_sliver_is_known_by_its_link_and_its_address() -> None:
    run = Listing('"sliver5" . 100.64.0.22,\n\t\t\t     "sliver61" . 100.64.0.246', 0, "")
    assert network_kernel.knows(run, Slot(5))
    assert not network_kernel.knows(run, Slot(6))
    assert not network_kernel.knows(Listing('"sliver6" . 100.64.0.246', 0, ""), Slot(6))
