"""The backend for files of the node: their commands, and what was there before them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends import conf_files
from configmanager.backends.base import Verb
from configmanager.backends.commands import NodeCommandFailed
from configmanager.backends.conf_files import ConfFiles
from configmanager.backends.node_files import UnknownOwner
from configmanager.backends.placing import PlaceTaken
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.service_versions import Killed
from wire.conf_files import ConfFile, encode
from wire.slivers import NodeSlivers

FILE = ConfFile(
    "/etc/motd",
    encode(b"hello\n"),
    file_owner=str(os.getuid()),
    file_group=str(os.getgid()),
    preinstall_cmd="before",
    postinstall_cmd="after",
    error_cmd="error",
)


def wanted(*files: ConfFile, time: int = 1) -> NodeSlivers:
    return NodeSlivers(time, 1, "node1", conf_files=files)


def converge(fake: FakeNode, desired: NodeSlivers) -> list[Verb]:
    backend = ConfFiles(fake.node)
    actions = backend.plan(desired, backend.observe())
    fake.runner.commands.clear()
    for action in actions:
        backend.apply(desired, action)
    assert backend.plan(desired, backend.observe()) == ()
    return [action.verb for action in actions]


@pytest.fixture
def fake(tmp_path: Path) -> FakeNode:
    (tmp_path / "etc").mkdir()
    return FakeNode(tmp_path)


@pytest.fixture
def motd(tmp_path: Path) -> Path:
    return tmp_path / "etc/motd"


def test_a_file_is_made_changed_and_goes(fake: FakeNode, motd: Path) -> None:
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]
    assert (motd.read_text(), motd.stat().st_mode & 0o7777) == ("hello\n", 0o644)
    assert fake.runner.commands == ["before", "after"]
    assert converge(fake, wanted(FILE)) == []
    other = replace(FILE, content=encode(b"bye\n"), file_permissions="0600")
    assert converge(fake, wanted(other)) == [Verb.CHANGE]
    assert (motd.read_text(), motd.stat().st_mode & 0o7777) == ("bye\n", 0o600)
    assert converge(fake, wanted()) == [Verb.REMOVE]
    assert [path.name for path in motd.parent.iterdir()] == []
    assert not list((fake.root / "var/lib/configmanager/layers").iterdir())


def test_what_was_there_before_comes_back(fake: FakeNode, motd: Path) -> None:
    motd.write_text("the node's\n")
    motd.chmod(0o640)
    was = motd.stat()
    converge(fake, wanted(FILE))
    converge(fake, wanted(replace(FILE, content=encode(b"bye\n"))))
    converge(fake, wanted())
    now = motd.stat()
    assert (now.st_ino, now.st_mode, now.st_mtime_ns, now.st_nlink) == (
        was.st_ino,
        was.st_mode,
        was.st_mtime_ns,
        1,
    )
    assert motd.read_text() == "the node's\n"


def test_a_link_is_replaced_and_not_followed(fake: FakeNode, motd: Path) -> None:
    (fake.root / "etc/other").write_text("untouched\n")
    motd.symlink_to("other")
    converge(fake, wanted(FILE))
    assert not motd.is_symlink()
    assert (fake.root / "etc/other").read_text() == "untouched\n"
    converge(fake, wanted())
    assert str(motd.readlink()) == "other"


def test_folders_that_were_made_for_a_file_go_with_it(fake: FakeNode) -> None:
    converge(fake, wanted(replace(FILE, dest="/etc/a/b/c")))
    assert (fake.root / "etc/a/b/c").is_file()
    converge(fake, wanted())
    assert not list((fake.root / "etc").iterdir())


def test_a_folder_with_something_else_in_it_stays(fake: FakeNode) -> None:
    converge(fake, wanted(replace(FILE, dest="/etc/a/b")))
    (fake.root / "etc/a/other").touch()
    converge(fake, wanted())
    assert [path.name for path in (fake.root / "etc/a").iterdir()] == ["other"]


def test_a_file_that_is_there_already_is_left_alone(fake: FakeNode, motd: Path) -> None:
    motd.write_text("hello\n")
    converge(fake, wanted(FILE))
    assert fake.runner.commands == []


def test_one_that_is_always_written_is_written_with_each_reply(fake: FakeNode, motd: Path) -> None:
    always = replace(FILE, always_update=True)
    converge(fake, wanted(always))
    was = motd.stat().st_ino
    assert converge(fake, wanted(always)) == []
    assert converge(fake, wanted(always, time=2)) == [Verb.CHANGE]
    assert fake.runner.commands == ["before", "after"]
    assert motd.stat().st_ino != was


def test_what_somebody_changed_is_written_again(fake: FakeNode, motd: Path) -> None:
    converge(fake, wanted(FILE))
    motd.write_text("mine now\n")
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]
    assert motd.read_text() == "hello\n"


def test_without_the_first_command_nothing_is_changed(fake: FakeNode, motd: Path) -> None:
    motd.write_text("the node's\n")
    fake.runner.refused = {"before"}
    for _ in range(2):
        with pytest.raises(NodeCommandFailed, match=r"`before`.*out of luck"):
            converge(fake, wanted(FILE))
        assert fake.runner.commands == ["before", "error"]
        assert [path.name for path in motd.parent.iterdir()] == ["motd"]
        assert motd.read_text() == "the node's\n"
    fake.runner.refused.clear()
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]


def test_the_second_command_is_tried_again(fake: FakeNode, motd: Path) -> None:
    fake.runner.refused = {"after", "error"}
    for _ in range(2):
        with pytest.raises(NodeCommandFailed, match="error_cmd too: `error`"):
            converge(fake, wanted(FILE))
        assert fake.runner.commands == ["before", "after", "error"]
        assert motd.read_text() == "hello\n"
    fake.runner.refused.clear()
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]
    assert fake.runner.commands == ["before", "after"]


def test_errors_of_commands_may_be_ignored(fake: FakeNode, motd: Path) -> None:
    fake.runner.refused = {"before", "after"}
    assert converge(fake, wanted(replace(FILE, ignore_cmd_errors=True))) == [Verb.CREATE]
    assert fake.runner.commands == ["before", "error", "after", "error"]
    assert motd.read_text() == "hello\n"
    assert fake.told[-1].data["failed"] is True


def test_an_unknown_owner_is_named(fake: FakeNode) -> None:
    (fake.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    with pytest.raises(UnknownOwner, match="nobody-here is not in /etc/passwd"):
        converge(fake, wanted(replace(FILE, file_owner="nobody-here")))


def test_a_link_on_the_way_is_not_followed(fake: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (fake.root / "etc/a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PlaceTaken, match="/etc/a: is no folder"):
        converge(fake, wanted(replace(FILE, dest="/etc/a/b")))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_is_not_replaced_by_a_file(fake: FakeNode, motd: Path) -> None:
    motd.mkdir()
    with pytest.raises(PlaceTaken, match="something else"):
        converge(fake, wanted(FILE))


def test_a_damaged_index_makes_the_file_anew(fake: FakeNode, motd: Path) -> None:
    converge(fake, wanted(FILE))
    (index,) = (fake.root / "var/lib/configmanager/layers").glob("*/index.json")
    index.write_text("{")
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]
    converge(fake, wanted())
    assert motd.read_text() == "hello\n"


def test_a_services_files_are_not_its(fake: FakeNode) -> None:
    assert converge(fake, wanted(replace(FILE, service="clock"))) == []


def test_what_was_there_when_it_was_written_comes_back(fake: FakeNode, motd: Path, tmp_path: Path) -> None:
    motd.write_text("first\n")
    fake.runner.refused = {"before"}
    with pytest.raises(NodeCommandFailed):
        converge(fake, wanted(FILE))
    (tmp_path / "other").write_text("second\n")
    (tmp_path / "other").rename(motd)
    fake.runner.refused.clear()
    converge(fake, wanted(FILE))
    converge(fake, wanted())
    assert motd.read_text() == "second\n"


def test_a_kill_before_the_second_command_does_not_lose_it(
    fake: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(conf_files, "after", killed)
        with pytest.raises(Killed):
            converge(fake, wanted(FILE))
    assert converge(fake, wanted(FILE)) == [Verb.CREATE]
    assert fake.runner.commands == ["before", "after"]


def killed(*_: object) -> None:
    raise Killed
