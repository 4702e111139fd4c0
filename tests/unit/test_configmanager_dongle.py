"""Several users of an installed node's dongle: none unmounts it under another, nor waits for its work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from configmanager import node_images
from configmanager.node_images import Images
from host.events import Event, Events
from host.mounts import Mount
from host.run import CommandFailed, Completed, Runner
from hwdetect import dongle as dongles
from hwdetect.dongle import Dongle
from hwdetect.media import Media

DONGLE = Dongle("/dev/sdb1", "/dev/sdb", "ext4", 1 << 33)
SECONDS = 10.0


class Machine(Runner):
    """A machine whose dongle is mounted or not; `busy` while somebody is in it whom nobody knows.

    `meanwhile` is called while it is unmounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.turns = folder / "cache", folder / "run/configmanager"
        self.mount: Mount | None = None
        self.busy = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.commands: list[str] = []
        self.told: list[Event] = []

    def __call__(self, argv: Sequence[Any], **_: Any) -> Completed:
        words = [str(word) for word in argv]
        self.commands.append(words[0])
        if words[0] == "mount":
            assert self.mount is None
            self.mount = Mount(DONGLE.device, self.folder, DONGLE.fstype, ("rw",))
        elif self.busy:
            raise CommandFailed(words, 32, "target is busy")
        else:
            self.meanwhile()
            self.mount = None
        return Completed(tuple(words), 0, "", "", 0.0)

    def images(self) -> Images:
        """As of another process: they know nothing of one another."""
        return Images(self, Events("test", (self.told.append,)), self.folder, turns=self.turns)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(dongles, "mount_at", lambda _: machine.mount)
    monkeypatch.setattr(node_images.media, "survey", lambda _: Media((), (), DONGLE))
    return machine


def test_the_last_one_unmounts_it(machine: Machine) -> None:
    daemon, verify = machine.images(), machine.images()
    with daemon._cache() as cache:
        with verify._cache() as other:
            assert other.stores
        assert machine.mount is not None
        assert cache.stores
    assert machine.mount is None
    assert machine.commands == ["mount", "umount"]
    with verify._cache():
        assert machine.mount is not None
    assert machine.mount is None


def test_the_first_to_come_may_be_the_first_to_go(machine: Machine) -> None:
    first, second = machine.images()._cache(), machine.images()._cache()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert machine.mount is not None
    second.__exit__(None, None, None)
    assert machine.mount is None


def test_who_comes_while_it_is_unmounted_waits_and_mounts_it_again(machine: Machine) -> None:
    came = threading.Event()

    def use() -> bool:
        with dongles.shared_dongle(machine, DONGLE, machine.folder, machine.turns):
            came.set()
            return machine.mount is not None

    def meanwhile() -> None:
        machine.meanwhile = lambda: None
        users.append(threads.submit(use))
        assert not came.wait(0.3)

    users: list[Future[bool]] = []
    with ThreadPoolExecutor(1) as threads:
        with machine.images()._cache():
            machine.meanwhile = meanwhile
        assert users[0].result(SECONDS)
    assert machine.commands == ["mount", "umount"] * 2
    assert machine.mount is None


def test_that_it_cannot_be_unmounted_undoes_no_work(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    with machine.images()._cache():
        machine.busy = True
    assert "the dongle stays mounted: " in caplog.text
    assert "target is busy" in caplog.text
    # Whoever comes next has it all the same, and unmounts it.
    with machine.images()._cache() as cache:
        machine.busy = False
        assert cache.stores
    assert machine.mount is None


def test_what_fails_on_it_is_told_as_it_is(machine: Machine) -> None:
    def fail() -> None:
        with machine.images()._cache():
            machine.busy = True
            raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        fail()


def test_one_that_cannot_be_mounted_is_told_and_done_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise CommandFailed(["mount"], 32, "bad superblock")

    monkeypatch.setattr(dongles, "mount_dongle", broken)
    with machine.images()._cache() as cache:
        assert not cache.stores
    assert [(event.event, event.data["device"]) for event in machine.told] == [
        ("media.unusable", DONGLE.device)
    ]


def test_nobody_mounts_it_while_it_is_looked_into(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    looking, looked = threading.Event(), threading.Event()

    def survey(_: Runner) -> Media:
        if not looking.is_set():
            looking.set()
            assert not looked.wait(0.2)
            assert machine.mount is None
        return Media((), (), DONGLE)

    def use() -> None:
        with machine.images()._cache():
            looked.set()

    monkeypatch.setattr(node_images.media, "survey", survey)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(use)
        assert looking.wait(SECONDS)
        second = threads.submit(use)
        first.result(SECONDS)
        second.result(SECONDS)
