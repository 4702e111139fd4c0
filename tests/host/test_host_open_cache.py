"""The step that opens the dongle, on a loop device."""

import subprocess

import pytest

from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Runner
from hwdetect.media import Dongle, Media
from images.cache import Cache
from images.manifest import sha256
from steps.base import Context, Facts, Keeps
from steps.open_cache import OpenCache

pytestmark = pytest.mark.host

MIB = 1024 * 1024


@pytest.fixture
def heard():
    return []


@pytest.fixture
def context(tmp_path, heard):
    def make(dongle):
        events = Events("test", (lambda event: heard.append((event.event, event.data)),))
        host = Host(Runner(), None, events, None, Options(), state_dir=tmp_path / "state")
        return Context(host, Facts((Media(dongle=dongle),)))

    yield make
    subprocess.run(["umount", "-q", str(tmp_path / "state/cache")], check=False)


@pytest.fixture
def loop(tmp_path):
    """Attach a 32 MiB file, formatted or not; write-protected or not."""
    attached = []

    def make(*, formatted=True, protected=False):
        image = tmp_path / "dongle.img"
        with image.open("wb") as file:
            file.truncate(32 * MIB)
        if formatted:
            subprocess.run(["mkfs.ext4", "-q", "-L", "BMCACHE", str(image)], check=True)
        argv = ["losetup", "--find", "--show", *(["--read-only"] if protected else []), str(image)]
        attached.append(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
        return Dongle(attached[0], attached[0], "ext4", 32 * MIB)

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


def test_no_dongle(context, heard):
    cache = cache_of(OpenCache().observe(context(None)))
    assert not cache.stores
    assert heard == [("media.missing", {"what": "cache"})]
