"""How the installed node comes by images: what is signed decides, at a time that is authenticated."""

import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from configmanager import node_images
from configmanager.node_images import Images
from configmanager.takeover import Link
from host.events import Events
from host.server import ServerClient
from images.cache import Cache
from images.disk_record import NoDongle
from images.disk_write import NotADisk
from images.documents import NODE_DETAILS, Document, Documents
from images.fetch import Transfer, pins
from images.manifest import parse
from images.neighbours import Neighbours
from images.plan import OldTree
from images.trust_errors import ImageNotSigned, MetadataExpired, NothingKnownOffline
from tests.disk_images import MIB, mbr_head, sparse
from tests.unit.image_trees import manifest_of
from tests.unit.signed_site import KEY, NOW, Site
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.structure import unstructure
from wire.trust import TrustedRoot

CONFIGURATION = NodeConfiguration(1, KEY, "http://server", NetworkSettings())


class Node(Site):
    """An installed node of the site, with its dongle."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        self.unpacked, self.told, self.trees, self.near = [], [], [], []
        self.events = Events("test", (lambda event: self.told.append((event.event, event.data.get("code"))),))
        self.ref = self.publish()
        self.images = Images(None, self.events)
        monkeypatch.setattr(self.images, "_cache", self.cache)
        monkeypatch.setattr(node_images, "http_of", lambda _: self.path)
        monkeypatch.setattr(node_images, "source_of", lambda *_: self)
        monkeypatch.setattr(node_images, "install", self.install)
        monkeypatch.setattr(Neighbours, "start", lambda _: True)

    def get(self, digest, limit, halt):
        """Be the source of blobs."""
        return self.server.state.blobs.get(digest)

    @contextmanager
    def cache(self):
        yield Cache(self.dongle, self.events)

    def install(self, signed, _, source, cache, *, relatives, tree, near, keep, on_progress):
        self.source, self.used, self.keep = source, cache, keep
        self.near.append(near)
        self.trees.append(tree)
        self.unpacked.append(signed.sha256)
        return Transfer()

    def connect(self, at=NOW):
        """Be as after a check-in at that time; None for a server that has not answered yet."""
        client = ServerClient(None, 1, KEY)
        if at is not None:
            client.server_time, client.server_time_at = int(at), time.monotonic()
        self.images.link = Link(client, CONFIGURATION, "10.0.0.1", TrustedRoot(self.root))


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


def test_a_signed_image_is_unpacked_and_no_other(node, tmp_path):
    node.connect()
    node.images.unpack(node.ref, tmp_path)
    assert node.unpacked == [node.ref.manifest]
    with pytest.raises(ImageNotSigned):
        node.images.unpack(ImageRef("base", "0" * 64), tmp_path)
    assert node.unpacked == [node.ref.manifest]


def test_a_tree_of_the_same_image_or_one_before_it_is_looked_into(node, tmp_path):
    node.connect()
    old, new = node.ref, node.publish(content=b"2")
    before = OldTree(tmp_path / "before", old.manifest)
    same, other = OldTree(tmp_path / "same", new.manifest), OldTree(tmp_path / "other", "0" * 64)
    node.images.unpack(new, tmp_path, [other, before, same])
    node.images.unpack(new, tmp_path, [other])
    assert node.trees == [same, None]


def test_without_the_server_the_dongle_decides(node, tmp_path):
    node.connect()
    node.images.unpack(node.ref, tmp_path)
    node.path.up = False
    node.images.unpack(node.ref, tmp_path)
    assert len(node.unpacked) == 2


def test_no_time_is_made_up_for_a_server_that_has_told_none(node, tmp_path):
    """Somebody who lets metadata through but no calls must not have old ones taken for new."""
    node.connect(None)
    with pytest.raises(NothingKnownOffline):
        node.images.unpack(node.ref, tmp_path)
    node.connect(NOW + 1000 * 86400)
    with pytest.raises(MetadataExpired):
        node.images.unpack(node.ref, tmp_path)
    assert node.unpacked == []


def test_the_metadata_are_renewed_once_a_day(node, monkeypatch):
    node.connect()
    node.images.refresh()
    assert node.path.asked == []
    monkeypatch.setattr(node.images, "_refresh_at", 0.0)
    node.images.refresh()
    assert "timestamp.json" in node.path.asked
    node.path.asked.clear()
    node.images.refresh()
    assert node.path.asked == []


def test_a_renewal_that_fails_is_told_and_stops_nothing(node, monkeypatch):
    node.connect()
    node.path.up = False
    monkeypatch.setattr(node.images, "_refresh_at", 0.0)
    node.images.refresh()
    assert ("metadata.refused", "server-unreachable") in node.told


def test_an_image_is_shared_with_neighbours_while_it_is_brought(node, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Neighbours, "close", lambda near: closed.append(near))
    node.connect()
    node.images.unpack(node.ref, tmp_path)
    assert closed == node.near != [None]


def test_switched_off_it_is_not(node, tmp_path, monkeypatch):
    node.connect()
    monkeypatch.setattr(node.images, "_shares", False)
    node.images.unpack(node.ref, tmp_path)
    assert node.near == [None]


def test_a_node_that_cannot_listen_brings_it_all_the_same(node, tmp_path, monkeypatch):
    monkeypatch.setattr(Neighbours, "start", lambda _: False)
    node.connect()
    node.images.unpack(node.ref, tmp_path)
    assert node.near == [None]


def test_what_reinstalls_the_node_stays_on_the_dongle_and_its_bounds_count(node, tmp_path, monkeypatch):
    """As bootmanager: its configuration is on the dongle, and its images are not evicted for a sliver's."""
    node.connect()
    details = NodeDetails(
        1, "node", TargetState.BOOT, "run", 3, node.ref,
        cache_budget_mib=7, mirrors=("http://mirror",), bandwidth_kib=5,
    )  # fmt: skip
    given = []
    monkeypatch.setattr(node_images, "source_of", lambda _, details: given.append(details))
    cache = Cache(node.dongle, node.events)
    manifest = manifest_of("base")
    assert cache.put(manifest.digest, manifest.to_bytes())
    details = replace(details, base_image=ImageRef("base", manifest.digest))
    Documents(cache, KEY).write(NODE_DETAILS, Document(3, unstructure(details)))
    node.images.unpack(node.ref, tmp_path)
    assert given == [details]
    assert node.used.budget_bytes == 7 * 2**20
    assert node.keep == pins([manifest])


