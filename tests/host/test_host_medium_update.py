"""A boot medium from its publication to the kernel that is given it, with the power cut and bytes changed."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bootserver.cli import main
from host.console import Console
from host.options import Options
from host.ports import Host
from host.run import CommandFailed, Completed, Runner
from host.server import ServerClient
from hwdetect.media import Media
from images.cache import Cache
from images.medium_trial import Trials
from steps import update_medium as module
from steps.base import Context, Facts
from steps.update_medium import Untouched, UpdateMedium
from tests.host.server_process import ROOT, Process, bootserver, cli, key_file
from wire.medium import Medium
from wire.messages import NodeDetails
from wire.nodeconf import parse
from wire.structure import structure
from wire.trust import BOOT_MEDIUM_ROOT, TrustedRoot

pytestmark = pytest.mark.host

MIB = 2**20
OWN = 1_700_000_000


class Recorder(Runner):
    """Runs what mounts, and keeps what kexec is given; `killed_at` ends the process at that command."""

    def __init__(self):
        self.loaded, self.killed_at = None, ""

    def __call__(self, argv, **how):
        words = [str(word) for word in argv]
        if words[0] == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if words[0] != "kexec":
            return super().__call__(argv, **how)
        ramdisk = next(word.partition("=")[2] for word in words if word.startswith("--initrd="))
        self.loaded = Path(words[-1]).read_bytes(), Path(ramdisk).read_bytes()
        return Completed(tuple(words), 0, "", "", 0.0)


class Node:
    """A node with the medium of OWN plugged in."""

    def __init__(self, configuration, server, folder, events, monkeypatch):
        self.configuration, self.events = configuration, events
        self.dongle = folder / "dongle"
        self.dongle.mkdir()
        self.root = (server.folder / "metadata/1.root.json").read_bytes()
        self.run, self.made = Recorder(), OWN
        monkeypatch.setattr(module, "own_medium", lambda: Medium(self.made, "x"))

    def boot(self, made=OWN):
        """Check in and look for a newer medium; return what kexec was given, None if nothing is to start."""
        self.run.loaded, self.made = None, made
        client = ServerClient.of(self.configuration, "127.0.0.1")
        facts = (
            Media(),
            Untouched(),
            self.configuration,
            structure(client.call("BootGetNodeDetails"), NodeDetails),
            TrustedRoot(self.root),
            Cache(self.dongle, self.events),
            client,
        )
        context = Context(Host(self.run, None, self.events, Console([]), Options()), Facts(facts))
        step = UpdateMedium()
        found = step.observe(context)
        if not found.holds:
            step.run(context)
            found = step.observe(context)
        assert found.holds
        assert bool(found.facts) == (self.run.loaded is not None)
        return self.run.loaded

    def killed_at(self, command):
        """Boot in a process of its own, whose power is cut when it comes to that command."""
        child = os.fork()
        if child == 0:
            try:
                self.run.killed_at = command
                self.boot()
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL

    def trial(self, made):
        return Trials(Cache(self.dongle, self.events), self.configuration.key).of(made)

    def blobs(self):
        return sorted((self.dongle / "blobs").iterdir())


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """A server's folder, and the configuration of its node."""
    folder = tmp_path_factory.mktemp("deployment") / "state"
    cli(folder, "init", "--server", "http://10.0.2.2:8080")
    cli(folder, "node", "add", "node1", "--state", "inst")
    (folder / "tree").mkdir()
    cli(folder, "image", "publish", "base", folder / "tree")
    return folder, parse(key_file(folder), "the key medium")


@pytest.fixture
def server(deployment, tmp_path):
    process = Process(shutil.copytree(deployment[0], tmp_path / "state"))
    yield process
    process.end()


@pytest.fixture
def node(deployment, server, tmp_path, events, monkeypatch):
    return Node(replace(deployment[1], server=server.nodes), server, tmp_path, events, monkeypatch)


@pytest.fixture
def iso(tmp_path):
    """A boot medium's image in small. What it is made of differs in the last layer, and in `kernel`."""
    distribution = os.urandom(20 * MIB)

    def make(made, *, kernel=b"kernel", told=None):
        live = tmp_path / f"iso{made}" / "live"
        live.mkdir(parents=True)
        (live / "vmlinuz").write_bytes(kernel)
        (live / "initrd").write_bytes(b"ramdisk")
        (live / "10-distribution.squashfs").write_bytes(distribution)
        (live / "20-project.squashfs").write_bytes(b"%d" % made * 1000)
        told = json.dumps({"made": made, "of": "x"}) if told is None else told
        if told:
            (live / "medium.json").write_text(told)
        words = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "BMBOOT", "-R", "-o", f"{live.parent}.iso"]
        subprocess.run([*words, live.parent], check=True, capture_output=True)
        return live.parent.with_suffix(".iso")

    return make


def publish(server, iso):
    """Publish beside the running server; a process for each would be most of the time."""
    words = ["--state", server.folder, "media", "publish", iso, "--format", "json"]
    done = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def reasons(heard):
    return [data["code"] for name, data in heard if name == "medium.kept"]


def fetched(heard):
    """The image's bytes that came over the network in the last boot that brought it."""
    moved = [data for name, data in heard if name == "transfer" and data["image"] == "boot-medium"]
    return moved[-1]["network_bytes"]


