"""The step that unpacks the base filesystem, on a loop device in place of the root volume."""

import json

import pytest

from host import unpacked
from host.run import CommandFailed
from images.cache import Cache
from images.store import BlobStore
from steps import unpack as module
from steps.base import Keeps
from steps.format import Format
from steps.unpack import Unpack
from tests.host.image_server import make_tree, publish_tree, serving
from tests.host.node_disks import Node, image_of, volumes_at
from wire.messages import ImageRef, TargetState

pytestmark = pytest.mark.host


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node with its file systems made, a dongle, a server with a base image and a sliver image."""
    store = BlobStore(tmp_path / "store")
    manifests = []
    for name in ("base", "sliver"):
        tree = make_tree(tmp_path / name, random_mib=5)
        (tree / "boot").mkdir()
        (tree / "boot/vmlinuz").write_text(name)
        manifests.append(publish_tree(name, tree, store))
    (tmp_path / "dongle").mkdir()
    with serving(store) as server, volumes_at(tmp_path, monkeypatch) as volumes:
        node = Node(volumes, server, *manifests)
        node.cache = Cache(tmp_path / "dongle", node.events)
        node.do(Format(), node.context(boot_state=TargetState.INST))
        node.progress.clear()
        yield node


def test_the_tree_is_whole_and_the_sliver_image_is_in_the_dongle(node, tmp_path):
    context = node.context()
    before = Unpack().observe(context)
    assert not before.holds
    (change,) = before.changes
    assert change.keeps is Keeps.CREATE
    assert "how much of it is to be fetched is not known" in change.text
    Unpack().run(context)
    assert [data["image"] for data in node.told("image.planned")] == ["base", "sliver"]
    assert Unpack().observe(context).holds
    assert node.laid() == image_of(tmp_path / "base")
    with node.volumes.root() as root:
        said = json.loads((root / unpacked.PATH).read_text())
    assert said == {"name": "base", "manifest": node.base.digest, "run_id": "run1"}
    size = node.base.size + len(node.base.to_bytes())
    moved = {"network_bytes": size, "cache_bytes": 0, "neighbour_bytes": 0}
    assert node.told("transfer")[0] == {"image": "base", **moved}
    assert all(node.cache.has(blob) for blob in node.others[0].blobs)
    known = [fraction for fraction in node.progress if fraction is not None]
    assert known == sorted(known)
    assert known[-1] == 1.0


def test_a_reinstallation_takes_no_image_byte_from_the_network(node, tmp_path):
    node.install()
    node.forget()
    (change,) = Unpack().observe(node.context("run2")).changes
    mib = -(-node.base.size // 2**20)
    assert change.text.endswith(f"{mib} MiB from the dongle, at most 0 MiB to fetch")
    node.install("run2")
    assert node.server.served == []
    (planned, _) = node.told("image.planned")
    assert (planned["tree_bytes"], planned["fetch_bytes"]) == (0, 0)
    assert planned["cache_bytes"] > 0
    assert node.told("root.formatted") == [{"reason": "the dongle has the whole image"}]
    assert [data["network_bytes"] for data in node.told("transfer")] == [0, 0]
    assert [data["image"] for data in node.told("transfer")] == ["base", "sliver"]
    assert node.laid() == image_of(tmp_path / "base")


def test_a_half_unpacked_tree_leaves_nothing_behind(node, tmp_path, monkeypatch):
    def cut(*_args):
        raise CommandFailed(["sync"], 1, "the power was cut here")

    with node.volumes.root() as root:
        (root / "usr").mkdir()
        (root / "usr/older").write_text("of another image")
        (root / "boot/vmlinuz-old").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_unpacked", cut)
        with pytest.raises(CommandFailed):
            Unpack().run(node.context())
    assert not Unpack().observe(node.context()).holds
    with node.volumes.root() as root:
        (root / "usr/lib/0").write_text("torn")
        (root / "usr/torn").write_text("torn")
    Unpack().run(node.context())
    assert Unpack().observe(node.context()).holds
    assert node.laid() == image_of(tmp_path / "base")


def test_a_sliver_image_that_cannot_be_had_does_not_stop_the_installation(node):
    images = (ImageRef("gone", "0" * 64), ImageRef("sliver", node.others[0].digest))
    context = node.context(images=images)
    Unpack().run(context)
    assert Unpack().observe(context).holds
    assert [data["code"] for data in node.told("prefetch.failed")] == ["image-not-signed"]
    assert [data["image"] for data in node.told("transfer")] == ["base", "sliver"]


def test_without_a_dongle_only_the_base_is_fetched(node):
    node.cache = Cache(None, node.events)
    Unpack().run(node.context())
    assert [data["image"] for data in node.told("transfer")] == ["base"]
    assert len(node.server.served) == len(node.base.blobs) + 1
