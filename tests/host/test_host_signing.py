"""Signed images with real programs: the server as a process, its command line, media, HTTP."""

import json
import subprocess
import time

import pytest

from bootserver import state as states
from bootserver.periods import DAY
from bootserver.signing import Signing
from host.events import Events
from host.http import HttpClient, NotAtServer
from hwdetect.media import Candidate
from images.cache import Cache
from images.source import CorruptImage, HttpSource
from images.trust import ImageTrust
from images.trust_errors import ImageNotSigned, MetadataExpired
from images.unpack import install
from steps.read_configuration import ConflictingConfigurations, trusted_root_of
from tests.host.image_server import describe, make_archive, make_tree
from tests.host.server_process import ROOT, Process, bootserver, cli
from wire.messages import ImageRef
from wire.session import NodeKey
from wire.trust import TrustedRoot

pytestmark = pytest.mark.host

KEY = NodeKey(b"k" * 32)


class Site:
    """A server's folder with an image, its root keys elsewhere, and a dongle."""

    def __init__(self, folder):
        self.folder, self.keys, self.dongle = folder / "state", folder / "root", folder / "dongle"
        self.tree, self.archive = folder / "tree", folder / "tree.tar.zst"
        self.passphrase = ("--root-passphrase-file", folder / "passphrase")
        self.manifest = (folder / "manifest").read_text()
        self.ref = ImageRef("base", self.manifest)

    def root(self):
        """Return what a node finds beside its configuration."""
        image = self.folder / "key.img"
        cli(self.folder, "media", "key", "node1", image)
        done = subprocess.run(["mtype", "-i", image, "::root.json"], check=True, capture_output=True)
        return TrustedRoot(done.stdout)

    def trust(self, root):
        return ImageTrust(root, Cache(self.dongle, Events("test")), KEY)

    def root_keys(self, *numbers):
        words = [word for number in numbers for word in ("--root-key", self.keys / f"root-{number}.pem")]
        return (*words, *self.passphrase)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make all of it once: each command is a process, which takes its time on a busy machine."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "dongle").mkdir()
    archive = make_archive(make_tree(folder / "tree", random_mib=5), folder / "tree.tar.zst")
    (folder / "passphrase").write_text("correct horse\n")
    options = ("--root-keys", folder / "root", "--root-passphrase-file", folder / "passphrase")
    cli(folder / "state", "init", "--server", "http://x", *options)
    cli(folder / "state", "node", "add", "node1", "--state", "inst")
    (folder / "manifest").write_text(cli(folder / "state", "image", "publish", "base", archive).split()[1])
    return folder


@pytest.fixture
def site(made, tmp_path):
    subprocess.run(["cp", "-a", f"{made}/.", tmp_path], check=True)
    return Site(tmp_path)


@pytest.fixture
def server(site):
    process = Process(site.folder)
    yield process
    process.end()


def refused(folder, *words):
    line = [*bootserver(folder), *map(str, words)]
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def test_from_the_archive_to_the_tree(site, server, tmp_path):
    http = HttpClient(server.nodes)
    signed = site.trust(site.root()).refresh(http, time.time())
    (tmp_path / "target").mkdir()
    cache = Cache(site.dongle, Events("test"))
    install(signed.vouch(site.ref), tmp_path / "target", HttpSource(HttpClient, server.nodes), cache)
    assert describe(tmp_path / "target") == describe(site.tree)


def test_a_damaged_manifest_at_the_server_is_refused(site, server, tmp_path):
    http = HttpClient(server.nodes)
    signed = site.trust(site.root()).refresh(http, time.time())
    blob = site.folder / "blobs" / site.manifest[:2] / site.manifest
    blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    (tmp_path / "target").mkdir()
    source = HttpSource(HttpClient, server.nodes)
    with pytest.raises(CorruptImage):
        install(signed.vouch(site.ref), tmp_path / "target", source, Cache(None, Events("test")))


def test_another_publication_while_the_server_runs(site, server):
    root, http = site.root(), HttpClient(server.nodes)
    site.trust(root).refresh(http, time.time())
    (site.tree / "etc/new").write_text("new")
    cli(site.folder, "image", "publish", "base", make_archive(site.tree, site.archive))
    with pytest.raises(ImageNotSigned):
        site.trust(root).refresh(http, time.time()).vouch(site.ref)


def test_the_root_keys_are_apart_and_sealed(site):
    files = sorted(site.keys.iterdir())
    assert [file.name for file in files] == ["root-1.pem", "root-2.pem", "root-3.pem"]
    assert site.keys.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert all(b"ENCRYPTED PRIVATE KEY" in file.read_bytes() for file in files)
    for path in site.folder.rglob("*"):
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes(), path


