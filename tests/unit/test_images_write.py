"""What is written into a tree: nothing of it over something else of the same image."""

import os
from contextlib import closing

import pytest

from images import write
from images.write import CannotWrite, TreeWriter
from tests.unit.image_trees import ROOT, folder


class Folding:
    """The system calls of a file system to which names that differ by case are one."""

    def __getattr__(self, name):
        return getattr(os, name)

    def mkdir(self, path, mode, *, dir_fd):
        os.mkdir(self._there(path, dir_fd), mode, dir_fd=dir_fd)

    def stat(self, path, *, dir_fd, follow_symlinks):
        return os.stat(self._there(path, dir_fd), dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def _there(self, path, dir_fd):
        above, slash, name = path.rpartition("/")
        with os.scandir(f"/proc/self/fd/{dir_fd}/{above}") as entries:
            names = [found.name for found in entries if found.name.lower() == name.lower()]
        return above + slash + (*names, name)[0]


def put(target, *paths):
    with closing(TreeWriter(target)) as writer:
        writer.frame([ROOT, *map(folder, paths)])


@pytest.mark.parametrize("above", ["", "etc/"])
def test_folders_that_differ_by_case_are_not_merged(tmp_path, monkeypatch, above):
    monkeypatch.setattr(write, "os", Folding())
    (tmp_path / above).mkdir(exist_ok=True)
    with pytest.raises(CannotWrite, match=f"/{above}Conf: .* another spelling"):
        put(tmp_path, f"{above}conf", f"{above}Conf")


@pytest.mark.parametrize("calls", [os, Folding()], ids=["linux", "folding"])
def test_a_folder_that_is_there_is_where_a_file_system_is_mounted(tmp_path, monkeypatch, calls):
    monkeypatch.setattr(write, "os", calls)
    (tmp_path / "boot/efi").mkdir(parents=True)
    put(tmp_path, "boot", "boot/efi")


def test_what_is_there_and_no_folder_is_none(tmp_path):
    (tmp_path / "boot").touch()
    with pytest.raises(CannotWrite, match="boot: File exists"):
        put(tmp_path, "boot")
