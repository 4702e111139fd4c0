"""What goes wrong with slivers and comes right: a killed manager, bad images, a full disk."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Verb
from configmanager.backends.slivers import NoSliverImage, Slivers
from images.unpack import TargetFull
from tests.guest.conftest import Guest, Stored, make_guest
from tests.guest.kill_driver import one_pass
from tests.guest.limited import converge
from tests.guest.node_system import run
from tests.guest.sliver_guest import FOLDER, SliverGuest, assert_as, nothing_left, traces
from tests.guest.waiting import forked
from wire.errors import VerificationError
from wire.slivers import NodeSlivers

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
    converge(node.network, node.wanted(sliver))
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
