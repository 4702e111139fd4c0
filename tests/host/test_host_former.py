"""A reinstallation takes files from the root that is there: on real ext4, with the power cut anywhere."""

import json
import os
import re
import shutil
from itertools import takewhile
from pathlib import Path

import pytest

from host import mark, unpacked
from host.ext4 import header, is_clean, is_sound
from host.filesystems import ROOT_LABEL
from host.mounts import mounted
from host.run import CommandFailed, Runner
from host.storage import filesystem_uuid
from images import make
from images.store import BlobStore
from images.write import TreeWriter
from steps.base import Keeps
from steps.format import Format
from tests.host.image_server import ACL, make_tree, publish_tree, serving
from tests.host.node_disks import MIB, Node, image_of, volumes_at
from wire.messages import TargetState

pytestmark = pytest.mark.host

LARGE = 700_000
CAPABILITY = "security.capability"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tree, with a kernel and a file larger than a pack, and its image: (tree, store, manifest)."""
    folder = tmp_path_factory.mktemp("published")
    tree = make_tree(folder / "tree", random_mib=1)
    (tree / "boot").mkdir()
    for name in ("boot/vmlinuz-6.1", "usr/lib/large"):
        (tree / name).write_bytes(os.urandom(LARGE))
    for number in range(60):
        (tree / f"usr/bin/{number:02}").write_bytes(os.urandom(20_000))
    store = BlobStore(folder / "store")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(make, "LEAST_PACK_BYTES", 128 * 1024)
        patched.setattr(make, "MOST_PACK_BYTES", 256 * 1024)
        return tree, store, publish_tree("base", tree, store)


@pytest.fixture
def node(published, tmp_path, monkeypatch):
    """A node without a dongle that is installed."""
    _, store, manifest = published
    (tmp_path / "disks").mkdir()
    with (
        serving(store) as server,
        volumes_at(tmp_path / "disks", monkeypatch, root_mib=64) as volumes,
    ):
        made = Node(volumes, server, manifest)
        made.install(boot_state=TargetState.INST)
        with made.volumes.root() as root:
            (root / "boot/initrd.img-6.1").write_bytes(bytes(LARGE))
            (root / "var/log").mkdir()
            (root / "var/log/messages").write_text("of the old installation")
        made.forget()
        yield made


def fetched(node):
    """Return how many of the image's bytes were fetched, besides its manifest and index."""
    sizes = {pack.blob.sha256: pack.blob.size for pack in node.base.packs}
    return sum(sizes.get(digest, 0) for digest in node.server.served)


def assert_installed(node, tree, run_id):
    """The root is the image, the whole image, nothing but the image, and the file system this run's."""
    assert node.laid() == image_of(tree)
    with mounted(Runner(), node.volumes.devices["root"], fstype="ext4") as root:
        assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
        assert os.listxattr(root) == []
    found = header(Runner(), node.volumes.devices["root"])
    assert found["Filesystem UUID"] == filesystem_uuid(run_id, ROOT_LABEL)
    assert is_clean(found)
    assert is_sound(Runner(), node.volumes.devices["root"], look_only=True)


def planned(node, run_id="run2", **more):
    """Return what the plan says of the root."""
    changes = Format().observe(node.context(run_id, **more)).changes
    return next(change for change in changes if change.target == node.volumes.devices["root"])


def test_nothing_but_the_index_is_fetched(node, published):
    assert planned(node).keeps is Keeps.KEEP
    assert "files of image base" in planned(node).text
    node.install("run2")
    assert fetched(node) == 0
    assert node.told("root.kept") == [{"image": "base", "manifest": node.base.digest}]
    assert node.told("root.formatted") == []
    assert_installed(node, published[0], "run2")
    # And what was kept once can be kept again.
    node.install("run3")
    assert len(node.told("root.kept")) == 2
    assert fetched(node) == 0
    assert_installed(node, published[0], "run3")


