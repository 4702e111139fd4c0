"""What is read or worked out once is read again when it is another, and only then."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.kept import OfSlivers, ReadFiles
from tests.unit.test_configmanager_slivers import SLIVER
from wire.slivers import Attribute


def test_a_file_is_read_again_when_it_is_another(tmp_path: Path) -> None:
    read: list[str] = []
    files: ReadFiles[str] = ReadFiles(lambda text: read.append(text) or text)  # type: ignore[func-returns-value]
    file = tmp_path / "file"
    file.write_text("one")
    assert [files.get(file), files.get(str(file))] == ["one", "one"]
    assert read == ["one"]
    # As long, at the same time by what a program can set, and in the same place.
    status = file.stat()
    with file.open("r+") as same:
        same.write("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    while file.stat().st_ctime_ns == status.st_ctime_ns:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.get(file) == "two"
    other = tmp_path / "other"
    other.write_text("six")
    other.replace(file)
    assert files.get(file) == "six"
    files.forget(file)
    assert files.get(file) == "six"
    assert read == ["one", "two", "six", "six"]


def test_what_is_gone_or_damaged_is_not_remembered(tmp_path: Path) -> None:
    files, file = ReadFiles(int), tmp_path / "file"
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            files.get(file)
        file.write_text("1")
        assert files.get(file) == 1
        file.write_text("none")
        with pytest.raises(ValueError, match="none"):
            files.get(file)
        file.unlink()


def test_a_sliver_is_worked_on_again_when_it_is_another() -> None:
    done: list[tuple[str, int]] = []

    def work(sliver: object, number: int) -> int:
        done.append(("worked", number))
        return len(done)

    kept = OfSlivers(work)
    assert [kept.get(SLIVER, 1), kept.get(SLIVER, 1), kept.get(SLIVER, 2), kept.get(SLIVER, 2)] == [
        1,
        1,
        2,
        2,
    ]
    assert kept.get(replace(SLIVER, attributes=(Attribute("a", "b"),)), 2) == 3
    assert kept.get(replace(SLIVER, name="other"), 2) == 4
