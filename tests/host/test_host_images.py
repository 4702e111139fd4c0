"""Images on real parts: HTTP on the loopback, ext4 for dongle and target, a process that is killed."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from urllib3.util import Retry

from host.http import NotAtServer, ServerUnreachable
from images import source
from images.cache import Cache
from images.entries import Entry, Kind
from images.fetch import Transfer
from images.manifest import ImageKind, Manifest, sha256
from images.source import CorruptImage
from images.sources.base import NotAnImage
from images.sources.folder import FolderSource
from images.store import BlobStore
from images.tree import empty
from images.unpack import TargetFull, unpack
from images.write import CannotWrite, TreeWriter
from tests.host.image_server import ACL, describe, ext4, make_tree, publish_tree, put_in, serving, source_at

pytestmark = pytest.mark.host

RANDOM_MIB = 18


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tree of some twenty MiB, published: (tree, store, manifest)."""
    folder = tmp_path_factory.mktemp("published")
    tree = make_tree(folder / "tree", random_mib=RANDOM_MIB)
    store = BlobStore(folder / "store")
    return tree, store, publish_tree("base", tree, store)


def whole(manifest):
    return manifest.size + len(manifest.to_bytes())


def of_cache(heard):
    """Return the names of what was told of the dongle."""
    return [name for name, _ in heard if name.startswith("cache.")]


def test_the_tree_comes_out_as_it_went_in(published, target, events, heard):
    tree, store, manifest = published
    fractions = []
    with serving(store) as server:
        transfer = put_in(
            server, manifest, target, Cache(None, events), lambda fraction, text: fractions.append(fraction)
        )
    assert describe(target) == describe(tree)
    assert transfer == Transfer(whole(manifest), 0)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert of_cache(heard) == []


def test_a_warm_dongle_needs_no_network(published, target, tmp_path, events):
    tree, store, manifest = published
    with ext4(tmp_path, 64) as medium, serving(store) as server:
        put_in(server, manifest, target, Cache(medium, events))
        empty(target)
        server.served.clear()
        assert put_in(server, manifest, target, Cache(medium, events)) == Transfer(0, whole(manifest))
        assert server.served == []
    assert describe(target) == describe(tree)


