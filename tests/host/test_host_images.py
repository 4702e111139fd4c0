"""Images with real programs: tar, zstd, HTTP on the loopback, an ext4 dongle, a process that is killed."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest
from urllib3.util import Retry

from host.events import Events
from host.http import HttpClient, NotAtServer, ServerUnreachable
from host.run import CommandFailed, Runner
from images import fetch
from images.cache import Cache
from images.fetch import CorruptImage, Transfer
from images.make import NotAnImage, add_layers
from images.manifest import Layer, Manifest, SignedImage, sha256
from images.store import BlobStore
from images.tree import empty
from images.unpack import TargetFull, install, unpack
from tests.host.image_server import describe, ext4, make_archive, make_tree, serving

pytestmark = pytest.mark.host

RUN = Runner()
RANDOM_MIB = 18


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tree of some twenty MiB, published: (tree, store, manifest)."""
    folder = tmp_path_factory.mktemp("published")
    tree = make_tree(folder / "tree", random_mib=RANDOM_MIB)
    store = BlobStore(folder / "store")
    manifest = add_layers("base", [make_archive(tree, folder / "tree.tar.zst")], store, RUN)
    return tree, store, manifest


@pytest.fixture
def heard():
    return []


@pytest.fixture
def events(heard):
    return Events("test", (lambda event: heard.append((event.event, event.data)),))


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def put_in(server, manifest, target, cache, on_progress=lambda fraction, text: None):
    signed = SignedImage(manifest.name, manifest.digest, len(manifest.to_bytes()))
    return install(signed, target, HttpClient(server.url), cache, RUN, on_progress)


def whole(manifest):
    return manifest.size + len(manifest.to_bytes())


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
    assert heard == []


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
        assert server.served == [torn.sha256, damaged.sha256]
        assert transfer.network_bytes == torn.size + damaged.size
        assert [data for name, data in heard if name == "cache.corrupt"] == [
            {"sha256": torn.sha256},
            {"sha256": damaged.sha256},
        ]
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
    assert [name for name, _ in heard] == ["cache.full"]


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
    assert [name for name, _ in heard] == ["cache.read_only"]


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
    monkeypatch.setattr(fetch, "PATIENT", Retry(total=2))
    with serving(store) as server:
        server.hiccups = 3
        with pytest.raises(ServerUnreachable):
            put_in(server, manifest, target, Cache(None, events))
        assert server.hiccups == 0


def test_an_image_that_cannot_fit_writes_nothing(published, tmp_path, events):
    _, store, manifest = published
    with ext4(tmp_path, 16) as small, serving(store) as server:
        with pytest.raises(TargetFull, match="needs"):
            put_in(server, manifest, small, Cache(None, events))
        assert [path.name for path in small.iterdir()] == ["lost+found"]


def test_a_target_that_fills_up(published, tmp_path, events):
    _, store, manifest = published
    sly = Manifest("sly", tuple(Layer(layer.blobs, 0) for layer in manifest.layers))
    with ext4(tmp_path, 16) as small, serving(store) as server:
        source = fetch.HttpSource(HttpClient(server.url))
        with pytest.raises(TargetFull, match="no space left"):
            unpack(sly, small, source, Cache(None, events), RUN)


def test_layers_lie_over_one_another(tmp_path, target, events):
    below = make_tree(tmp_path / "below")
    above = tmp_path / "above"
    (above / "lib/systemd").mkdir(parents=True)
    (above / "lib/systemd/unit").write_text("unit")
    (above / "etc").mkdir()
    (above / "etc/secret").write_text("other")
    store = BlobStore(tmp_path / "store")
    archives = [make_archive(root, root.with_suffix(".tar.zst")) for root in (below, above)]
    manifest = add_layers("layered", archives, store, RUN)
    with serving(store) as server:
        put_in(server, manifest, target, Cache(None, events))
    assert (target / "lib").is_symlink()
    assert (target / "usr/lib/systemd/unit").read_text() == "unit"
    assert (target / "etc/secret").read_text() == "other"
    assert (target / "usr/bin/program").exists()


@pytest.mark.parametrize("name", ["../escaped", "/{}/escaped"])
def test_members_do_not_escape(tmp_path, target, events, name):
    plain = tmp_path / "evil.tar"
    with tarfile.open(plain, "w") as archive:
        member = tarfile.TarInfo(name.format(tmp_path))
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    subprocess.run(["zstd", "-q", str(plain)], check=True)
    store = BlobStore(tmp_path / "store")
    manifest = add_layers("evil", [Path(f"{plain}.zst")], store, RUN)
    with serving(store) as server:
        try:
            put_in(server, manifest, target, Cache(None, events))
        except CommandFailed:
            assert name.startswith("..")
        else:
            assert (target / str(tmp_path)[1:] / "escaped").exists()
    assert not (tmp_path / "escaped").exists()


def test_publishing_is_deterministic_and_refuses_damage(published, tmp_path):
    tree, store, manifest = published
    archive = make_archive(tree, tmp_path / "again.tar.zst")
    again = add_layers("base", [archive], BlobStore(tmp_path / "store"), RUN)
    assert again == manifest
    assert manifest.unpacked_bytes >= RANDOM_MIB * 1024 * 1024
    os.truncate(archive, archive.stat().st_size - 100)
    with pytest.raises(NotAnImage):
        add_layers("base", [archive], store, RUN)
    archive.write_bytes(b"no archive at all")
    with pytest.raises(NotAnImage):
        add_layers("base", [archive], store, RUN)
    with pytest.raises(NotAnImage):
        add_layers("No Name", [archive], store, RUN)


FETCHER = textwrap.dedent("""
    import json
    import sys
    from pathlib import Path
    from host.events import Events
    from host.http import HttpClient
    from images.cache import Cache
    from images.fetch import HttpSource
    from images.manifest import Blob, SignedImage
    from images.unpack import load_manifest, prefetch
    url, folder, budget, *digests = sys.argv[1:]
    cache = Cache(Path(folder), Events("test"), budget_bytes=int(budget))
    source = HttpSource(HttpClient(url))
    print("ready", flush=True)
    for digest in digests:
        raw = source.get(digest, 2**20)
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
    common = manifest.blobs[0]
    found = []
    for number, blob in enumerate(manifest.blobs[1:4]):
        image = Manifest(f"image{number}", (Layer((common, blob), 1),))
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
