"""The node's own services and files on a real systemd."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Action, Backend, Verb
from configmanager.backends.commands import NodeCommandFailed, run_command
from configmanager.backends.conf_files import ConfFiles
from configmanager.backends.health import ServiceUnhealthy
from configmanager.backends.services import ServiceFailed, ServicePutBack, Services
from host.run import Runner
from images.make import make_image
from images.manifest import Manifest
from images.sources.folder import FolderSource
from images.store import BlobStore
from tests.guest.conftest import STORE, make_guest
from wire.conf_files import ConfFile, encode
from wire.messages import ImageRef
from wire.slivers import NodeService, NodeSlivers

UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
WANTED = NodeSlivers(1, 1, "guest", services=(NodeService("beacon", UNIT),))
NOTHING = replace(WANTED, services=())
FILE = ConfFile("/etc/beacon/beacon.conf", encode(b"well\n"), service="beacon")
# Healthy with the file as it is above, and no other.
CHECK = "grep -q '^well$' /etc/beacon/beacon.conf && systemctl is-active bm-beacon.service"


def converge(backend: Backend, wanted: NodeSlivers) -> list[Action]:
    """Do what is planned, and see that nothing is left to do."""
    actions = apply(backend, wanted)
    assert backend.plan(wanted, backend.observe()) == ()
    return actions


def apply(backend: Backend, wanted: NodeSlivers) -> list[Action]:
    actions = backend.plan(wanted, backend.observe())
    for action in actions:
        backend.apply(wanted, action)
    return list(actions)


def active(unit: str) -> str:
    return subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True).stdout.strip()


@pytest.fixture
def services(bare):
    backend = Services(bare)
    yield backend
    converge(backend, NOTHING)
    assert not list(Path("/etc/systemd/system").rglob("bm-*"))
    assert not list(Path("/var/lib/configmanager/layers").glob("*"))


@pytest.fixture
def files(bare):
    backend = ConfFiles(bare)
    yield backend
    converge(backend, NOTHING)


def test_a_service_runs_is_changed_and_goes_without_a_trace(services):
    assert [action.verb for action in converge(services, WANTED)] == [Verb.CREATE]
    assert active("bm-beacon.service") == "active"
    changed = replace(WANTED, services=(NodeService("beacon", UNIT.replace("infinity", "1000000")),))
    assert [action.verb for action in converge(services, changed)] == [Verb.CHANGE]
    assert "1000000" in subprocess.run(["pgrep", "-a", "sleep"], capture_output=True, text=True).stdout
    converge(services, NOTHING)
    assert active("bm-beacon.service") == "inactive"
    assert not list(Path("/etc/systemd/system").rglob("bm-beacon*"))


def test_a_service_that_was_killed_is_started_again(services):
    converge(services, WANTED)
    subprocess.run(["systemctl", "kill", "--signal=KILL", "bm-beacon.service"], check=True)
    assert [action.verb for action in converge(services, WANTED)] == [Verb.START]


def test_a_service_that_cannot_start_is_named_with_its_last_words(services):
    broken = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no luck >&2; exit 3'\n"
    wanted = replace(WANTED, services=(NodeService("broken", broken),))
    (action,) = services.plan(wanted, services.observe())
    with pytest.raises(ServiceFailed, match="no luck"):
        services.apply(wanted, action)


def checked(unit: str = UNIT, content: bytes = b"well\n") -> NodeSlivers:
    return replace(
        WANTED,
        services=(NodeService("beacon", unit, health=CHECK, health_seconds=20),),
        conf_files=(replace(FILE, content=encode(content)),),
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (checked(content=b"ill\n"), "not healthy in 20 s"),
        (checked(UNIT.replace("/usr/bin/sleep infinity", "/bin/sh -c 'echo no luck; exit 3'")), "no luck"),
        (checked(UNIT.replace("[Service]", "[Service]\nType=notify\nTimeoutStartSec=3")), "beacon"),
    ],
    ids=["its file", "its unit ends", "its unit does not start"],
)
def test_a_change_that_is_not_healthy_is_taken_back(services, told, wanted, said):
    converge(services, checked())
    with pytest.raises(ServicePutBack, match=said):
        apply(services, wanted)
    assert Path("/etc/systemd/system/bm-beacon.service").read_text() == UNIT
    assert Path("/etc/beacon/beacon.conf").read_text() == "well\n"
    assert active("bm-beacon.service") == "active"
    assert "service.restored" in [event.event for event in told]
    since = process_of("bm-beacon.service")
    with pytest.raises(ServicePutBack, match=said):
        apply(services, wanted)
    assert process_of("bm-beacon.service") == since, "the bad version is not tried again"
    assert [action.verb for action in converge(services, checked())] == [Verb.CHANGE]
    assert process_of("bm-beacon.service") == since


def process_of(unit: str) -> int:
    words = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def test_a_first_version_that_is_not_healthy_is_told(services):
    with pytest.raises(ServiceUnhealthy, match="not healthy in 20 s"):
        apply(services, checked(content=b"ill\n"))
    assert [action.verb for action in converge(services, checked())] == [Verb.CREATE]


def test_a_manager_that_is_killed_amid_a_judgement_ends_in_one_of_the_two(services):
    converge(services, checked())
    code = (
        "import os, signal\n"
        "from configmanager.backends import services\n"
        "from configmanager.backends.base import Node\n"
        "from host.events import Events\n"
        "from host.run import Runner\n"
        "from tests.guest.test_guest_services import apply, checked\n"
        "services.wait_healthy = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "node = Node(Runner(), Events('killed'), lambda *_: None)\n"
        "apply(services.Services(node), checked(content=b'ill\\n'))\n"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=here, timeout=300)
    assert done.returncode == -9
    assert Path("/etc/beacon/beacon.conf").read_text() == "ill\n"
    with pytest.raises(ServicePutBack, match="not healthy"):
        apply(services, checked(content=b"ill\n"))
    assert Path("/etc/beacon/beacon.conf").read_text() == "well\n"
    assert active("bm-beacon.service") == "active"
    converge(services, checked())


def overlay(name: str, folder: Path, text: str) -> Manifest:
    """Make an image of a folder with a program and a replaced file."""
    (folder / "usr/local/bin").mkdir(parents=True)
    (folder / "usr/local/bin/beacon").write_text(f"#!/bin/sh\necho {text}\nexec sleep infinity\n")
    (folder / "usr/local/bin/beacon").chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc/issue.net").write_text(f"{text}\n")
    STORE.mkdir(exist_ok=True)
    return make_image(name, FolderSource(folder), BlobStore(STORE))


def test_an_overlay_is_laid_over_the_node_exchanged_put_back_and_removed(tmp_path):
    good, better, bad = (overlay("beacon", tmp_path / text, text) for text in ("good", "better", "bad"))
    guest = make_guest(good)
    backend = Services(guest.node)
    before = Path("/etc/issue.net").stat()
    service = NodeService(
        "beacon",
        UNIT.replace("/usr/bin/sleep infinity", "/usr/local/bin/beacon"),
        overlay="beacon",
        health="! grep -q bad /etc/issue.net",
        health_seconds=5,
    )

    def wanted(image: Manifest) -> NodeSlivers:
        return replace(WANTED, services=(service,), images=(ImageRef(image.name, image.digest),))

    program = Path("/usr/local/bin/beacon")
    try:
        converge(backend, wanted(good))
        assert (program.stat().st_mode & 0o7777, Path("/etc/issue.net").read_text()) == (0o755, "good\n")
        assert active("bm-beacon.service") == "active"
        converge(backend, wanted(better))
        assert "echo better" in program.read_text()
        with pytest.raises(ServicePutBack, match="not healthy in 5 s"):
            apply(backend, wanted(bad))
        assert "echo better" in program.read_text()
        assert Path("/etc/issue.net").read_text() == "better\n"
        assert active("bm-beacon.service") == "active"
    finally:
        converge(backend, NOTHING)
    assert not program.exists()
    after = Path("/etc/issue.net").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)
    assert not list(Path("/var/lib/configmanager/overlays/trees").iterdir())


def test_a_files_commands_come_before_and_after_it(files, tmp_path):
    notes = tmp_path / "notes"
    file = ConfFile(
        "/etc/motd",
        encode(b"hello\n"),
        file_permissions="0640",
        file_group="mail",
        preinstall_cmd=f"cat /etc/motd >> {notes}",
        postinstall_cmd=f"cat /etc/motd >> {notes}; echo $PPID > {notes}.ppid",
    )
    before = Path("/etc/motd").read_text()
    wanted = replace(NOTHING, conf_files=(file,))
    assert [action.verb for action in converge(files, wanted)] == [Verb.CREATE]
    assert notes.read_text() == before + "hello\n"
    assert Path(f"{notes}.ppid").read_text() == "1\n", "systemd runs it, in a unit of its own"
    there = Path("/etc/motd").stat()
    assert (there.st_mode & 0o7777, there.st_gid) == (0o640, 8)
    converge(files, NOTHING)
    assert Path("/etc/motd").read_text() == before


def test_a_command_that_fails_is_told_with_its_words(files, tmp_path):
    before = Path("/etc/motd").read_text()
    file = ConfFile(
        "/etc/motd",
        encode(b"hello\n"),
        preinstall_cmd="echo no luck; exit 7",
        error_cmd=f"touch {tmp_path}/failed",
    )
    with pytest.raises(NodeCommandFailed, match="no luck"):
        apply(files, replace(NOTHING, conf_files=(file,)))
    assert (tmp_path / "failed").exists()
    assert Path("/etc/motd").read_text() == before


def test_a_command_that_hangs_ends_with_all_that_it_began():
    with pytest.raises(NodeCommandFailed):
        run_command(Runner(), "configmanager-test.service", "sleep 9753 & sleep 9753", seconds=2)
    assert subprocess.run(["pgrep", "-f", "sleep 9753"], capture_output=True).returncode == 1


def test_a_command_may_hold_what_systemd_would_expand(tmp_path):
    text = f"x='a  b'; echo \"$x ${{x}} %n %% $$\" | grep -q 'a  b a  b %n %% [0-9]' && touch {tmp_path}/done"
    run_command(Runner(), "configmanager-test.service", text)
    assert (tmp_path / "done").exists()


def test_words_without_end_do_not_fill_the_memory():
    with pytest.raises(NodeCommandFailed):
        run_command(Runner(), "configmanager-test.service", "yes", seconds=3)
