"""Limits under load: what competing slivers really get of processors, memory, processes and the disk."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from configmanager.backends.base import Node, Verb
from configmanager.backends.quota import Quotas, Room, project_of
from configmanager.backends.resources import ProcessorsGiven, Resources
from configmanager.backends.sliver_seed import Seed
from configmanager.backends.sliver_tree import SliverTree
from configmanager.slots import FILE as SLOTS
from configmanager.slots import Slot
from host.events import Event
from host.filesystems import SLIVERS_LABEL, FileSystem
from host.run import CommandFailed, Runner
from steps.configure import FSTAB
from tests.guest.limited import BUSY, Group, command, converge, sliver, used, wanted
from tests.guest.waiting import eventually

SLIVERS = Path("/var/lib/slivers")
DROP_INS = Path("/etc/systemd/system")
A, B = Group("load_a"), Group("load_b")
SECONDS = 8.0


@pytest.fixture
def resources(bare: Node) -> Iterator[Resources]:
    """The backend, on two processors."""
    backend = Resources(bare, 2)
    yield backend
    converge(backend, wanted())
    Path("/", SLOTS).unlink(missing_ok=True)


def test_processors_are_divided_by_shares(resources: Resources) -> None:
    converge(resources, wanted(sliver("load_a", cpu_share=96), sliver("load_b", cpu_share=32)))
    with A.running(BUSY, count=2), B.running(BUSY, count=2):
        eventually(lambda: min(A.seconds, B.seconds) > 0.5, what="both at work")
        a, b = used([A, B], SECONDS)
    print(f"cpu_share 96:32 -> {a:.2f} s : {b:.2f} s = {a / b:.2f}")
    assert 2.4 < a / b < 3.6


@pytest.mark.slow
def test_a_guarantee_holds_against_a_heavy_share(resources: Resources) -> None:
    converge(
        resources, wanted(sliver("load_a", cpu_min=800, cpu_share=16), sliver("load_b", cpu_share=10_000))
    )
    with A.running(BUSY, count=2), B.running(BUSY, count=2):
        eventually(lambda: min(A.seconds, B.seconds) > 0.5, what="both at work")
        a, b = used([A, B], SECONDS)
    print(
        f"cpu_min 800 of 2000 ms/s against cpu_share 10000 -> {a / SECONDS:.2f} s/s : {b / SECONDS:.2f} s/s"
    )
    assert a / (a + b) > 0.4
    assert b / (a + b) > 0.4


def test_guarantees_beyond_the_node_are_refused_to_the_younger(resources: Resources) -> None:
    desired = wanted(sliver("load_a", 1, cpu_min=1000), sliver("load_b", 2, cpu_min=1000))
    refused = [action for action in resources.plan(desired, ()) if action.name == "load_b"]
    for action in resources.plan(desired, ()):
        if action not in refused:
            resources.apply(desired, action)
    with pytest.raises(ProcessorsGiven, match="load_b wants 1000 ms/s"):
        resources.apply(desired, refused[0])
    # It is there without a guarantee, and said again at each pass.
    (again,) = resources.plan(desired, resources.observe())
    assert again.name == "load_b"
    assert "CPUWeight=32\n" in (DROP_INS / f"{B.unit}.d/50-configmanager.conf").read_text()


EAT = """
import sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(b"x" * 2**20)
print("full", flush=True)
time.sleep(60)
"""


def test_who_eats_too_much_memory_is_killed_alone(resources: Resources) -> None:
    converge(
        resources, wanted(sliver("load_a", memory_max=64 * 1024), sliver("load_b", memory_max=256 * 1024))
    )
    with A.running(EAT, 160) as (eater,), B.running(EAT, 160) as (neighbour,):
        assert neighbour.stdout.readline() == "full\n"
        assert eater.wait(60) != 0
        assert int(A.value("memory.events", "oom_kill")) >= 1
        assert int(B.value("memory.events", "oom_kill")) == 0
        assert neighbour.poll() is None
        print("memory:", A.value("memory.peak"), B.value("memory.peak"))
        assert int(A.value("memory.peak")) <= 64 * 2**20 < int(B.value("memory.peak"))


@pytest.mark.slow
def test_memory_high_slows_and_does_not_kill(resources: Resources) -> None:
    converge(resources, wanted(sliver("load_a", memory_high=48 * 1024), sliver("load_b")))
    with A.running(EAT, 96):
        eventually(lambda: int(A.value("memory.events", "high")) > 0, what="memory.high")
        assert int(A.value("memory.events", "oom_kill")) == 0


FORK = """
import os, sys, time
children = 0
try:
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            time.sleep(120)
            os._exit(0)
        children += 1
    print("all", children, flush=True)