def test_what_somebody_changed_is_not_taken_over(node, published):
    with node.volumes.root() as root:
        for name in ("usr/bin/07", "usr/lib/large"):
            (root / name).write_bytes(bytes((root / name).stat().st_size))
        (root / "boot/vmlinuz-6.1").write_bytes(bytes(LARGE))
        (root / "usr/bin/08").chmod(0o4777)
        (root / "usr/bin/09").unlink()
        (root / "usr/bin/09").symlink_to("08")
        (root / "usr/bin/10").unlink()
        (root / "usr/bin/10").hardlink_to(root / "usr/bin/11")
        os.setxattr(
            root / "usr/bin/12",
            "security.capability",
            os.getxattr(root / "usr/bin/hard", "security.capability"),
        )
        (root / "etc/cron.d").mkdir()
        (root / "etc/cron.d/evil").write_text("* * * * * root evil")
        (root / "lost+found/hidden").write_text("evil")
        os.setxattr(root, "user.note", b"evil")
        os.setxattr(root, "system.posix_acl_default", ACL)
        root.chmod(0o2777)
        os.chown(root, 7, 7)
    node.install("run2")
    assert node.told("root.kept")
    assert 0 < fetched(node) < node.base.size / 2 + LARGE * 2
    assert_installed(node, published[0], "run2")


def damage(node):
    """Spoil a file's inode: where it is in a file system of one group."""
    with node.volumes.root() as root:
        number = (root / "usr/bin/20").stat().st_ino
    said = Runner()(["dumpe2fs", node.volumes.devices["root"]]).stdout
    table = int(re.search(r"Inode table at (\d+)", said)[1])
    with Path(node.volumes.devices["root"]).open("r+b") as file:
        file.seek(table * 4096 + (number - 1) * 256)
        file.write(os.urandom(128))


def in_root(change):
    def done(node):
        with node.volumes.root() as root:
            change(root)

    return done


def tuned(*words):
    return lambda node: Runner()(["tune2fs", *words, node.volumes.devices["root"]])


def fill(root):
    with (root / "var/log/huge").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 30 * MIB)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage, "check finds damage"),
        (tuned("-U", "random"), "not the one that its installation made"),
        (in_root(lambda root: (root / unpacked.PATH).unlink()), "does not say of which image"),
        (
            in_root(lambda root: (root / unpacked.PATH).write_text("[" * 10_000)),
            "does not say of which image",
        ),
        (tuned("-O", "project,quota"), "features are not those of a new one: project, quota"),
        (tuned("-o", "debug"), "mount options"),
        (in_root(fill), "more than half of it is in use"),
        (lambda node: node.volumes.write("root", bytes(64 * MIB)), "no file system"),
    ],
    ids=["damaged", "UUID", "no record", "bad record", "features", "options", "full", "blank"],
)
def test_anything_odd_and_it_is_made_anew(node, published, spoil, reason):
    spoil(node)
    assert planned(node).keeps in (Keeps.DESTROY, Keeps.CREATE)
    assert reason in planned(node).text or planned(node).keeps is Keeps.CREATE
    node.install("run2")
    (told,) = node.told("root.formatted")
    assert reason in told["reason"]
    assert fetched(node) == sum(pack.blob.size for pack in node.base.packs)
    assert_installed(node, published[0], "run2")


@pytest.mark.parametrize("more", [{"clean": True}, {"boot_state": TargetState.INST}])
def test_a_clean_one_when_it_is_wanted(node, published, more):
    assert planned(node, **more).keeps is Keeps.DESTROY
    node.install("run2", **more)
    assert node.told("root.kept") == []
    assert_installed(node, published[0], "run2")


def test_what_refuses_to_be_removed_is_formatted(node, published):
    with node.volumes.root() as root:
        Runner()(["chattr", "+i", root / "usr/bin/07"])
    node.install("run2")
    assert node.told("root.kept")
    assert "Operation not permitted" in node.told("root.formatted")[0]["reason"]
    assert_installed(node, published[0], "run2")


