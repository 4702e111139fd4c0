"""A tree compared with its image: nothing is otherwise as it was laid, and each thing that is, is said."""

import os
import shutil

import pytest

from host.events import Events
from host.http import HttpClient
from host.mounts import mounted
from host.run import Runner
from images.cache import Cache
from images.fetch import Supply
from images.source import HttpSource
from images.store import BlobStore
from images.unpack import unpack
from images.verify import Deviation, deviations
from tests.host.image_server import ext4, make_tree, publish_tree, serving

pytestmark = pytest.mark.host


@pytest.fixture
def laid(tmp_path):
    """A tree on ext4 as it was laid, and a way to compare it."""
    tree, store = make_tree(tmp_path / "tree", random_mib=1), BlobStore(tmp_path / "store")
    with (tree / "sparse").open("wb") as file:
        file.seek(1024 * 1024)
        file.write(b"end")
    manifest = publish_tree("base", tree, store)
    with serving(store) as server, ext4(tmp_path, 32) as target:
        source, cache = HttpSource(HttpClient, server.url), Cache(None, Events("test"))
        unpack(manifest, target, source, cache)

        def compare():
            with Supply(source, cache) as supply:
                return list(deviations(manifest, target, supply))

        yield target, compare


def test_nothing_is_otherwise(laid):
    _, compare = laid
    assert compare() == []


def secret(target):
    return target / "etc/secret"


CHANGES = {
    "content": lambda target: _keeping_time(target / "usr/bin/program", b"#!/bin/SH\n"),
    "size": lambda target: _keeping_time(target / "usr/lib/0", b"short"),
    "mode": lambda target: secret(target).chmod(0o644),
    "uid": lambda target: os.chown(secret(target), 1, -1),
    "gid": lambda target: os.chown(secret(target), -1, 1),
    "mtime_ns": lambda target: os.utime(secret(target), ns=(0, 1)),
    "xattrs": lambda target: os.setxattr(secret(target), "user.more", b"x"),
    "target": lambda target: _linked(target / "lib", "usr/bin"),
    "device": lambda target: _device(target / "usr/null"),
    "kind": lambda target: _folder(target / "usr/pipe"),
    "missing": lambda target: secret(target).unlink(),
}


def _keeping_time(path, content):
    before = path.stat()
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    path.write_bytes(content)
    for name, value in xattrs.items():
        os.setxattr(path, name, value)
    path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _linked(path, to):
    before = path.lstat()
    path.unlink()
    path.symlink_to(to)
    os.utime(path, ns=(0, before.st_mtime_ns), follow_symlinks=False)


def _device(path):
    before = path.lstat()
    path.unlink()
    os.mknod(path, before.st_mode, os.makedev(1, 5))
    path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(0, before.st_mtime_ns))


def _folder(path):
    before = path.lstat()
    path.unlink()
    path.mkdir()
    path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(0, before.st_mtime_ns))


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_otherwise_is_said(laid, what):
    target, compare = laid
    CHANGES[what](target)
    found = compare()
    assert len(found) == 1, found
    assert what in found[0].what
    assert set(found[0].what) <= {what, "mtime_ns"}


def test_a_hard_link_that_became_a_file_of_its_own(laid):
    target, compare = laid
    shutil.copy2(target / "usr/bin/hard", target / "usr/bin/copy")
    (target / "usr/bin/copy").rename(target / "usr/bin/hard")
    assert Deviation("usr/bin/program", ("target",)) in compare()


def test_what_is_there_besides_does_not_matter(laid):
    target, compare = laid
    (target / "etc/more").write_text("x")
    assert compare() == []


def test_a_folder_under_a_mount_is_not_judged(laid):
    target, compare = laid
    with mounted(Runner(), "none", target / "tmp", fstype="tmpfs"):
        (target / "tmp").chmod(0o700)
        assert compare() == []
