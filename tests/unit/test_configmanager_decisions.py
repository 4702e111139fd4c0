"""What was decided on the node: what it changes of the server's word, and that it lasts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager import decisions as module
from configmanager.backends.sliver_record import Made, SliverRecords
from configmanager.decisions import FILE, Decisions, DecisionsDamaged
from configmanager.loans import Loan
from host.files import write_atomic
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver

LENDER = Sliver("lender", 1, 5000, attributes=(Attribute("cpu_share", "100"), Attribute("hrn", "x")))
TAKER = Sliver("taker", 2, 5000)
MINE = Sliver("mine", 3, 5000, Instantiation.DELEGATED)
SAID = NodeSlivers(1000, 1, "node1", (LENDER, TAKER, MINE))


def test_without_decisions_the_word_is_as_it_is(tmp_path: Path) -> None:
    assert Decisions(tmp_path).applied(SAID) is SAID


@pytest.mark.parametrize("instantiation", [Instantiation.DELEGATED, Instantiation.CONTROLLER])
def test_a_delegated_sliver_is_there_from_when_it_was_made_to_when_it_was_not(
    tmp_path: Path, instantiation: Instantiation
) -> None:
    said = replace(SAID, slivers=(replace(MINE, instantiation=instantiation),))
    assert Decisions(tmp_path).applied(said).instantiated == ()
    Decisions(tmp_path).set_made(said.slivers[0], said, made=True)
    assert [each.name for each in Decisions(tmp_path).applied(said).instantiated] == ["mine"]
    Decisions(tmp_path).set_made(said.slivers[0], said, made=False)
    assert Decisions(tmp_path).applied(said).instantiated == ()


def test_a_sliver_that_shall_not_be_is_not_made_by_a_decision(tmp_path: Path) -> None:
    decisions, off = Decisions(tmp_path), replace(MINE, instantiation=Instantiation.NOT)
    decisions.set_made(MINE, SAID, made=True)
    assert decisions.applied(replace(SAID, slivers=(off,))).instantiated == ()


def test_loans_change_what_slivers_have_and_nothing_else(tmp_path: Path) -> None:
    Decisions(tmp_path).set_loans(LENDER, SAID, (Loan("taker", "cpu_share", 50),))
    lender, taker, mine = Decisions(tmp_path).applied(SAID).slivers
    assert (lender.rspec.cpu_share, taker.rspec.cpu_share) == (50, 82)
    assert (lender.attribute("hrn"), lender.rspec.disk_max) == ("x", LENDER.rspec.disk_max)
    assert mine == MINE
    # What is as the server said is the very same, which spares the backends work.
    decisions = Decisions(tmp_path)
    decisions.set_loans(LENDER, SAID, ())
    assert decisions.applied(SAID).slivers[1] is TAKER


def test_a_sliver_that_is_not_here_gets_nothing(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    decisions.set_loans(LENDER, SAID, (Loan("mine", "cpu_share", 50),))
    assert decisions.resources(SAID)["lender"].cpu_share == 100
    decisions.set_made(MINE, SAID, made=True)
    assert decisions.resources(SAID)["mine"].cpu_share == 82


def test_another_slice_of_the_same_name_inherits_nothing(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    decisions.set_made(MINE, SAID, made=True)
    other = replace(SAID, slivers=(replace(MINE, slice_id=4),))
    assert decisions.applied(other).instantiated == ()


def test_what_is_gone_is_forgotten_with_the_next_decision(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    decisions.set_made(MINE, SAID, made=True)
    without = replace(SAID, slivers=(LENDER, TAKER))
    decisions.set_loans(LENDER, without, ())
    assert "mine" not in (tmp_path / FILE).read_text()


def test_a_decision_that_did_not_reach_the_disk_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = Decisions(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        decisions.set_made(MINE, SAID, made=True)
    assert decisions.applied(SAID) is SAID


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mine": 1}', '{"mine": {"slice_id": "3"}}', "[" * 100_000])
def test_a_damaged_list_is_put_aside_and_destroys_no_sliver(tmp_path: Path, text: str) -> None:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text(text)
    SliverRecords(tmp_path).save(Made("mine", "mine"))
    another = Sliver("another", 4, 5000, Instantiation.DELEGATED)
    said = replace(SAID, slivers=(*SAID.slivers, another))
    here = ["lender", "taker", "mine"]
    assert [each.name for each in Decisions(tmp_path).applied(said).instantiated] == here
    # Looking at it changes nothing.
    assert file.read_text() == text
    decisions = Decisions(tmp_path)
    assert isinstance(decisions.mend(), DecisionsDamaged)
    assert file.with_suffix(".damaged").read_text() == text
    assert Decisions(tmp_path).mend() is None
    for known in (decisions, Decisions(tmp_path)):
        assert [each.name for each in known.applied(said).instantiated] == here
    # The next decision is on the slice that it is then, and no other inherits what was found.
    decisions.set_loans(LENDER, said, ())
    other = replace(SAID, slivers=(replace(MINE, slice_id=9),))
    for known in (decisions, Decisions(tmp_path)):
        assert known.of(MINE).made
        assert known.applied(other).instantiated == ()


def test_a_kill_while_it_is_put_aside_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    file.write_text("{")
    SliverRecords(tmp_path).save(Made("mine", "mine"))
    for number in range(2):
        left = number

        def write(*arguments: Any, **options: Any) -> None:
            nonlocal left
            if left == 0:
                raise OSError(28, "No space left on device")
            left -= 1
            write_atomic(*arguments, **options)

        monkeypatch.setattr(module, "write_atomic", write)
        assert isinstance(Decisions(tmp_path).mend(), DecisionsDamaged)
        assert (
            Decisions(tmp_path).applied(SAID).sliver("mine") in Decisions(tmp_path).applied(SAID).instantiated
        )
    monkeypatch.undo()
    assert isinstance(Decisions(tmp_path).mend(), DecisionsDamaged)
    assert file.with_suffix(".damaged").read_text() == "{"
