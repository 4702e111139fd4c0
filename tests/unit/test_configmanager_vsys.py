"""What /vsys offers to whom, and what of it is refused; the folders of slices; what is bounded."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from configmanager.backends.base import Action, Verb
from configmanager.backends.slivers import Slivers
from configmanager.backends.vsys import UNIT, Vsys, VsysRefused
from configmanager.plugins import ordered
from configmanager.slots import Slots
from configmanager.vsys import acl, catalog
from configmanager.vsys.acl import Mode
from configmanager.vsys.bucket import Bucket
from configmanager.vsys.catalog import Catalog
from configmanager.vsys.groups import LIMITS, Groups
from configmanager.vsys.watches import CHANGES, OPENED, Watches
from tests.unit.configmanager_fakes import FakeNode
from wire.slivers import NodeSlivers, Sliver

NAMES = some.text("az09", min_size=1, max_size=32)
WORDS = some.sampled_from(["r", "rw", "w", "demo_one", "", "#", "\0", "é", "\t"])


def say(*lines: str) -> bytes:
    return "\n".join(lines).encode()


# --- ACLs ---


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("demo", Mode.WRITE),
        ("demo rw", Mode.WRITE),
        ("  demo \t r  # why", Mode.READ),
        ("demo r\r", Mode.READ),
    ],
)
def test_an_acl_lets_in_whom_it_names(line, mode):
    assert acl.parse(line.encode()) == acl.Acl({"demo": mode})


@pytest.mark.parametrize(
    "line",
    [
        "demo w",
        "demo rw r",
        "DEMO",
        "../demo",
        "demo,other",
        "demo RW",
        "demo\0",
        "d\xe9mo",
        "*",
        "demo\x0brw x",
    ],
)
def test_a_line_that_is_none_lets_in_nobody_and_harms_no_other(line):
    found = acl.parse(say("first rw", line, "last r"))
    assert found.modes == {"first": Mode.WRITE, "last": Mode.READ}
    assert [fault.startswith("line 2: ") for fault in found.faults] == [True]


def test_a_slice_that_is_there_twice_has_what_the_first_line_says():
    found = acl.parse(b"demo r\ndemo rw\n")
    assert found.modes == {"demo": Mode.READ}
    assert found.faults == ("line 2: demo is there twice, the first counts",)


def test_an_acl_that_is_too_long_lets_in_nobody():
    assert acl.parse(b"demo rw\n" + b"#" * acl.MOST_BYTES).modes == {}


@given(some.dictionaries(NAMES, some.sampled_from(Mode), max_size=5))
def test_what_is_written_is_read(modes):
    assert acl.parse(say(*(f"{name} {mode}" for name, mode in modes.items()))) == acl.Acl(modes)


@given(some.lists(some.lists(WORDS, max_size=4).map(" ".join)))
def test_no_line_lets_in_somebody_whom_it_does_not_begin_with(lines):
    found = acl.parse(say(*lines))
    begun = {words[0] for line in lines if (words := line.split())}
    assert set(found.modes) <= begun
    assert len(found.faults) + len(found.modes) <= len(lines)


@given(some.binary(max_size=300))
def test_any_bytes_are_an_acl_of_printable_faults(raw):
    assert all(fault.isprintable() for fault in acl.parse(raw).faults)


# --- the catalog ---


@pytest.fixture
def vsys(tmp_path: Path) -> Path:
    (tmp_path / "vsys/pvt").mkdir(parents=True)
    return tmp_path / "vsys"


def offer(path: Path, rights: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    if rights is not None:
        path.with_name(f"{path.name}.acl").write_text(rights)
    return path


def read(vsys: Path) -> Catalog:
    return catalog.read(vsys.parent)


def offered(vsys: Path, name: str) -> dict[str, Mode]:
    return {service: each.mode for service, each in read(vsys).offers(name).items()}


def reasons(vsys: Path) -> list[str]:
    return [str(fault).removeprefix(f"{vsys}/") for fault in read(vsys).faults]


def test_without_an_acl_a_service_is_everybodys(vsys):
    offer(vsys / "a")
    offer(vsys / "b", "demo r\n")
    offer(vsys / "c", "")
    assert offered(vsys, "demo") == {"a": Mode.WRITE, "b": Mode.READ}
    assert offered(vsys, "other") == {"a": Mode.WRITE}
    assert reasons(vsys) == []


def test_a_private_service_comes_before_a_public_one(vsys):
    offer(vsys / "a", "demo r\n")
    mine = offer(vsys / "pvt/demo/a")
    offer(vsys / "pvt/demo/b", "other rw\n")
    assert read(vsys).offers("demo")["a"].path == mine
    assert offered(vsys, "demo") == {"a": Mode.WRITE}
    assert offered(vsys, "other") == {}


def test_a_copy_is_another_service_to_who_compares(vsys):
    before = read(vsys).offers("demo")
    path = offer(vsys / "a")
    first = read(vsys).offers("demo")
    os.utime(path, ns=(1, 1))
    assert len({str(each) for each in (before, first, read(vsys).offers("demo"))}) == 3
    assert read(vsys).offers("demo") == read(vsys).offers("demo")


def test_each_thing_that_is_wrong_is_refused_alone(vsys):
    offer(vsys / "good")
    (vsys / "link").symlink_to("good")
    (vsys / "folder").mkdir()
    offer(vsys / "plain").chmod(0o644)
    offer(vsys / "open").chmod(0o757)
    offer(vsys / "a b")
    offer(vsys / "-x")
    os.mkfifo(vsys / "fifo")
    offer(vsys / "loop", "").with_name("loop.acl").unlink()
    (vsys / "loop.acl").symlink_to("loop.acl")
    offer(vsys / "lax", "demo rw\n").with_name("lax.acl").chmod(0o666)
    offer(vsys / "pvt/demo/mine").parent.chmod(0o777)
    (vsys / "pvt/UP").mkdir()
    (vsys / ".new").write_text("is being written")
    assert offered(vsys, "demo") == {"good": Mode.WRITE}
    assert sorted(reasons(vsys)) == [
        "-x: its name is not 1 to 64 of A-Z a-z 0-9 . _ -",
        "a b: its name is not 1 to 64 of A-Z a-z 0-9 . _ -",
        "fifo: it is no file",
        "folder: it is no file",
        "lax.acl: others than root can write to it, so nobody has the service",
        "link: it is a symbolic link",
        "loop.acl: it is a symbolic link, so nobody has the service",
        "open: others than root can write to it",
        "plain: it is not executable",
        "pvt/UP: 'UP' is not a name of 1 to 32 of a-z 0-9 _ -",
        "pvt/demo: others than root can write to it, so nothing in it is offered",
    ]


def test_a_folder_that_others_write_to_offers_nothing(vsys):
    offer(vsys / "good")
    offer(vsys / "pvt/demo/mine")
    vsys.chmod(0o777)
    assert offered(vsys, "demo") == {}
    assert [str(fault).removeprefix(f"{vsys.parent}/") for fault in read(vsys).faults] == [
        "vsys: others than root can write to it, so nothing in it is offered"
    ]


def test_no_folder_offers_nothing_and_is_no_fault(tmp_path):
    assert catalog.read(tmp_path) == Catalog()


def test_whom_an_acl_names_without_being_there_is_known(vsys):
    offer(vsys / "a", "demo rw\ngone r\n")
    found = read(vsys)
    assert found.faults == ()
    assert [str(each) for each in found.strangers(frozenset({"demo"}))] == [
        f"{vsys}/a.acl: gone is not on this node"
    ]


# --- what is bounded ---


def test_a_bucket_gives_so_much_at_once_and_so_much_a_second(clock):
    bucket = Bucket(2, 10, clock)
    for _ in range(11):
        assert bucket.delay() == 0
        bucket.spend(1)
    assert bucket.delay() == 0.5
    clock.now += 0.5
    assert bucket.delay() == 0
    bucket.spend(7)
    assert bucket.delay() == 3.5
    clock.now += 1000
    bucket.spend(10)
    assert bucket.delay() == 0


def test_a_group_that_was_made_without_limits_has_them_at_the_next_start(tmp_path):
    # The kernel says so when it has no memory, or the unit's own processes are in the way.
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").mkdir()
    groups = Groups(tmp_path)
    with pytest.raises(OSError, match="directory"):
        groups.make("demo", "greet")
    (tmp_path / "cgroup.subtree_control").rmdir()
    groups.make("demo", "greet")
    for file, value in LIMITS.values():
        assert (tmp_path / "slice-demo" / file).read_text() == value


# --- what the kernel tells ---


class Loop:
    """Of a loop only that it is told of the file."""

    def add_reader(self, file, call):
        self.file, self.call = file, call


def test_a_watch_of_one_event_calls_once_and_one_of_changes_again(tmp_path):
    watches, called = Watches(Loop()), []
    (tmp_path / "a").touch()
    with (tmp_path / "a").open() as file:
        watches.add_open(file.fileno(), OPENED, lambda: called.append("opened"))
    watches.add(str(tmp_path), CHANGES, lambda: called.append("changed"))
    for _ in range(2):
        (tmp_path / "a").open().close()
        (tmp_path / "a").chmod(0o600)
        watches.deliver()
    assert called == ["opened", "changed", "changed"]


def test_when_the_kernel_lost_events_everything_may_have_happened(tmp_path, monkeypatch):
    watches, called = Watches(Loop()), []
    with (tmp_path / "a").open("w") as file:
        watches.add_open(file.fileno(), OPENED, lambda: called.append("opened"))
    forgotten = watches.add(str(tmp_path), CHANGES, lambda: called.append("changed"))
    overflow = struct.pack("iIII", -1, 0x4000, 0, 0)
    monkeypatch.setattr(os, "read", lambda *_: overflow)
    watches.deliver()
    assert called == ["opened", "changed"]
    watches.forget(forgotten)
    watches.deliver()
    assert called == ["opened", "changed"]


# --- the backend ---


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    owners: dict[Path, int] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        found = list(real(path))
        found[4] = owners.get(path, found[4])
        return os.stat_result(found)

    # Only root may give a folder away.
    monkeypatch.setattr(os, "chown", lambda path, user, _: owners.__setitem__(path, user))
    monkeypatch.setattr(Path, "lstat", lstat)
    return FakeNode(tmp_path)


def wanted(*names: str) -> NodeSlivers:
    slivers = tuple(Sliver(name, number, 4_000_000_000) for number, name in enumerate(names, 1))
    return NodeSlivers(1000, 1, "node1", slivers)


def converge(fake: FakeNode, desired: NodeSlivers) -> list[tuple[Verb, str]]:
    backend = Vsys(fake.node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    assert backend.plan(desired, backend.observe()) == ()
    return [(action.verb, action.name) for action in actions]


def test_each_sliver_has_a_folder_and_the_program_runs(fake):
    assert converge(fake, wanted("demo_one", "two")) == [(Verb.CREATE, "demo_one"), (Verb.CREATE, "two")]
    folder = fake.root / "run/vsys/demo-one"
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert folder.lstat().st_uid == Slots(fake.root).all()["demo_one"].first_user
    assert fake.runner.verbs() == [f"start {UNIT}"]
    assert converge(fake, wanted("demo_one", "two")) == []
    os.mkfifo(folder / "a.in")
    assert converge(fake, wanted("two")) == [(Verb.REMOVE, "demo_one")]
    assert [path.name for path in folder.parent.iterdir()] == ["two"]
    assert list(Slots(fake.root).all()) == ["two"]
    Vsys(fake.node).teardown("demo_one")


def test_after_a_boot_folders_are_made_anew_and_numbers_of_others_given_back(fake):
    converge(fake, wanted("demo_one", "two"))
    for folder in (fake.root / "run/vsys").iterdir():
        folder.rmdir()
    assert converge(fake, wanted("two")) == [(Verb.REMOVE, "demo_one"), (Verb.CREATE, "two")]
    assert list(Slots(fake.root).all()) == ["two"]


def test_a_program_that_does_not_run_is_started(fake):
    converge(fake, wanted("demo_one"))
    fake.runner.active[UNIT] = "failed"
    assert converge(fake, wanted("demo_one")) == [(Verb.START, "demo_one")]


def test_a_folder_that_is_another_users_is_made_anew(fake):
    Slots(fake.root).take("demo_one", "vsys")
    (fake.root / "run/vsys/demo-one").mkdir(parents=True, mode=0o700)
    (fake.root / "run/vsys/.gone-two").mkdir()
    assert converge(fake, wanted("demo_one")) == [(Verb.REMOVE, ".gone-two"), (Verb.CREATE, "demo_one")]


def test_the_folder_that_a_sliver_started_with_stays(fake):
    slot = Slots(fake.root).take("demo_one", "slivers")
    folder = fake.root / "run/vsys/demo-one"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    os.chown(folder, slot.first_user, slot.first_user)
    before = folder.stat().st_ino
    assert converge(fake, wanted("demo_one")) == [(Verb.CREATE, "demo_one")]
    assert folder.stat().st_ino == before


def test_a_refusal_is_an_error_until_it_is_corrected(fake):
    path = offer(fake.root / "vsys/hello", "nobody knows this\n")
    backend = Vsys(fake.node)
    actions = backend.plan(wanted(), backend.observe())
    assert [(action.verb, action.name) for action in actions] == [(Verb.CHANGE, f"{path}.acl")]
    with pytest.raises(VsysRefused, match="line 1: 'nobody knows this' is not a slice"):
        backend.apply(wanted(), actions[0])
    path.with_name("hello.acl").unlink()
    assert backend.apply(wanted(), actions[0]) is None
    assert backend.plan(wanted(), backend.observe()) == ()


def test_one_file_with_two_faults_is_one_action(fake):
    offer(fake.root / "vsys/hello", "a b c\nd e f\n")
    backend = Vsys(fake.node)
    (action,) = backend.plan(wanted(), backend.observe())
    with pytest.raises(VsysRefused, match=r"line 1.*line 2"):
        backend.apply(wanted(), Action(Verb.CHANGE, action.name, ""))


def test_slivers_come_after_their_folders(fake):
    assert [backend.name for backend in ordered((Slivers(fake.node), Vsys(fake.node)))] == ["vsys", "slivers"]