def test_of_another_nodes_dongle_nothing_is_believed(node, tmp_path):
    node.connect()
    details = NodeDetails(2, "other", TargetState.BOOT, "run", 3, node.ref, cache_budget_mib=7)
    Documents(Cache(node.dongle, node.events), KEY).write(NODE_DETAILS, Document(3, unstructure(details)))
    node.images.unpack(node.ref, tmp_path)
    assert (node.used.budget_bytes, node.keep) == (None, frozenset())


# --- images of whole disks ---


def disk_image(node, tmp_path):
    disk = sparse(tmp_path / "disk.img", 40 * MIB, {0: mbr_head(7), 33 * MIB: b"root"})
    printed = node.server.cli_json("image", "publish", "appliance", disk)
    return ImageRef("appliance", printed["manifest"])


def test_all_of_a_disk_image_is_brought_into_the_dongle(node, tmp_path):
    ref = disk_image(node, tmp_path)
    # The command line signs at the time of this machine.
    node.connect(time.time())
    assert node.images.bring(ref) == 40 * MIB
    manifest = parse(node.server.state.blobs.get(ref.manifest))
    with node.cache() as cache:
        assert [cache.has(blob) for blob in manifest.blobs] == [True] * len(manifest.blobs)
        assert len(manifest.packs) == 2
    assert ("transfer", None) in node.told


def test_a_disk_image_must_be_signed_and_of_a_disk(node, tmp_path):
    ref = disk_image(node, tmp_path)
    # The command line signs at the time of this machine.
    node.connect(time.time())
    with pytest.raises(ImageNotSigned):
        node.images.bring(replace(ref, manifest="0" * 64))
    (tmp_path / "tree").mkdir()
    printed = node.server.cli_json("image", "publish", "tree", tmp_path / "tree")
    with pytest.raises(NotADisk):
        node.images.bring(ImageRef("tree", printed["manifest"]))


def test_without_a_dongle_no_disk_image_is_brought(node, tmp_path, monkeypatch):
    ref = disk_image(node, tmp_path)
    # The command line signs at the time of this machine.
    node.connect(time.time())
    monkeypatch.setattr(node.images, "_cache", lambda: nullcontext(Cache(None, node.events)))
    with pytest.raises(NoDongle):
        node.images.bring(ref)


def test_a_dongle_that_is_too_small_for_it_is_told_and_stops_nothing(node, tmp_path, monkeypatch):
    ref = disk_image(node, tmp_path)
    # The command line signs at the time of this machine.
    node.connect(time.time())
    room = len(node.server.state.blobs.get(ref.manifest)) + 1
    small = Cache(node.dongle, node.events, budget_bytes=room)
    monkeypatch.setattr(node.images, "_cache", lambda: nullcontext(small))
    assert node.images.bring(ref) == 40 * MIB
    assert ("prefetch.failed", "target-full") in node.told
