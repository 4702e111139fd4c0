"""The benchmark of one change among a thousand slivers, with a few of them."""

from pathlib import Path

from tests.bench.manager import ROUNDS, one_change


def test_a_change_of_one_sliver_touches_no_other(tmp_path: Path) -> None:
    assert one_change(tmp_path, ROUNDS + 1).value > 0