def test_a_corrupt_blob_on_the_dongle_is_fetched_again(published, target, tmp_path, events, heard):
    tree, store, manifest = published
    torn, damaged = manifest.blobs[0], manifest.blobs[2]
    with ext4(tmp_path, 64) as medium, serving(store) as server:
        put_in(server, manifest, target, Cache(medium, events))
        os.truncate(medium / "blobs" / torn.sha256, 100)
        with (medium / "blobs" / damaged.sha256).open("r+b") as file:
            file.seek(damaged.size // 2)
            file.write(b"damage")
        empty(target)
        server.served.clear()
        transfer = put_in(server, manifest, target, Cache(medium, events))
        assert sorted(server.served) == sorted([torn.sha256, damaged.sha256])
        assert transfer.network_bytes == torn.size + damaged.size
        told = [data["sha256"] for name, data in heard if name == "cache.corrupt"]
        assert sorted(told) == sorted([torn.sha256, damaged.sha256])
        assert Cache(medium, events).get(torn.sha256, torn.size) is not None
    assert describe(target) == describe(tree)


def test_a_full_dongle(published, target, tmp_path, events, heard):
    tree, store, manifest = published
    with ext4(tmp_path, 16) as medium, serving(store) as server:
        with (medium / "holiday.mp4").open("wb") as film:
            os.posix_fallocate(film.fileno(), 0, 6 * 1024 * 1024)
        put_in(server, manifest, target, Cache(medium, events))
        assert (medium / "holiday.mp4").stat().st_size == 6 * 1024 * 1024
        for path in (medium / "blobs").iterdir():
            assert sha256(path.read_bytes()) == path.name
    assert describe(target) == describe(tree)
    assert of_cache(heard) == ["cache.full"]


def test_a_write_protected_dongle(published, target, tmp_path, events, heard):
    tree, store, manifest = published
    with serving(store) as server:
        with ext4(tmp_path, 64) as medium:
            put_in(server, manifest, target, Cache(medium, events))
            (medium / "blobs" / manifest.blobs[0].sha256).unlink()
        empty(target)
        with ext4(tmp_path, 64, options="loop,ro") as medium:
            transfer = put_in(server, manifest, target, Cache(medium, events))
    assert transfer.network_bytes == manifest.blobs[0].size
    assert describe(target) == describe(tree)
    assert of_cache(heard) == ["cache.read_only"]


def test_a_corrupt_image_at_the_server_is_refused(published, tmp_path, target, events):
    _, store, manifest = published
    other = BlobStore(tmp_path / "store")
    for blob in manifest.blobs:
        other.put(store.get(blob.sha256))
    other.put(manifest.to_bytes())
    bad = other.path(manifest.blobs[-1].sha256)
    raw = bytearray(bad.read_bytes())
    raw[len(raw) // 2] ^= 1
    bad.write_bytes(raw)
    cache = Cache(tmp_path / "dongle", events)
    cache.folder.mkdir()
    with serving(other) as server:
        with pytest.raises(CorruptImage, match=manifest.blobs[-1].sha256):
            put_in(server, manifest, target, cache)
        bad.unlink()
        empty(target)
        with pytest.raises(NotAtServer):
            put_in(server, manifest, target, cache)
    assert not (cache.folder / "blobs" / manifest.blobs[-1].sha256).exists()


def test_a_hiccup_of_the_network_does_not_start_it_over(published, target, events):
    tree, store, manifest = published
    with serving(store) as server:
        server.hiccups = 1
        transfer = put_in(server, manifest, target, Cache(None, events))
    assert transfer == Transfer(whole(manifest), 0)
    assert describe(target) == describe(tree)


def test_a_server_that_stays_away_is_an_error_that_may_pass(published, target, events, monkeypatch):
    _, store, manifest = published
    monkeypatch.setattr(source, "PATIENT", Retry(total=2))
    with serving(store) as server:
        server.hiccups = 1000
        with pytest.raises(ServerUnreachable):
            put_in(server, manifest, target, Cache(None, events))
        assert server.hiccups >= 990, "within bounds"


def test_an_image_that_cannot_fit_writes_nothing(published, tmp_path, events):
    _, store, manifest = published
    with ext4(tmp_path, 16) as small, serving(store) as server:
        with pytest.raises(TargetFull, match="needs"):
            put_in(server, manifest, small, Cache(None, events))
        assert [path.name for path in small.iterdir()] == ["lost+found"]


def test_an_attribute_that_the_file_system_cannot_hold_is_named(tmp_path):
    entry = Entry("f", Kind.FILE, 0o644, 0, 0, 0, (("user.note", bytes(60_000)),))
    said = r"/f: the extended attribute 'user\.note' of 60000 bytes: No space"
    with (
        ext4(tmp_path, 16) as small,
        closing(TreeWriter(small)) as writer,
        pytest.raises(CannotWrite, match=said),
    ):
        writer.frame([entry])


def test_an_error_can_be_said_whatever_the_name(target):
    """On a console, and in a message to the server."""
    entry = Entry(os.fsdecode(b"\xff"), Kind.CHARACTER, 0o644, 0, 0, 0, device=2**63)
    with closing(TreeWriter(target)) as writer, pytest.raises(CannotWrite) as refused:
        writer.frame([entry])
    assert r"/\xff: " in refused.value.detail


def test_the_disk_begins_while_the_rest_is_unpacked(published, tmp_path, events):
    """The kernel by itself leaves what was written in memory for 30 seconds."""
    _, store, manifest = published
    with ext4(tmp_path, 64) as disk, serving(store) as server:
        before = written_bytes(disk)
        put_in(server, manifest, disk, Cache(None, events))
        until = time.monotonic() + 5
        while written_bytes(disk) - before < RANDOM_MIB * 2**20:
            assert time.monotonic() < until
            time.sleep(0.05)


def written_bytes(mounted: Path) -> int:
    """Return what its disk has written since it was there; see the kernel's block/stat.rst."""
    device = mounted.stat().st_dev
    figures = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return int(figures.read_text().split()[6]) * 512


def test_a_target_that_gives_its_group_to_what_is_made_in_it(target):
    os.chown(target, 0, 12345)
    target.chmod(0o2755)
    files = [Entry("0", Kind.FILE, 0o644, 0, 0, 0), Entry("1", Kind.FILE, 0o644, 0, 12345, 0)]
    with closing(TreeWriter(target)) as writer:
        writer.frame([Entry("", Kind.FOLDER, 0o755, 0, 0, 0), *files])
        writer.finish()
    assert [(target / name).stat().st_gid for name in "01"] == [0, 12345]


def test_a_target_that_fills_up(published, tmp_path, events, monkeypatch):
    _, store, manifest = published
    monkeypatch.setattr("images.unpack._check_room", lambda *_: None)
    with (
        ext4(tmp_path, 16) as small,
        serving(store) as server,
        pytest.raises(TargetFull, match="no space left"),
    ):
        unpack(manifest, small, source_at(server), Cache(None, events))


def test_publishing_is_deterministic(published, tmp_path):
    tree, _, manifest = published
    assert publish_tree("base", tree, BlobStore(tmp_path / "store")) == manifest
    assert manifest.data_bytes >= RANDOM_MIB * 1024 * 1024
    with pytest.raises(NotAnImage):
        publish_tree("No Name", tree, BlobStore(tmp_path / "store"))


def test_every_attribute_of_a_tree_comes_back(tmp_path, target, events):
    """Compared by what makes images: ACLs, capabilities, holes, times to the nanosecond."""
    tree, store = make_tree(tmp_path / "tree"), BlobStore(tmp_path / "store")
    with (tree / "sparse").open("wb") as file:
        file.seek(3 * 1024 * 1024)
        file.write(b"end")
        file.truncate(5 * 1024 * 1024)
    (tree / "empty").write_bytes(b"")
    os.setxattr(tree / "etc/secret", "system.posix_acl_access", ACL)
    os.setxattr(tree / "var", "system.posix_acl_default", ACL)
    os.utime(tree / "lib", ns=(-5, -1_000_000_007), follow_symlinks=False)
    (tree / os.fsdecode(b"not utf-8 \xff")).write_text("x")
    manifest = publish_tree("full", tree, store)
    with serving(store) as server:
        put_in(server, manifest, target, Cache(None, events))
    assert {member.entry for member in FolderSource(target).members()} == {
        member.entry for member in FolderSource(tree).members()
    }
    assert describe(target) == describe(tree)
    assert (target / "sparse").stat().st_blocks * 512 < 1024 * 1024


FETCHER = textwrap.dedent("""
    import json
    import sys
    from pathlib import Path
    from host.events import Events
    from host.http import HttpClient
    from images.cache import Cache
    from images.manifest import SignedImage
    from images.source import HttpSource
    from images.unpack import load_manifest, prefetch
    url, folder, budget, *digests = sys.argv[1:]
    cache = Cache(Path(folder), Events("test"), budget_bytes=int(budget))
    source = HttpSource(HttpClient, url)
    print("ready", flush=True)
    for digest in digests:
        raw = HttpClient(url).get(f"/images/blobs/{digest}", limit=2**20)
        signed = SignedImage(json.loads(raw)["name"], digest, len(raw))
        manifest, _ = load_manifest(signed, source, cache)
        prefetch(manifest, source, cache)
""")


def fetcher(server, folder, budget, *digests):
    argv = [sys.executable, "-c", FETCHER, server.url, str(folder), str(budget), *digests]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def several(published):
    """Digests of four manifests in the published store, of one of its blobs each and a common one."""
    _, store, manifest = published
    (piece,) = manifest.pieces
    common, *packs = piece.packs
    found = []
    for number, pack in enumerate(packs[:3]):
        image = Manifest(f"image{number}", ImageKind.DISK, (replace(piece, packs=(common, pack)),), 512)
        found.append(store.put(image.to_bytes()))
    return found


def assert_sound(folder):
    for path in (folder / "blobs").iterdir():
        if not path.name.startswith("."):
            assert sha256(path.read_bytes()) == path.name


def test_two_programs_at_once(published, several, tmp_path):
    _, store, _ = published
    budget = 10 * 1024 * 1024
    with ext4(tmp_path, 64) as medium, serving(store) as server:
        programs = [
            fetcher(server, medium, budget, *digests, *digests)
            for digests in (several, list(reversed(several)))
        ]
        for program in programs:
            program.communicate(timeout=60)
            assert program.returncode == 0
        sizes = [path.stat().st_size for path in (medium / "blobs").iterdir()]
        assert 0 < sum(sizes) <= budget
        assert_sound(medium)


def test_killed_at_any_instant_the_cache_stays_valid(published, several, tmp_path, target, events):
    tree, store, manifest = published
    dice = random.Random(1)
    with ext4(tmp_path, 64) as medium, serving(store) as server:
        for _ in range(8):
            program = fetcher(server, medium, 12 * 1024 * 1024, *several, manifest.digest)
            program.stdout.readline()
            time.sleep(dice.uniform(0, 0.2))
            program.send_signal(signal.SIGKILL)
            program.communicate()
            if (medium / "blobs").exists():
                assert_sound(medium)
        put_in(server, manifest, target, Cache(medium, events))
        assert describe(target) == describe(tree)
        assert_sound(medium)
        assert not [path for path in (medium / "blobs").iterdir() if path.name.startswith(".")]