def test_a_larger_image_than_there_is_room_for_beside_the_former_one(node, published, tmp_path):
    shutil.copytree(
        published[0], tmp_path / "larger", symlinks=True, copy_function=shutil.copy2, ignore=special
    )
    (tmp_path / "larger/usr/huge").write_bytes(os.urandom(45 * MIB))
    node.base = publish_tree("base", tmp_path / "larger", published[1])
    node.install("run2")
    assert "needs" in node.told("root.formatted")[0]["reason"]
    assert_installed(node, tmp_path / "larger", "run2")


def special(folder, names):
    return [name for name in names if name in ("null", "pipe", "secret", "program", "hard")]


def test_a_node_whose_power_was_cut_while_it_ran(node, published, tmp_path):
    with node.volumes.root() as root:
        (root / "var/log/messages").write_text("more")
        Runner()(["sync", "--file-system", root])
        node.copy(tmp_path / "cut")
    node.put_back(tmp_path / "cut")
    assert "if it is sound when its journal has been replayed" in planned(node).text
    node.install("run2")
    assert node.told("root.kept")
    assert fetched(node) == 0
    assert_installed(node, published[0], "run2")


CHANGING = ("mount", "umount", "e2fsck", "tune2fs", "mkfs.ext4", "mkswap", "sync", "rm")


class PowerCut(BaseException):
    """It is dark."""


class Power:
    """Counts the instants at which something is about to change, and cuts the power at one of them.

    A cut leaves what has reached the disk: the backing files as they are, without what the kernel keeps.
    """

    def __init__(self, node, monkeypatch, kept):
        self.node, self.kept = node, kept
        self.count, self.at, self.on, self.looks = 0, -1, True, False
        rename, segments = Path.rename, TreeWriter.segments
        node.volumes.run.before = self.command
        monkeypatch.setattr(Path, "rename", self.counted(rename))
        monkeypatch.setattr(TreeWriter, "segments", self.counted(segments, every=40))

    def counted(self, function, every=1):
        calls = 0

        def call(*args):
            nonlocal calls
            calls += 1
            if calls % every == 0:
                self.tick()
            return function(*args)

        return call

    def command(self, words):
        if words[0] == "rm":
            # In the middle of it, too.
            self.tick()
            if self.on:
                shutil.rmtree(Path(words[-1]) / "usr")
        if words[0] == "mount":
            self.looks = "ro,noload" in words
        if words[0] not in CHANGING or (self.looks and words[0] in ("mount", "umount")):
            return
        try:
            self.tick()
        except PowerCut:
            if words[0] == "umount":
                # What runs the tests shall not keep it.
                Runner()(words)
            raise

    def tick(self):
        if not self.on:
            return
        if self.count == self.at:
            self.on = False
            self.node.copy(self.kept)
            raise PowerCut
        self.count += 1

    def cut_at(self, instant):
        """Reinstall with a cut; return whether there was one."""
        self.count, self.at, self.on = 0, instant, True
        try:
            self.node.install("run2")
        except PowerCut:
            return True
        finally:
            self.on = False
        return False


def assert_nothing_half_made_is_marked(node, old):
    """Where the mark of the former installation is, all of it is."""
    try:
        with mounted(Runner(), node.volumes.devices["root"], fstype="ext4") as root:
            if (root / mark.PATH).exists():
                assert json.loads((root / mark.PATH).read_text())["run_id"] == "run1"
                assert image_of(root).keys() >= old
    except CommandFailed:
        # The file system was being made.
        return


# In parts, so that two workers share them.
@pytest.mark.parametrize("first", range(4))
def test_the_power_is_cut_at_any_instant(node, published, tmp_path, monkeypatch, first):
    node.copy(tmp_path / "installed")
    old = {path for path in image_of(published[0]) if not path.startswith("boot/")}
    power = Power(node, monkeypatch, tmp_path / "cut")
    instants = takewhile(power.cut_at, range(first, 1000, 4))
    for instant in instants:
        node.put_back(tmp_path / "cut")
        assert_nothing_half_made_is_marked(node, old)
        node.forget()
        node.install("run2")
        assert fetched(node) <= 2 * 256 * 1024, (instant, node.told("root.formatted"))
        assert_installed(node, published[0], "run2")
        node.put_back(tmp_path / "installed")
    assert instant > 15
