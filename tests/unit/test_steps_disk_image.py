"""A technician writes the image of a whole disk: what is said before, what is refused, what is kept."""

import random
from dataclasses import replace

import pytest

from host.run import Runner
from hwdetect.content import MIB, DiskState
from hwdetect.disks import DiskNotFound, DiskRefused, DiskTooSmall
from hwdetect.media import Dongle, Media
from images.cache import Cache
from images.disk_make import make_disk_image
from images.disk_write import NotADisk
from images.manifest import SignedImage
from images.trust_errors import ImageNotSigned
from steps.base import Context, Keeps
from steps.write_disk_image import WriteDiskImage
from tests.disk_images import sparse
from tests.unit.disk_bench import DISK_BYTES, Bench
from wire.messages import NodeDetails


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def test_the_plan_says_what_is_destroyed_and_changes_nothing(bench):
    seen = WriteDiskImage("appliance", "s-1").observe(bench.context())
    assert not seen.holds
    assert [(change.keeps, change.target) for change in seen.changes] == [
        (Keeps.DESTROY, str(bench.disk)),
        (Keeps.CREATE, str(bench.disk)),
    ]
    assert "ext4 precious" in seen.changes[0].text
    blank = bench.context(state=DiskState.BLANK, content=())
    seen = WriteDiskImage("appliance", "S-1").observe(blank)
    assert [change.keeps for change in seen.changes] == [Keeps.CREATE]
    assert bench.disk.read_bytes() == bench.before
    assert bench.taken_down == []


def test_what_was_written_is_read_back(bench):
    step, context = WriteDiskImage("appliance", "S-1"), bench.context()
    step.run(context)
    assert bench.disk.read_bytes() == bench.image.read_bytes()
    assert bench.taken_down == [str(bench.disk)] * 2
    assert step.observe(context).holds
    assert [name for name, _ in bench.told] == ["image.planned", "transfer"]
    (_, planned), (_, moved) = bench.told
    assert planned["image"] == moved["image"] == "appliance"
    assert planned["fetch_bytes"] == moved["network_bytes"]
    assert moved["network_bytes"] > 0
    with bench.disk.open("r+b") as disk:
        disk.seek(DISK_BYTES - 1)
        disk.write(b"!")
    assert not step.observe(context).holds


REFUSED = {
    "the boot medium": (DiskRefused, {"roles": ("boot medium",)}),
    "mounted": (DiskRefused, {"roles": ("mounted at /mnt",)}),
    "write-protected": (DiskRefused, {"read_only": True}),
    "unreadable": (DiskRefused, {"state": DiskState.UNREADABLE}),
    "another one": (DiskNotFound, {"serial": "S-2"}),
    "too small": (DiskTooSmall, {"size_bytes": DISK_BYTES - 512}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_disk_that_is_refused_is_not_touched(bench, name):
    error, more = REFUSED[name]
    step, context = WriteDiskImage("appliance", "S-1"), bench.context(**more)
    for act in (step.observe, step.run):
        with pytest.raises(error):
            act(context)
    assert bench.disk.read_bytes() == bench.before
    assert bench.taken_down == []


def test_the_dongle_is_not_written_though_it_is_named(bench):
    media = Media(dongle=Dongle(f"{bench.disk}1", str(bench.disk), "ext4", MIB))
    with pytest.raises(DiskRefused, match="cache dongle"):
        WriteDiskImage("appliance", "S-1").run(bench.context(media))
    assert bench.disk.read_bytes() == bench.before


@pytest.mark.parametrize(("name", "error"), [("base", NotADisk), ("nobody", ImageNotSigned)])
def test_only_a_signed_image_of_a_disk_is_written(bench, name, error):
    with pytest.raises(error):
        WriteDiskImage(name, "S-1").run(bench.context())
    assert bench.disk.read_bytes() == bench.before


def test_the_dongle_keeps_what_the_node_is_installed_from(bench):
    """Though both parts of the image do not fit beside it, and it was of no use for longest."""
    dice = random.Random(1)
    parts = {offset: dice.randbytes(700 * 1024) for offset in (0, 32 * MIB)}
    large = make_disk_image("large", sparse(bench.image, 33 * MIB, parts), bench.store, Runner())
    bench.signed["large"] = SignedImage("large", large.digest, None)
    context = bench.context(size_bytes=33 * MIB)
    details = replace(context.facts[NodeDetails], cache_budget_mib=1)
    cache = context.facts[Cache]
    (blob,) = bench.base.blobs
    cache.put(blob.sha256, b"1", ())
    WriteDiskImage("large", "S-1").run(Context(context.host, context.facts.plus(details)))
    assert cache.has(blob)
    assert [cache.has(pack.blob) for pack in large.packs].count(True) == 1
