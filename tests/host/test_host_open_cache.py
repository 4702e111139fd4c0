"""The step that opens the dongle, on a loop device."""

import subprocess
from pathlib import Path

import pytest

from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Runner
from hwdetect.dongle import Dongle
from hwdetect.media import Media
from images.cache import Cache
from images.manifest import sha256
from steps.base import Context, Facts, Keeps
from steps.open_cache import OpenCache
from wire.dongle import marked_start

pytestmark = pytest.mark.host

MIB = 1024 * 1024


@pytest.fixture
def heard():
    return []


@pytest.fixture
def context(tmp_path, heard):
    def make(media):
        if media is None or isinstance(media, Dongle):
            media = Media(dongle=media)
        events = Events("test", (lambda event: heard.append((event.event, event.data)),))
        host = Host(Runner(), None, events, None, Options(), state_dir=tmp_path / "state")
        return Context(host, Facts((media,)))

    yield make
    subprocess.run(["umount", "-q", str(tmp_path / "state/cache")], check=False)


@pytest.fixture
def loop(tmp_path):
    """Attach a 32 MiB file, formatted or not; write-protected or not."""
    attached = []

    def make(*, formatted=True, protected=False):
        image = tmp_path / f"dongle{len(attached)}.img"
        with image.open("wb") as file:
            file.truncate(32 * MIB)
        if formatted:
            subprocess.run(["mkfs.ext4", "-q", "-L", "BMCACHE", str(image)], check=True)
        argv = ["losetup", "--find", "--show", *(["--read-only"] if protected else []), str(image)]
        attached.append(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
        return Dongle(attached[-1], attached[-1], "ext4", 32 * MIB)

    yield make
    for device in attached:
        # Detached for good when the last mount of it is gone.
        subprocess.run(["losetup", "--detach", device], check=True)


def cache_of(observation):
    (cache,) = observation.facts
    assert isinstance(cache, Cache)
    return cache


def test_a_dongle_is_mounted_and_stores(context, loop, heard):
    step, here = OpenCache(), context(loop())
    before = step.observe(here)
    assert not before.holds
    assert [change.keeps for change in before.changes] == [Keeps.KEEP]
    assert heard == []
    step.run(here)
    cache = cache_of(step.observe(here))
    assert cache.put(sha256(b"x"), b"x")
    assert cache.get(sha256(b"x")) == b"x"
    assert [name for name, _ in heard] == ["media.found"]
    # A program that was restarted finds it mounted.
    assert cache_of(OpenCache().observe(here)).get(sha256(b"x")) == b"x"


def test_a_write_protected_dongle_is_read(context, loop, heard):
    step, here = OpenCache(), context(loop(protected=True))
    step.run(here)
    cache = cache_of(step.observe(here))
    assert not cache.stores
    assert not cache.put(sha256(b"x"), b"x")
    assert [(name, data["writable"]) for name, data in heard] == [("media.found", False)]


def test_a_dongle_that_cannot_be_mounted_is_none(context, loop, heard):
    step, here = OpenCache(), context(loop(formatted=False))
    assert not step.observe(here).holds
    step.run(here)
    cache = cache_of(step.observe(here))
    assert not cache.stores
    assert cache.folder is None
    assert [name for name, _ in heard] == ["media.unusable"]


def test_one_that_was_pulled_out_makes_room_for_another(context, loop, heard):
    OpenCache().run(context(loop()))
    # It lies where the first one was, and is another device.
    step, here = OpenCache(), context(loop())
    assert not step.observe(here).holds
    step.run(here)
    assert cache_of(step.observe(here)).stores
    assert len({data["device"] for _, data in heard}) == 2


def test_of_a_marked_stick_the_dongle_is_made(context, stick, heard):
    Path(stick).write_bytes(marked_start())
    step, here = OpenCache(), context(Media(marked=(stick,)))
    (change,) = step.observe(here).changes
    assert (change.keeps, change.target) == (Keeps.CREATE, stick)
    assert heard == []
    step.run(here)
    cache = cache_of(step.observe(here))
    assert cache.put(sha256(b"x"), b"x")
    assert [name for name, _ in heard] == ["dongle.made", "media.found"]
    assert heard[0][1]["device"] == heard[1][1]["device"]


def test_of_several_marked_sticks_none_is_made_a_dongle(context, stick, heard):
    Path(stick).write_bytes(marked_start())
    step, here = OpenCache(), context(Media(marked=(stick, "/dev/other")))
    (change,) = step.observe(here).changes
    assert change.keeps is Keeps.KEEP
    step.run(here)
    assert not cache_of(step.observe(here)).stores
    ((name, data),) = heard
    assert (name, data["device"]) == ("media.unusable", f"{stick}, /dev/other")


def test_a_dongle_is_not_made_where_there_is_one(context, loop, stick, heard):
    Path(stick).write_bytes(marked_start())
    there = loop()
    step, here = OpenCache(), context(Media(dongle=there, marked=(stick,)))
    step.run(here)
    assert cache_of(step.observe(here)).stores
    assert [(name, data["device"]) for name, data in heard] == [("media.found", there.device)]


def test_no_dongle(context, heard):
    cache = cache_of(OpenCache().observe(context(None)))
    assert not cache.stores
    assert heard == [("media.missing", {"what": "cache"})]
