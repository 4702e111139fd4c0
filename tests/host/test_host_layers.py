"""Files laid over a node's root on real file systems: attributes, full disks, kills at every point."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from configmanager.backends import layers
from configmanager.backends.conf_files import ConfFiles
from configmanager.backends.layers import Layer
from configmanager.backends.node_files import UnsuitableOverlay, entries_of
from configmanager.backends.placing import Entry, Places, PlaceTaken
from host import files
from host.run import Runner
from tests.unit.configmanager_fakes import FakeNode
from tests.unit.service_versions import (
    NOTHING,
    ONE,
    PLACES,
    UNIT,
    Points,
    WebNode,
    changed_with_a_kill,
    converge,
)
from wire.conf_files import ConfFile, encode
from wire.slivers import NodeSlivers

CAPABILITY = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is below, but for what is configmanager's own, with its attributes."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith("var"):
            continue
        there = path.lstat()
        kind = stat.S_IFMT(there.st_mode)
        content = (
            path.read_bytes()
            if kind == stat.S_IFREG
            else os.fsencode(path.readlink())
            if path.is_symlink()
            else b""
        )
        attributes = {each: os.getxattr(path, each) for each in os.listxattr(path, follow_symlinks=False)}
        time = there.st_mtime_ns if kind == stat.S_IFREG else 0
        found[name] = (there.st_mode, there.st_uid, there.st_gid, time, content, attributes)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node's root that has something everywhere."""
    root = tmp_path / "root"
    for folder in ("etc", "usr/bin", "var/lib/configmanager"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:333:444::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:444:\n")
    (root / "usr/bin/tool").write_bytes(b"the node's")
    os.chown(root / "usr/bin/tool", 7, 8)
    os.setxattr(root / "usr/bin/tool", "security.capability", CAPABILITY)
    (root / "usr/bin/tool").chmod(0o4751)
    (root / "usr/bin/link").symlink_to("tool")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An overlay: files with attributes, links, folders."""
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin").chmod(0o700)
    (tree / "usr/bin/tool").write_bytes(b"the overlay's")
    os.setxattr(tree / "usr/bin/tool", "user.note", b"kept")
    os.utime(tree / "usr/bin/tool", (1, 1))
    (tree / "usr/bin/link").write_bytes(b"no link any more")
    (tree / "usr/lib/new").mkdir(parents=True)
    (tree / "usr/lib/new/file").symlink_to("../../bin/tool")
    os.chown(tree / "usr/lib/new", 5, 6)
    (tree / "usr/lib/new").chmod(0o2750)
    os.chown(tree / "usr/lib/new/file", 5, 6, follow_symlinks=False)
    return tree


def test_an_overlay_comes_with_its_attributes_and_goes_without_a_trace(root: Path, tree: Path) -> None:
    before = snapshot(root)
    layer = Layer(Runner(), root, "service-x")
    entries = entries_of(tree)
    layer.prepare("service x", entries)
    assert {name for name in snapshot(root) if not name.endswith(".bm-new")} == {
        *before,
        "usr/lib",
        "usr/lib/new",
    }
    layer.switch(entries)
    layer.finish("d")
    assert layer.digest == "d"
    assert (root / layers.LAYERS).stat().st_mode & 0o777 == 0o700
    there = snapshot(root)
    laid = snapshot(tree)
    for name in ("usr/bin/tool", "usr/bin/link", "usr/lib/new", "usr/lib/new/file"):
        assert there[name] == laid[name]
    # A folder that the node has stays its own.
    assert there["usr/bin"] == before["usr/bin"]
    layer.clear()
    assert snapshot(root) == before


def test_what_cannot_be_an_overlay_is_refused(tree: Path) -> None:
    os.mkfifo(tree / "usr/bin/fifo")
    with pytest.raises(UnsuitableOverlay, match="/usr/bin/fifo is neither"):
        entries_of(tree)


def test_two_things_do_not_have_one_file(root: Path) -> None:
    entries = [Entry("etc/x", stat.S_IFREG | 0o644, data=b"one")]
    one, two = (Layer(Runner(), root, f"service-{name}") for name in ("one", "two"))
    one.prepare("service one", entries)
    one.switch(entries)
    with pytest.raises(PlaceTaken, match="it is service one's"):
        two.prepare("service two", entries)
    assert (root / "etc/x").read_bytes() == b"one"


def test_a_file_has_its_owner_and_mode(root: Path) -> None:
    fake = FakeNode(root)
    file = ConfFile("/etc/web/secret", encode(b"x"), "", "0640", "web", "web")
    wanted = NodeSlivers(1, 1, "node1", conf_files=(file,))
    backend = ConfFiles(fake.node)
    for action in backend.plan(wanted, backend.observe()):
        backend.apply(wanted, action)
    there = (root / "etc/web/secret").stat()
    assert (there.st_uid, there.st_gid, there.st_mode & 0o7777) == (333, 444, 0o640)
    os.chown(root / "etc/web/secret", 0, 0)
    assert len(backend.plan(wanted, backend.observe())) == 1


@pytest.fixture
def small(root: Path) -> Iterator[Path]:
    """A small file system below the root."""
    (root / "srv").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", root / "srv"], check=True)
    yield root / "srv"
    subprocess.run(["umount", root / "srv"], check=True)


def test_a_full_disk_changes_nothing(root: Path, small: Path) -> None:
    (small / "file").write_text("the node's\n")
    before = snapshot(root)
    layer = Layer(Runner(), root, "service-x")
    entries = [
        Entry("srv/file", stat.S_IFREG | 0o644, data=b"small"),
        Entry("srv/large", stat.S_IFREG | 0o644, data=bytes(1024 * 1024)),
    ]
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            layer.prepare("service x", entries)
        assert snapshot(root) == before
    layer.prepare("service x", entries[:1])
    layer.switch(entries[:1])
    assert (small / "file").read_text() == "small"
    layer.clear()
    assert {name: each[4] for name, each in snapshot(root).items()} == {
        name: each[4] for name, each in before.items()
    }


def test_what_is_on_another_file_system_comes_back_as_it_was(root: Path, small: Path) -> None:
    (small / "file").write_text("the node's\n")
    os.chown(small / "file", 7, 8)
    (small / "file").chmod(0o4750)
    (small / "link").symlink_to("file")
    before = snapshot(root)
    layer = Layer(Runner(), root, "service-x")
    entries = [Entry(f"srv/{name}", stat.S_IFREG | 0o644, data=b"x") for name in ("file", "link")]
    layer.prepare("service x", entries)
    layer.switch(entries)
    layer.clear()
    assert snapshot(root) == before


def killed(points: Points, work: object) -> bool:
    """Do the work in a process that kills itself at a point; returns whether it came to that."""
    child = os.fork()
    if not child:
        for name in PLACES:
            setattr(Places, name, points.around(getattr(Places, name)))
        layers.write_atomic = points.around(files.write_atomic)
        points.end = lambda: os.kill(os.getpid(), signal.SIGKILL)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_layer_that_is_killed_anywhere_is_finished_or_taken_back(root: Path, tree: Path) -> None:
    before = snapshot(root)
    entries = entries_of(tree)
    Layer(Runner(), root, "service-x").prepare("service x", entries)

    def lay() -> None:
        layer = Layer(Runner(), root, "service-x")
        layer.prepare("service x", entries)
        layer.switch(entries)
        layer.finish("d")

    lay()
    whole = snapshot(root)
    Layer(Runner(), root, "service-x").clear()
    assert snapshot(root) == before
    for number in range(1000):
        was_killed = killed(Points(number), lay)
        if number % 2:
            lay()
            assert snapshot(root) == whole, number
        was_killed |= killed(Points(number), Layer(Runner(), root, "service-x").clear)
        Layer(Runner(), root, "service-x").clear()
        assert snapshot(root) == before, number
        if not was_killed:
            break
    assert number > 20


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory: kills are not power cuts, and need no disk."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("healthy", [True, False])
def test_wherever_a_change_is_killed_it_ends_in_one_of_the_two(
    memory: Path, monkeypatch: pytest.MonkeyPatch, healthy: bool
) -> None:
    def change(kill_at: int) -> tuple[bool, str, dict[str, str]]:
        folder = memory / str(kill_at)
        folder.mkdir()
        fake = WebNode(folder)
        before = fake.files()
        converge(fake, ONE)
        was_killed, complaint = changed_with_a_kill(fake, monkeypatch, kill_at, healthy=healthy)
        found = fake.files()
        assert fake.runner.active[UNIT] == "active"
        if kill_at % 4 == 0:
            converge(fake, NOTHING)
            assert fake.files() == before
        return was_killed, complaint, found

    _, *expected = change(10**6)
    assert expected[1]["etc/web.conf"] == ("two\n" if healthy else "one\n")
    assert bool(expected[0]) == (not healthy)
    for kill_at in range(1000):
        was_killed, *found = change(kill_at)
        assert found == expected, kill_at
        if not was_killed:
            break
    assert kill_at > 50