except OSError as error:
    print("refused", children, error.errno, flush=True)
time.sleep(60)
"""


def test_processes_are_counted_for_each_sliver(resources: Resources) -> None:
    converge(resources, wanted(sliver("load_a", pids_max=64), sliver("load_b", pids_max=512)))
    with A.running(FORK, 300) as (bomb,), B.running(FORK, 300) as (neighbour,):
        said, made, number = bomb.stdout.readline().split()
        assert (said, int(number)) == ("refused", errno.EAGAIN)
        assert int(made) < 64
        assert neighbour.stdout.readline() == "all 300\n"
        assert int(A.value("pids.current")) <= 64


# --- the disk's time ---

RULES = Path("build/project/node/usr/lib/udev/rules.d/60-slivers-io.rules")
READ = """
import mmap, os, random, sys
handle = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
room = mmap.mmap(-1, 2**16)
while True:
    os.preadv(handle, [room], random.randrange(2**9) * 2**16)
"""


@pytest.fixture
def slow_disk() -> Iterator[Path]:
    """A disk that does one thing at a time and takes 5 ms for each, under the node's rule for disks."""
    rules = Path("/run/udev/rules.d/60-slivers-io.rules")
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(RULES.read_text())
    command("udevadm", "control", "--reload")
    command("modprobe", "scsi_debug", "dev_size_mb=64", "ndelay=5000000", "max_queue=1")
    folder = Path("/sys/bus/pseudo/drivers/scsi_debug")
    found = eventually(lambda: list(folder.glob("adapter0/host*/target*/*/block/*")), what="the disk")
    command("udevadm", "settle")
    yield Path("/dev", found[0].name)
    rules.unlink()
    command("udevadm", "control", "--reload")
    command("modprobe", "--remove", "scsi_debug")


def read_by(group: Group, disk: Path) -> int:
    """Bytes that a group has read from the disk."""
    device = disk.stat().st_rdev
    line = group.value("io.stat", f"{os.major(device)}:{os.minor(device)}")
    return int(dict(word.split("=") for word in line.split())["rbytes"])


@pytest.mark.slow
def test_a_busy_disks_time_is_divided_by_weights(resources: Resources, slow_disk: Path) -> None:
    queue = Path("/sys/block", slow_disk.name, "queue")
    assert "[bfq]" in (queue / "scheduler").read_text()
    assert (queue / "iosched/low_latency").read_text() == "0\n"
    converge(resources, wanted(sliver("load_a", io_weight=100), sliver("load_b", io_weight=25)))
    with A.running(READ, slow_disk, count=4), B.running(READ, slow_disk, count=4):
        eventually(
            lambda: all("rbytes" in (each.folder / "io.stat").read_text() for each in (A, B)), what="both"
        )
        before = read_by(A, slow_disk), read_by(B, slow_disk)
        time.sleep(SECONDS)
        a, b = read_by(A, slow_disk) - before[0], read_by(B, slow_disk) - before[1]
    print(f"io_weight 100:25 -> {a >> 10} : {b >> 10} KiB in {SECONDS:.0f} s = {a / b:.2f}")
    assert 3.0 < a / b < 5.0


# --- the disk's room ---


