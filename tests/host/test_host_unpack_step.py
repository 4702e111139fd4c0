"""The step that unpacks the base filesystem, on a loop device in place of the root volume."""

import json
from contextlib import contextmanager

import pytest

from host.events import Events
from host.mounts import mounted
from host.options import Options
from host.ports import Host
from host.run import CommandFailed, Runner
from images.cache import Cache
from images.manifest import SignedImage
from images.store import BlobStore
from images.trust import SignedImages
from steps import unpack as module
from steps.base import Context, Facts, Keeps
from steps.unpack import UNPACKED, Unpack
from tests.host.image_server import describe, ext4, make_tree, publish_tree, serving
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NetworkSettings, NodeConfiguration
from wire.session import NodeKey

pytestmark = pytest.mark.host


class Machine:
    """A root file system, a dongle, a server with a base image and a sliver image."""

    def __init__(self, root, dongle, server, base, sliver):
        self.root, self.server, self.base, self.sliver = root, server, base, sliver
        self.heard = []
        self.progress = []
        self.events = Events("test", (lambda event: self.heard.append((event.event, event.data)),))
        self.cache = Cache(dongle, self.events)
        self.step = Unpack()
        images = (SignedImage(item.name, item.digest, len(item.to_bytes())) for item in (base, sliver))
        self.signed = SignedImages({image.name: image for image in images})

    def context(self, *, run_id="run1", images=None):
        sliver = ImageRef("sliver", self.sliver.digest)
        details = NodeDetails(
            node_id=1,
            hostname="node",
            boot_state=TargetState.INST,
            run_id=run_id,
            generation=1,
            base_image=ImageRef("base", self.base.digest),
            images=(sliver,) if images is None else images,
        )
        configuration = NodeConfiguration(1, NodeKey(b"k" * 32), self.server.url, NetworkSettings())
        host = Host(run=Runner(), storage=None, events=self.events, console=None, options=Options())
        facts = Facts((details, configuration, self.signed, self.cache))
        return Context(host, facts, lambda fraction, text: self.progress.append(fraction))

    def told(self, name):
        return [data for event, data in self.heard if event == name]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    store = BlobStore(tmp_path / "store")
    manifests = {}
    for name in ("base", "sliver"):
        tree = make_tree(tmp_path / name, random_mib=5)
        (tree / "boot").mkdir()
        (tree / "boot/vmlinuz").write_text(name)
        manifests[name] = publish_tree(name, tree, store)

    @contextmanager
    def target(run, *, for_chroot=False):
        yield root

    def read_installed(run, path):
        return (root / path).read_text() if (root / path).is_file() else None

    (tmp_path / "dongle").mkdir()
    with ext4(tmp_path, 64) as root, serving(store) as server:
        monkeypatch.setattr(module, "target", target)
        monkeypatch.setattr(module, "target_read_only", target)
        monkeypatch.setattr(module, "read_installed", read_installed)
        with mounted(Runner(), "none", root / "boot", fstype="tmpfs"):
            yield Machine(root, tmp_path / "dongle", server, manifests["base"], manifests["sliver"])


def without_mark(root):
    return {
        path: what
        for path, what in describe(root).items()
        if path not in ("etc", "etc/bootmanager", str(UNPACKED)) and not path.startswith("lost+found")
    }


def test_the_tree_is_whole_and_the_sliver_image_is_in_the_dongle(machine, tmp_path):
    context = machine.context()
    before = machine.step.observe(context)
    assert not before.holds
    assert [change.keeps for change in before.changes] == [Keeps.CREATE]
    machine.step.run(context)
    assert machine.step.observe(context).holds
    assert without_mark(machine.root) == without_mark(tmp_path / "base")
    assert json.loads((machine.root / UNPACKED).read_text()) == {
        "name": "base",
        "manifest": machine.base.digest,
        "run_id": "run1",
    }
    size = machine.base.size + len(machine.base.to_bytes())
    assert machine.told("transfer")[0] == {"image": "base", "network_bytes": size, "cache_bytes": 0}
    assert all(machine.cache.has(blob) for blob in machine.sliver.blobs)
    known = [fraction for fraction in machine.progress if fraction is not None]
    assert known == sorted(known)
    assert known[-1] == 1.0


def test_a_reinstallation_takes_no_image_byte_from_the_network(machine):
    machine.step.run(machine.context())
    again = machine.context(run_id="run2")
    observed = machine.step.observe(again)
    assert not observed.holds
    assert [change.keeps for change in observed.changes] == [Keeps.DESTROY]
    machine.heard.clear()
    machine.server.served.clear()
    machine.step.run(again)
    assert machine.server.served == []
    assert [data["network_bytes"] for data in machine.told("transfer")] == [0, 0]
    assert [data["image"] for data in machine.told("transfer")] == ["base", "sliver"]


def test_a_half_unpacked_tree_leaves_nothing_behind(machine, tmp_path, monkeypatch):
    def cut(*_args):
        raise CommandFailed(["sync"], 1, "the power was cut here")

    (machine.root / "usr").mkdir()
    (machine.root / "usr/older").write_text("of another image")
    (machine.root / "boot/vmlinuz-old").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_atomic", cut)
        with pytest.raises(CommandFailed):
            machine.step.run(machine.context())
    assert not machine.step.observe(machine.context()).holds
    (machine.root / "usr/lib/0").write_text("torn")
    (machine.root / "usr/torn").write_text("torn")
    machine.step.run(machine.context())
    assert machine.step.observe(machine.context()).holds
    assert without_mark(machine.root) == without_mark(tmp_path / "base")


def test_a_sliver_image_that_cannot_be_had_does_not_stop_the_installation(machine):
    context = machine.context(images=(ImageRef("gone", "0" * 64), ImageRef("sliver", machine.sliver.digest)))
    machine.step.run(context)
    assert machine.step.observe(context).holds
    assert [data["code"] for data in machine.told("prefetch.failed")] == ["image-not-signed"]
    assert [data["image"] for data in machine.told("transfer")] == ["base", "sliver"]


def test_without_a_dongle_only_the_base_is_fetched(machine):
    machine.cache = Cache(None, machine.events)
    machine.step.run(machine.context())
    assert [data["image"] for data in machine.told("transfer")] == ["base"]
    assert len(machine.server.served) == len(machine.base.blobs) + 1
