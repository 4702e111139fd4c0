"""Loans between slivers: the vectors of the original node manager, and what holds for any loans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from configmanager.loans import MINIMUM, MOST_LOANS, Loan, effective
from wire.rspec import RSpec
from wire.structure import unstructure

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/loans.json").read_text())
EACH = VECTORS["rspec_each"]
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("case", VECTORS["cases"])
def test_the_originals_vectors(case):
    vector = VECTORS["cases"][case]
    loans = {name: Loan.read(items) for name, items in vector["loans"].items()}
    assert effective(dict.fromkeys(loans, EACH), loans) == vector["effective"]


def test_least_amounts_are_the_originals():
    assert VECTORS["MINIMUM_ALLOCATION"] == MINIMUM


def test_a_loan_to_nobody_is_none_and_one_to_oneself_changes_nothing():
    loans = {"a": (Loan("gone", "cpu_share", 50), Loan("a", "cpu_share", 50))}
    assert effective({"a": EACH}, loans) == {"a": EACH}


def test_what_is_discarded_leaves_room_for_the_next():
    loans = {"a": Loan.read([["b", "cpu_share", 85], ["b", "cpu_share", 4], ["b", "cpu_share", 80]])}
    assert effective({"a": EACH, "b": EACH}, loans)["a"]["cpu_share"] == 16


@settings(max_examples=50, deadline=None)
@given(
    some.dictionaries(
        some.sampled_from(NAMES),
        some.lists(
            some.builds(
                Loan,
                some.sampled_from([*NAMES, "gone"]),
                some.sampled_from(sorted(MINIMUM)),
                some.integers(0, 2000),
            ),
            max_size=6,
        ),
    )
)
def test_nothing_is_made_of_nothing_and_everybody_keeps_the_least(loans):
    having = effective(dict.fromkeys(NAMES, EACH), loans)
    for what in EACH:
        assert sum(each[what] for each in having.values()) == len(NAMES) * EACH[what]
    for amounts in having.values():
        assert all(amounts[what] >= least for what, least in MINIMUM.items())


@pytest.mark.parametrize(
    "data",
    [
        "b",
        None,
        {},
        [["b", "cpu_share"]],
        [["b", "cpu_share", -1]],
        [["b", "cpu_share", True]],
        [["b", "cpu_share", 1.0]],
        [["b", "cpu_share", "1"]],
        [["b", "cpu_share", 10**13]],
        [["b", "disk_max", 1]],
        [["b", "enabled", 1]],
        [[1, "cpu_share", 1]],
        [["b", ["cpu_share"], 1]],
        ["abc"],
        [["b", "cpu_share", 1]] * (MOST_LOANS + 1),
        [["x" * 1000, "cpu_share", 1]],
        [["", "cpu_share", 1]],
        [["../b", "cpu_share", 1]],
    ],
)
def test_what_is_no_list_of_loans_is_refused(data):
    with pytest.raises(ValueError, match=r"loan|lent|amount|name"):
        Loan.read(data)


def test_resources_after_loans_stay_such_as_there_can_be():
    amounts = unstructure(RSpec(net_min=100, cpu_share=10_000)) | {"net_max": 8, "cpu_share": 20_000}
    assert RSpec.nearest(amounts) == RSpec(net_min=8, net_max=8, cpu_share=10_000)