@pytest.fixture
def volume(resources: Resources) -> Iterator[Path]:
    """The slivers' volume, as the installer makes and mounts it."""
    made = FileSystem("/dev/vdb", "ext4", SLIVERS_LABEL, "6f3c1f6e-2c0d-4f6c-9a57-7f2b1d5b0a01")
    made.make(Runner())
    (options,) = (line.split()[3] for line in FSTAB.splitlines() if "/dev/bmnode/slivers" in line)
    SLIVERS.mkdir(exist_ok=True)
    command("mount", "-o", options, "/dev/vdb", SLIVERS)
    yield SLIVERS
    # Slivers are gone, as the backend that makes them leaves it.
    command("find", SLIVERS, "-mindepth", "1", "-delete")
    converge(resources, wanted())
    command("umount", SLIVERS)
    command("wipefs", "-a", "/dev/vdb")


WRITE = """
import os, sys
folder, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
done = 0
try:
    for each in range(number):
        with open(f"{folder}/{each}", "wb") as file:
            file.write(b"x" * size)
            file.flush()
            os.fsync(file.fileno()) if size else None
        done += 1
    print(done)
except OSError as error:
    print(done, error.errno)
"""


class Tree:
    """A sliver's folder, and its tree: an overlay that the node's root mounts, as for a real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("lower", "upper", "work", "root"):
            (folder / name).mkdir(parents=True)
        self.root = folder / "root"

    def __enter__(self) -> Tree:
        options = f"lowerdir={self.folder}/lower,upperdir={self.folder}/upper,workdir={self.folder}/work"
        command("mount", "-t", "overlay", "-o", options, "overlay", self.root)
        return self

    def __exit__(self, *_: object) -> None:
        command("umount", self.root)

    def write(self, number: int, size: int) -> list[int]:
        """Write so many files of so many bytes; how many went, and the error if there was one."""
        return [int(word) for word in command("python3", "-c", WRITE, self.root, number, size).split()]


def test_a_full_sliver_gets_edquot_and_its_neighbour_writes_on(resources: Resources, volume: Path) -> None:
    desired = wanted(sliver("load_a", disk_max=20_000), sliver("load_b", disk_max=100_000))
    folders = [volume / "load-a", volume / "load-b"]
    trees = [Tree(folder) for folder in folders]
    converge(resources, desired)
    with trees[0] as a, trees[1] as b:
        done, number = a.write(40, 2**20)
        print(f"disk_max 20000 KB -> {done} MiB, then {errno.errorcode[number]}")
        assert number == errno.EDQUOT
        assert 15 <= done <= 19
        assert b.write(60, 2**20) == [60]
        # What is there stays usable: freed room can be written again.
        (a.root / "0").unlink()
        (a.root / "1").unlink()
        assert a.write(1, 2**20) == [1]


@pytest.mark.slow
def test_inodes_are_limited_too(resources: Resources, volume: Path) -> None:
    desired = wanted(sliver("load_a", inodes_max=100), sliver("load_b"))
    a, b = Tree(volume / "load-a"), Tree(volume / "load-b")
    converge(resources, desired)
    with a, b:
        done, number = a.write(200, 0)
        assert (number, done < 100) == (errno.EDQUOT, True)
        assert b.write(200, 0) == [200]


@pytest.mark.slow
def test_a_folder_that_came_first_is_attached_with_what_is_in_it(resources: Resources, volume: Path) -> None:
    desired = wanted(sliver("load_a", disk_max=20_000))
    converge(resources, desired)
    tree = Tree(volume / "load-a")
    (tree.folder / "upper/before").write_bytes(b"x" * 10 * 2**20)
    Path(tree.folder, "upper/link").symlink_to("/nowhere")
    command("mkfifo", tree.folder / "upper/pipe")
    assert [action.verb for action in converge(resources, desired)] == [Verb.CREATE]
    with tree:
        done, number = tree.write(20, 2**20)
        assert number == errno.EDQUOT
        assert done < 10
        # A rename between what was there and what is new is one within the project.
        (tree.root / "before").rename(tree.root / "after")


@pytest.mark.slow
def test_what_a_new_sliver_has_counts_from_its_first_byte(
    resources: Resources, volume: Path, tmp_path: Path
) -> None:
    desired = wanted(sliver("load_a", disk_max=20_000))
    converge(resources, desired)
    for folder in ("etc", "home"):
        (tmp_path / folder).mkdir()
    seeds = [Seed("etc/hostname", "load-a\n", 0o644)]
    SliverTree(Path("/"), "load-a").make(Runner(), Slot(1), tmp_path, seeds)
    assert project_of(volume / "load-a/upper") == 1
    counted = Quotas(Runner(), volume).use()[1].inodes
    assert counted == 1 + len(list((volume / "load-a").rglob("*")))
    # So nothing is left to be done in the next pass.
    assert converge(resources, desired) == []


def test_without_quotas_all_else_works_and_it_is_told_once(resources: Resources, told: list[Event]) -> None:
    converge(resources, wanted(sliver("load_a", cpu_share=96), sliver("load_b")))
    assert [event.event for event in told] == ["quota.missing"]
    assert "CPUWeight=96" in command("systemctl", "show", "--property=CPUWeight", A.unit)


# --- to come and go ---


def traces() -> list[str]:
    """All that the backend leaves anywhere."""
    found = [str(path) for path in DROP_INS.rglob("slivers*")]
    found += [str(path) for path in Path("/run/systemd").rglob("slivers*.conf")]
    return found


def test_limits_follow_changes_in_a_running_sliver(resources: Resources) -> None:
    converge(resources, wanted(sliver("load_a", cpu_share=96, pids_max=64)))
    with A.running(BUSY):
        eventually(A.folder.exists, what="the group")
        assert A.value("pids.max") == "64"
        converge(resources, wanted(sliver("load_a", cpu_share=200, pids_max=128)))
        assert (A.value("cpu.weight"), A.value("pids.max")) == ("200", "128")
        # What somebody else sets is set back.
        command("systemctl", "set-property", A.unit, "CPUWeight=5")
        assert A.value("cpu.weight") == "5"
        converge(resources, wanted(sliver("load_a", cpu_share=200, pids_max=128)))
        assert A.value("cpu.weight") == "200"
    command("rm", "-r", f"/etc/systemd/system.control/{A.unit}.d")


@pytest.mark.slow
def test_a_sliver_keeps_its_limits_until_it_is_gone_and_then_leaves_no_trace(
    resources: Resources, volume: Path
) -> None:
    desired = wanted(sliver("load_a", pids_max=64))
    converge(resources, desired)
    folder = volume / "load-a"
    folder.mkdir()
    converge(resources, desired)
    with A.running(BUSY):
        eventually(A.folder.exists, what="the group")
        resources.teardown("load_a")
        assert A.value("pids.max") == "64"
    resources.teardown("load_a")
    assert traces()
    folder.rmdir()
    converge(resources, wanted())
    assert traces() == []
    assert Quotas(resources.node.run, volume).limits() == {}
    assert json.loads(Path("/", SLOTS).read_text()) == {}


class Dying(Runner):
    """A runner whose process dies before its n-th change."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, argv, **more):  # type: ignore[no-untyped-def]
        if argv[0] in ("setquota", "chattr") or "set-property" in argv:
            if self.left == 0:
                raise CommandFailed([str(word) for word in argv], 137, "")
            self.left -= 1
        return super().__call__(argv, **more)


@pytest.mark.slow
@pytest.mark.parametrize("after", range(5))
def test_a_pass_that_died_is_carried_on(resources: Resources, volume: Path, after: int) -> None:
    desired = wanted(sliver("load_a", pids_max=64, disk_max=20_000))
    (volume / "load-a").mkdir()
    real, guest_node = resources.node.run, resources.node
    object.__setattr__(guest_node, "run", Dying(after))
    with suppress(CommandFailed):
        for action in resources.plan(desired, resources.observe()):
            resources.apply(desired, action)
    object.__setattr__(guest_node, "run", real)
    converge(resources, desired)
    assert "TasksMax=64\n" in (DROP_INS / f"{A.unit}.d/50-configmanager.conf").read_text()
    assert Quotas(real, volume).limits() == {1: Room(20_000, 1250)}
    assert project_of(volume / "load-a") == 1
    (volume / "load-a").rmdir()
    converge(resources, wanted())
    assert traces() == []
