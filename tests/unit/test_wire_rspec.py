"""What a slice's attributes say of resources, and what is refused."""

from __future__ import annotations

import pytest

from wire.rspec import RSpec
from wire.slivers import Attribute, NodeSlivers, Sliver


def test_defaults_are_those_of_the_original() -> None:
    rspec = RSpec.read({"hrn": "x", "vsys": "many"})
    assert rspec == RSpec()
    assert (rspec.enabled, rspec.cpu_min, rspec.cpu_share, rspec.disk_max) == (1, 0, 32, 5_000_000)
    assert (rspec.net_min, rspec.net_max, rspec.net_share) == (8, 1_000_000_000, 1)
    assert (rspec.net2_min, rspec.net2_max) == (8, 1_000_000_000)


def test_attributes_are_read_with_blanks_around_them() -> None:
    assert RSpec.read({"cpu_share": " 64 ", "net_max": "1000000"}) == RSpec(cpu_share=64, net_max=1_000_000)


def test_inodes_follow_the_disk_unless_they_are_given() -> None:
    assert RSpec(disk_max=16_000).inodes == 1000
    assert RSpec(disk_max=16_000, inodes_max=5).inodes == 5
    assert RSpec(disk_max=0).inodes == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_share", "lots"),
        ("cpu_share", ""),
        ("cpu_share", "-1"),
        ("cpu_share", "3.5"),
        ("cpu_share", "1e9"),
        ("cpu_share", "0x20"),
        ("cpu_share", "\u0663\u0663"),
        ("cpu_share", "15"),
        ("cpu_share", "9" * 400),
        ("net_max", "7"),
        ("net_max", "1" + "0" * 13),
        ("net_share", "0"),
        ("disk_max", "-5"),
        ("disk_max", "1023"),
        ("memory_max", "100"),
        ("pids_max", "0"),
        ("io_weight", "0"),
        ("enabled", "2"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is .{{1,60}}, not .*a whole number from") as caught:
        RSpec.read({name: value})
    assert len(str(caught.value)) < 200


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"cpu_share is 1,.*; net_share is 0,"):
        RSpec.read({"cpu_share": "1", "net_share": "0"})


@pytest.mark.parametrize(
    ("less", "more"), [("net_min", "net_max"), ("net2_min", "net2_max"), ("memory_high", "memory_max")]
)
def test_what_is_sure_cannot_be_more_than_the_most(less: str, more: str) -> None:
    with pytest.raises(ValueError, match=f"{less} is more than {more}"):
        RSpec.read({less: "200000", more: "100000"})
    assert getattr(RSpec.read({less: "100000", more: "100000"}), less) == 100_000


def sliver(name: str, **attributes: str) -> Sliver:
    return Sliver(name, 1, 2, attributes=tuple(Attribute(*item) for item in attributes.items()))


def test_a_fault_is_the_slivers_own() -> None:
    with pytest.raises(ValueError, match=r"^demo: cpu_share is .lots."):
        sliver("demo", cpu_share="lots")
    assert sliver("demo", cpu_share="64").rspec.cpu_share == 64


def test_of_an_attribute_that_is_there_twice_the_first_counts() -> None:
    twice = (Attribute("cpu_share", "64"), Attribute("cpu_share", "128"))
    assert Sliver("demo", 1, 2, attributes=twice).rspec.cpu_share == 64


def test_a_port_has_one_owner_and_the_refusal_names_both() -> None:
    ours, other = sliver("ours", ports="tcp:80:80"), sliver("other", ports="tcp:80:8080")
    with pytest.raises(ValueError, match="tcp:80 is ours's, other cannot have it too"):
        NodeSlivers(1, 1, "node", (ours, other))
    NodeSlivers(1, 1, "node", (ours, sliver("third", ports="udp:80:80")))