def test_what_the_kernel_is_given_is_the_published_medium_with_the_deployments_root(
    server, node, iso, tmp_path
):
    publish(server, iso(OWN + 1))
    kernel, ramdisk = node.boot()
    assert kernel == b"kernel"
    assert ramdisk.startswith(b"ramdisk\x00070701")
    (tmp_path / "archive").write_bytes(ramdisk[8:])
    tree = tmp_path / "opened"
    tree.mkdir()
    subprocess.run(["cpio", "-idm", "--quiet", "-D", tree, "-F", tmp_path / "archive"], check=True)
    made = tmp_path / f"iso{OWN + 1}" / "live"
    layers = ["10-distribution.squashfs", "20-project.squashfs", "medium.json"]
    assert sorted(path.name for path in (tree / "live").iterdir()) == sorted(
        [*layers, "30-deployment.squashfs"]
    )
    for name in layers:
        assert (tree / "live" / name).read_bytes() == (made / name).read_bytes()
    words = ["unsquashfs", "-quiet", "-no-progress", "-dest", tmp_path / "layer"]
    subprocess.run([*words, tree / "live/30-deployment.squashfs"], check=True, capture_output=True)
    assert (tmp_path / "layer" / BOOT_MEDIUM_ROOT).read_bytes() == node.root


def test_an_identity_on_the_medium_is_not_published(server, node, iso, tmp_path):
    own = tmp_path / "own.img"
    cli(server.folder, "media", "make", iso(OWN + 1), own, "--node", "node1")
    key = node.configuration.key.to_text().encode()
    assert key in own.read_bytes()
    assert publish(server, own)["made"] == OWN + 1
    assert not any(key in file for file in node.boot())


def test_the_same_again_is_nothing_new_whatever_the_umask(server, iso):
    image = iso(OWN + 1)
    first = publish(server, image)
    assert (first["made"], first["new"]) == (OWN + 1, True)
    before = os.umask(0o077)
    try:
        assert publish(server, image) == {**first, "new": False}
    finally:
        os.umask(before)
    assert f"{first['manifest']} " in cli(server.folder, "media", "publish", image)
    assert list((server.folder / "blobs").glob(".*")) == []


def test_only_what_changed_is_fetched(server, node, iso, heard):
    publish(server, iso(OWN + 1))
    assert node.boot()
    assert fetched(heard) > 20 * MIB
    publish(server, iso(OWN + 2))
    assert node.boot()
    assert 0 < fetched(heard) < 5 * MIB
    node.boot(OWN + 2)
    assert node.boot()
    assert fetched(heard) == 0


def test_a_medium_that_is_older_is_left_alone(server, node, iso, heard):
    publish(server, iso(OWN - 1))
    assert node.boot() is None
    publish(server, iso(OWN))
    assert node.boot() is None
    assert (reasons(heard), (node.dongle / "blobs").exists()) == ([], False)


def test_no_byte_that_somebody_changed_on_the_dongle_is_started(server, node, iso, heard):
    publish(server, iso(OWN + 1))
    whole = node.boot()
    node.boot(OWN + 1)
    for blob in node.blobs():
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)
    assert node.boot() == whole
    assert len([name for name, _ in heard if name == "cache.corrupt"]) >= 5


def test_no_byte_that_somebody_changed_at_the_server_is_started(server, node, iso, heard):
    publish(server, iso(OWN + 1))
    largest = max((server.folder / "blobs").glob("??/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    assert node.boot() is None
    assert reasons(heard) == ["corrupt-image"]
    assert node.trial(OWN + 1).tries == 0


def test_another_deployments_signature_starts_nothing(server, node, iso, heard, tmp_path):
    cli(tmp_path / "other", "init")
    node.root = (tmp_path / "other/metadata/1.root.json").read_bytes()
    publish(server, iso(OWN + 1))
    assert node.boot() is None
    assert reasons(heard) == ["metadata-forged"]


def test_the_power_is_cut_before_the_medium_is_tried(server, node, iso, heard):
    """All of it was brought; nothing has been started."""
    publish(server, iso(OWN + 1))
    node.killed_at("mount")
    assert node.trial(OWN + 1).tries == 0
    assert node.boot()
    assert fetched(heard) == 0


def test_the_power_is_cut_between_note_and_start(server, node, iso, heard):
    publish(server, iso(OWN + 1))
    node.killed_at("kexec")
    unmount_what_is_left()
    assert node.trial(OWN + 1).tries == 1
    assert node.boot() is None
    assert reasons(heard) == ["medium-not-reported"]
    publish(server, iso(OWN + 2))
    assert node.boot()


def unmount_what_is_left():
    """A real power cut takes the memory with it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if "/bm-mount-" in line:
            subprocess.run(["umount", line.split()[1]], check=True)


def test_a_node_that_reports_is_known_by_its_dongle(server, node, iso, heard):
    publish(server, iso(OWN + 1))
    assert node.boot()
    assert node.boot(OWN + 1) is None
    assert ("medium.reported", {"made": OWN + 1}) in heard
    assert node.boot()


def test_a_kernel_that_is_refused_is_told(server, node, iso, heard, monkeypatch):
    def refuse(run, argv, **how):
        if argv[0] == "kexec":
            raise CommandFailed([str(word) for word in argv], 1, "kexec_file_load failed")
        return Runner.__call__(run, argv, **how)

    publish(server, iso(OWN + 1))
    monkeypatch.setattr(Recorder, "__call__", refuse)
    assert node.boot() is None
    assert reasons(heard) == ["command-failed"]
    assert "bm-mount-" not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("told", ["", "{", '{"made": 0, "of": ""}'], ids=["none", "junk", "no time"])
def test_a_medium_that_does_not_say_when_it_was_made_is_not_published(server, iso, told):
    line = [*bootserver(server.folder), "media", "publish", str(iso(OWN, told=told))]
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, "not-boot-medium-image" in done.stderr) == (1, True)
    assert list((server.folder / "blobs").glob(".*")) == []
