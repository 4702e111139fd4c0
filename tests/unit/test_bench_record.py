"""Results of benchmarks: none is lost by another."""

import json
from pathlib import Path

import pytest

from tests.bench.record import measure
from tests.bench.result import Result


def rows(file: Path) -> dict[str, float]:
    return {row["name"]: row["value"] for row in json.loads(file.read_text())}


def failing() -> list[Result]:
    raise RuntimeError("no guest")


def test_a_later_run_of_some_leaves_the_others_there(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert measure("both", lambda: [Result("a", 1.0, 2.0), Result("b", 1.0, 2.0)], file)
    assert measure("one", lambda: [Result("b", 0.5, 2.0), Result("c", 0.1, 1.0)], file)
    assert rows(file) == {"a": 1.0, "b": 0.5, "c": 0.1}


def test_one_that_fails_is_told_and_takes_nothing_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    found = [
        measure("first", lambda: [Result("a", 1.0, 2.0)], file),
        measure("second", failing, file),
        measure("third", lambda: [Result("b", 1.0, 2.0)], file),
    ]
    assert found == [True, False, True]
    assert rows(file) == {"a": 1.0, "b": 1.0}
    assert "second: FAILED: no guest" in capsys.readouterr().out


def test_a_goal_that_is_missed_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    assert not measure("x", lambda: [Result("a", 3.0, 2.0, {"ours": 3.0})], file)
    assert rows(file) == {"a": 3.0}
    assert capsys.readouterr().out == "a: 3.00, goal at most 2.0 (MISSED): ours 3.0\n"