def test_an_online_key_is_rotated_while_the_server_runs(site, server):
    root, http, role = site.root(), HttpClient(server.nodes), "timestamp"
    site.trust(root).refresh(http, time.time())
    before = {row["role"]: row for row in listed(site)}
    assert "threshold-not-met" in refused(site.folder, "keys", "rotate", role, *site.root_keys(2))
    cli(site.folder, "keys", "rotate", role, *site.root_keys(2, 3))
    after = {row["role"]: row for row in listed(site)}
    assert [name for name in before if before[name]["keys"] != after[name]["keys"]] == [role]
    assert site.trust(root).refresh(http, time.time()).vouch(site.ref)
    cli(site.folder, "keys", "expiry", "--offline", "7")
    assert site.trust(root).refresh(http, time.time()).vouch(site.ref)


def listed(site):
    return json.loads(cli(site.folder, "keys", "list", "--format", "json"))


def test_root_keys_are_rotated(site, server, tmp_path):
    root, http = site.root(), HttpClient(server.nodes)
    words = ("keys", "rotate", "root", "--new-keys", tmp_path / "new", "--root-key-count", "2")
    assert "threshold-not-met" in refused(site.folder, *words, *site.root_keys(1))
    cli(site.folder, *words[:-3], tmp_path / "newer", *words[-2:], *site.root_keys(1, 2))
    assert "threshold-not-met" in refused(site.folder, "keys", "renew", *site.root_keys(1, 2))
    site.keys = tmp_path / "newer"
    cli(site.folder, "keys", "renew", *site.root_keys(1, 2))
    assert site.trust(root).refresh(http, time.time()).vouch(site.ref)


def test_a_wrong_passphrase_is_said_and_nothing_quoted(site, tmp_path):
    (tmp_path / "wrong").write_text("battery staple\n")
    keys = [*site.root_keys(1, 2)[:-1], tmp_path / "wrong"]
    said = refused(site.folder, "keys", "renew", *keys)
    assert "bad-signing-key" in said
    assert "battery" not in said


def test_a_server_that_was_off_renews_when_it_is_back(site):
    state = states.open_state(site.folder)
    with state.database.write() as session:
        before = time.time() - 30 * DAY
        Signing(state.metadata, session, state.master, now=before).sign_again(
            ["targets", "snapshot", "timestamp"]
        )
    state.database.close()
    root, server = site.root(), Process(site.folder)
    try:
        http = HttpClient(server.nodes)
        deadline = time.monotonic() + 60
        while True:
            try:
                assert site.trust(root).refresh(http, time.time()).vouch(site.ref)
                break
            except MetadataExpired:
                assert time.monotonic() < deadline, "not renewed"
                time.sleep(0.1)
    finally:
        server.end()


def test_only_metadata_are_served(site, server):
    http = HttpClient(server.nodes)
    for name in ("..%2fmaster.key", "%2e%2e/bootserver.db", "../master.key", "9.root.json"):
        with pytest.raises(NotAtServer):
            http.get(f"/tuf/metadata/{name}", limit=100_000)


def test_the_boot_mediums_root_counts_before_the_key_mediums(site, tmp_path):
    (tmp_path / "iso/live").mkdir(parents=True)
    (tmp_path / "iso/live/20-project.squashfs").write_text("x")
    made = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "BMBOOT", "-R", "-o", tmp_path / "boot.iso"]
    subprocess.run([*made, tmp_path / "iso"], check=True, capture_output=True)
    cli(site.folder, "media", "make", tmp_path / "boot.iso", tmp_path / "ours.iso")
    assert "cannot-write-medium" in refused(
        site.folder, "media", "make", tmp_path / "ours.iso", tmp_path / "ours.iso"
    )
    layer = "/live/30-deployment.squashfs"
    take = ["-osirrox", "on", "-indev", tmp_path / "ours.iso", "-extract", layer, tmp_path / "layer"]
    subprocess.run(["xorriso", *take], check=True, capture_output=True)
    unpacked = ["unsquashfs", "-no-progress", "-d", tmp_path / "opened", tmp_path / "layer"]
    subprocess.run(unpacked, check=True, capture_output=True)
    assert (tmp_path / "opened").stat().st_mode & 0o777 == 0o755
    place = tmp_path / "opened/usr/share/bootmanager/root.json"
    assert place.read_bytes() == (site.folder / "metadata/1.root.json").read_bytes()
    other = (Candidate("/dev/sda", "/dev/sda", "plnode.txt", "", b"other"),)
    assert trusted_root_of(other, place).data == place.read_bytes()
    assert trusted_root_of(other, tmp_path / "none").data == b"other"


def test_two_key_media_with_different_roots_are_refused(tmp_path):
    both = tuple(Candidate(f"/dev/{name}", "", "plnode.txt", "", name.encode()) for name in ("sda", "sdb"))
    with pytest.raises(ConflictingConfigurations, match=r"/dev/sda:plnode\.txt and /dev/sdb"):
        trusted_root_of(both, tmp_path / "none")
    assert trusted_root_of((), tmp_path / "none").data == b""
