"""What goes wrong with slivers and comes right: a killed manager, bad images, a full disk."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import converge
from configmanager.backends.base import Verb
from configmanager.backends.resources import Resources
from configmanager.backends.slivers import NoSliverImage, Slivers
from configmanager.backends.units import sliver_slice
from host.events import Events
from host.filesystems import SLIVERS_LABEL, FileSystem
from host.run import Runner
from images.unpack import TargetFull
from steps.configure import FSTAB
from tests.guest import limited
from tests.guest.conftest import Guest, Stored, make_guest
from tests.guest.kill_driver import one_pass
from tests.guest.node_system import run
from tests.guest.sliver_guest import FOLDER, SliverGuest, assert_as, nothing_left, traces
from tests.guest.waiting import eventually, forked
from wire.errors import VerificationError
from wire.slivers import NodeSlivers, Sliver

pytestmark = pytest.mark.slow

MOST_POINTS = 200


@pytest.fixture
def node(guest: Guest, node_system: None, slice_key: Path):
    with nothing_left():
        node = SliverGuest(guest, slice_key)
        yield node
        node.converge()


def kill_at_each_point(node: SliverGuest, wanted: NodeSlivers) -> int:
    """Run passes, each killed at one point later, until one comes to its end; return how many it took."""
    for points in range(MOST_POINTS):
        status = forked(one_pass, node.guest.node, wanted, points, seconds=300)
        if status == 0:
            return points
        assert status == -signal.SIGKILL
    raise AssertionError(f"not done after {MOST_POINTS} kills")


def test_a_manager_killed_at_every_point_converges_and_running_slivers_do_not_notice(node):
    bystander, victim = node.sliver("bystander"), node.sliver("victim", enabled="0", ports="tcp:8080:80")
    node.converge(bystander)
    leader, before = node.leader("bystander"), traces()
    assert kill_at_each_point(node, node.wanted(bystander, victim)) > 15
    assert node.converge(bystander, victim) == []
    assert (FOLDER / "victim/upper/etc/hostname").read_text() == "victim\n"
    assert all(item.digest for item in node.backend.observe())
    assert kill_at_each_point(node, node.wanted(bystander)) > 10
    assert_as(before)
    assert node.leader("bystander") == leader


def test_a_manager_killed_while_a_sliver_starts_finds_it_up(node):
    sliver = node.sliver()
    limited.converge(node.network, node.wanted(sliver))
    words = (node.guest.node, node.wanted(sliver), 10_000)
    manager = multiprocessing.get_context("fork").Process(target=one_pass, args=words)
    manager.start()
    while not node.leader("demo-one"):
        assert manager.is_alive()
    manager.kill()
    manager.join()
    node.converge(sliver)
    assert node.inside("demo-one", "hostname") == "demo-one\n"


class Damaged(Stored):
    """A source whose packs have a wrong byte."""

    def get(self, digest: str, limit: int, halt: object) -> bytes:
        blob = super().get(digest, limit, halt)
        return blob[:-1] + bytes([blob[-1] ^ 1]) if len(blob) > 100_000 else blob


def test_an_image_that_is_missing_or_corrupt_leaves_nothing_half_made(node, sliver_image, monkeypatch):
    good = node.sliver("good")
    node.converge(good)
    with pytest.raises(NoSliverImage, match="nonesuch"):
        node.converge(good, replace(node.sliver(), image="nonesuch"))
    # The tree that the other one uses would do, so it is out of the way meanwhile.
    other = make_guest(sliver_image, Damaged)
    backend = Slivers(other.node)
    wanted = replace(node.wanted(good, node.sliver()), images=(node.guest.image,))
    images, kept = FOLDER / ".images", FOLDER / ".kept"
    images.rename(kept)
    images.mkdir()
    try:
        (action,) = [each for each in backend.plan(wanted, backend.observe()) if each.name == "demo_one"]
        with pytest.raises(VerificationError):
            backend.apply(wanted, action)
        assert list(images.iterdir()) == []
        assert not (FOLDER / "demo-one").exists()
    finally:
        images.rmdir()
        kept.rename(images)
    assert node.inside("good", "hostname") == "good\n"
    assert [action.verb for action in node.converge(good, node.sliver())] == [Verb.CREATE]


def test_a_full_disk_is_told_and_when_there_is_room_it_goes_on(node, tmp_path):
    run("mount", "-t", "tmpfs", "-o", "size=40M,mode=700", "tmpfs", str(FOLDER))
    try:
        with pytest.raises((TargetFull, OSError)):
            node.converge(node.sliver())
        assert list((FOLDER / ".images").iterdir()) == []
        run("mount", "-o", "remount,size=400M", str(FOLDER))
        assert [action.verb for action in node.converge(node.sliver())] == [Verb.CREATE]
        # A sliver that fills it finds it full, and runs on; so does the removal.
        node.inside("demo-one", "cat /dev/zero > /root/full 2>/dev/null || true")
        assert node.inside("demo-one", "echo") == "\n"
        node.converge()
    finally:
        run("umount", str(FOLDER))


# --- slivers that misbehave, within their limits ---


@pytest.fixture
def passes(node: SliverGuest):
    """Makes slivers with their limits, as a pass of the manager does: on a volume with quotas."""
    made = FileSystem("/dev/vdb", "ext4", SLIVERS_LABEL, "6f3c1f6e-2c0d-4f6c-9a57-7f2b1d5b0a02")
    made.make(Runner())
    (options,) = (line.split()[3] for line in FSTAB.splitlines() if "/dev/bmnode/slivers" in line)
    run("mount", "-o", options, "/dev/vdb", str(FOLDER))
    backends = (node.network, Resources(node.guest.node), node.backend)

    def make_pass(*slivers: Sliver) -> None:
        wanted = node.wanted(*slivers)
        assert converge.converge(backends, wanted, Events("guest")).failed == []
        assert [backend.plan(wanted, backend.observe()) for backend in backends] == [()] * len(backends)

    yield make_pass
    make_pass()
    run("umount", str(FOLDER))
    run("wipefs", "-a", "/dev/vdb")


FILL = """
cat /dev/zero > /root/full 2> /dev/null
echo $(($(stat -c %s /root/full) / 1024))
rm /root/full
i=0; while true > /root/$i; do i=$((i + 1)); done 2> /dev/null
echo $i
"""


def test_one_that_fills_its_disk_and_exhausts_its_inodes_is_alone_with_it(node, passes):
    passes(node.sliver("greedy", disk_max="50000", inodes_max="2000"), node.sliver("well"))
    before = os.statvfs(FOLDER)
    kib, files = (int(word) for word in node.inside("greedy", FILL).split())
    print(f"disk_max 50000, inodes_max 2000 -> {kib} KiB, {files} files")
    assert 40_000 < kib < 50_000
    assert 1000 < files < 2000
    assert before.f_favail - os.statvfs(FOLDER).f_favail < 2000
    done = "dd if=/dev/zero of=/root/mine bs=1M count=100 2> /dev/null && mkdir /root/new && echo fine"
    assert node.inside("well", done) == "fine\n"
    # It runs on, and what it takes away it can have again.
    assert node.inside("greedy", "rm -r /root/*; echo > /root/again && echo fine") == "fine\n"


BOMB = "bomb() { while :; do bomb & done; }; bomb"


def test_a_fork_bomb_leaves_node_and_neighbour_well(node, passes):
    bomber, well = node.sliver("bomber", pids_max="300"), node.sliver("well")
    passes(bomber, well)
    node.inside("bomber", f"systemd-run --quiet --no-block --collect sh -c '{BOMB}'")
    group = Path("/sys/fs/cgroup/slivers.slice", sliver_slice("bomber"))
    eventually(lambda: int((group / "pids.events").read_text().split()[1]) > 0, what="a refused fork")
    begun = time.monotonic()
    run("true")
    assert node.inside("well", "sh -c 'echo fine'") == "fine\n"
    print(f"the neighbour answers after {time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    passes(well)
    print(f"the bomb is gone after {time.monotonic() - begun:.1f} s")
    assert not group.exists()
    assert node.inside("well", "echo fine") == "fine\n"
