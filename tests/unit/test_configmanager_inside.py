"""Root of a sliver cannot lead the node's root out of the sliver's tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from configmanager.backends.inside import InsideFile, UnsafeTree, write_inside


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_files_and_folders_are_made(tree: Path) -> None:
    write_inside(tree, InsideFile("root/.ssh/authorized_keys", "key\n", 0o600, 0o700))
    file = tree / "root/.ssh/authorized_keys"
    assert file.read_text() == "key\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tree / "root/.ssh").stat().st_mode & 0o777 == 0o700
    write_inside(tree, InsideFile("root/.ssh/authorized_keys", "other\n", 0o600, 0o700))
    assert list((tree / "root/.ssh").iterdir()) == [file]
    assert file.read_text() == "other\n"


@pytest.mark.parametrize("link", ["etc", "etc/systemd"])
def test_a_link_in_place_of_a_folder_is_refused(tree: Path, link: str) -> None:
    (tree / link).parent.mkdir(exist_ok=True)
    (tree / link).symlink_to(tree.parent / "outside")
    with pytest.raises(UnsafeTree):
        write_inside(tree, InsideFile("etc/systemd/file", "text"))
    assert list((tree.parent / "outside").iterdir()) == []


def test_a_link_in_place_of_the_file_is_replaced(tree: Path) -> None:
    victim = tree.parent / "outside/victim"
    victim.write_text("safe")
    for name in ("file", ".file.bm-new"):
        (tree / name).symlink_to(victim)
    write_inside(tree, InsideFile("file", "text"))
    assert victim.read_text() == "safe"
    assert (tree / "file").read_text() == "text"
    assert not (tree / "file").is_symlink()


def test_a_folder_in_place_of_the_file_is_refused(tree: Path) -> None:
    (tree / "file").mkdir()
    with pytest.raises(UnsafeTree):
        write_inside(tree, InsideFile("file", "text"))


def test_a_pipe_in_place_of_the_file_does_not_hang(tree: Path) -> None:
    os.mkfifo(tree / "file")
    os.mkfifo(tree / ".file.bm-new")
    write_inside(tree, InsideFile("file", "text"))
    assert (tree / "file").read_text() == "text"


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x"])
def test_a_path_out_of_the_tree_is_a_fault(tree: Path, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        write_inside(tree, InsideFile(path, "text"))
