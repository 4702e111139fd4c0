"""Weights from which guarantees follow."""

from __future__ import annotations

import pytest

from configmanager.backends.cpu_weights import GUARANTEED_PART, cpu_weights
from wire.slivers import Attribute, Sliver

SURE = 0.9


def sliver(name: str, slice_id: int = 1, share: int = 32, least: int = 0) -> Sliver:
    given = (Attribute("cpu_share", str(share)), Attribute("cpu_min", str(least)))
    return Sliver(name, slice_id, 2, attributes=given)


def test_without_guarantees_the_weight_is_the_share() -> None:
    weights = cpu_weights([sliver("a", share=96), sliver("b"), sliver("c", share=10_000)], 2)
    assert weights.by_name == {"a": 96, "b": 32, "c": 10_000}
    assert not weights.refused


@pytest.mark.parametrize("others", [1, 7, 300])
@pytest.mark.parametrize("share", [16, 32, 10_000])
@pytest.mark.parametrize("least", [1, 50, 1000, 3200])
def test_a_guarantee_holds_when_all_compete(others: int, share: int, least: int) -> None:
    crowd = [sliver(f"other{number}", 9, share) for number in range(others)]
    weights = cpu_weights([sliver("sure", least=least), *crowd], 4).by_name
    assert all(1 <= weight <= 10_000 for weight in weights.values())
    sure = SURE * weights["sure"] / sum(weights.values())
    # The kernel knows whole weights only: with hundreds of others that is a little coarse.
    assert sure >= least / 4000 * 0.97
    # What is not given away is divided by shares.
    assert len({weights[each.name] for each in crowd}) == 1


def test_only_who_has_a_guarantee_depends_on_the_others() -> None:
    few = cpu_weights([sliver("sure", least=500), sliver("a", share=64)], 2).by_name
    more = cpu_weights([sliver("sure", least=500), sliver("a", share=64), sliver("b")], 2).by_name
    assert few["a"] == more["a"] == 64
    assert few["sure"] < more["sure"]


def test_the_oldest_slices_have_what_there_is() -> None:
    room = int(2000 * GUARANTEED_PART)
    slivers = [
        sliver("young", 7, least=600),
        sliver("old", 3, least=room - 500),
        sliver("small", 8, least=500),
    ]
    weights = cpu_weights(slivers, 2)
    assert weights.refused == {"young"}
    assert weights.by_name["young"] == 32
    assert weights.by_name["small"] > 32


def test_more_than_the_machine_is_refused_alone() -> None:
    assert cpu_weights([sliver("a", least=1601)], 2).refused == {"a"}
    assert cpu_weights([sliver("a", least=1600)], 2).refused == set()
    assert cpu_weights([], 2).by_name == {}
