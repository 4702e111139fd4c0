"""The API on a real system: delegates by ssh, slivers by their socket, figures of a real control group."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.api.sensors import Sensors
from configmanager.api.server import SOCKET, ApiServer, Doors
from configmanager.backends.base import Node
from configmanager.backends.delegates import Delegates, delegates_of
from configmanager.backends.units import sliver_slice
from configmanager.slots import Slots
from host.run import Runner
from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import SliverGuest, nothing_left
from tests.guest.waiting import eventually
from tests.unit.node_api import SAID, FakeNode
from wire.slivers import Account
from wire.xmlrpc import Fault, dump_call, load_reply

DECISIONS = Path("/var/lib/configmanager/decisions.json")
# Every image has perl's base; not every one has a client of HTTP.
FROM_INSIDE = r"""perl -MSocket -e '
socket(my $door, AF_UNIX, SOCK_STREAM, 0); connect($door, pack_sockaddr_un("/run/node-api/socket")) or die $!;
my $body = "<methodCall><methodName>GetRSpec</methodName><params><param><value><string>$ARGV[0]</string>"
    . "</value></param></params></methodCall>";
syswrite($door, "POST / HTTP/1.0\r\nContent-Length: " . length($body) . "\r\n\r\n" . $body);
local $/; my $said = <$door>; $said =~ s/.*?\r\n\r\n//s; print $said' """


@pytest.fixture(scope="module")
def api(node_system: None) -> Iterator[FakeNode]:
    """The API over a word of the server's, at its real places."""
    node = FakeNode(Path("/"))
    server = ApiServer(Doors(node.answers.answer, node.side.caller, Sensors(Runner()).text))
    server.start()
    yield node
    server.close()
    SOCKET.unlink()
    DECISIONS.unlink(missing_ok=True)


@pytest.fixture
def delegate(api: FakeNode, bare: Node, slice_key: Path) -> Iterator[Delegates]:
    """A delegate whom the slice `left` names."""
    backend = Delegates(bare)
    someone = Account("someone", (Path(f"{slice_key}.pub").read_text().strip(),), "delegate")
    converge(backend, someone)
    yield backend
    converge(backend)
    assert delegates_of(Path("/")) == {}


def converge(backend: Delegates, *accounts: Account) -> None:
    wanted = replace(SAID, accounts=accounts)
    for action in backend.plan(wanted, backend.observe()):
        backend.apply(wanted, action)
    assert backend.plan(wanted, backend.observe()) == ()


def ssh(key: Path, *words: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    line = ["ssh", "-i", str(key), *(word for option in options for word in ("-o", option))]
    before = [word for word in words if word.startswith("-")]
    after = [word for word in words if not word.startswith("-")]
    return subprocess.run(
        [*line, *before, "someone@127.0.0.1", *after], input=said, capture_output=True, timeout=180
    )


def test_a_delegate_calls_by_ssh(delegate, api, slice_key):
    assert b"GetEffectiveRSpec(sliver_name)" in ssh(slice_key, "Help").stdout
    assert json.loads(ssh(slice_key, "GetRSpec left").stdout)["cpu_share"] == 32
    assert ssh(slice_key, 'SetLoans left \'[["other", "cpu_share", 1]]\'').returncode == 0
    assert json.loads(ssh(slice_key, "GetLoans left").stdout) == [["other", "cpu_share", 1]]
    refused = ssh(slice_key, "GetRSpec mine")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"[108]" in refused.stderr
    said = ssh(slice_key, said=dump_call("GetLoans", ["left"])).stdout
    assert load_reply(said) == [["other", "cpu_share", 1]]
    assert api.told[-1].data["caller"] == "delegate someone"


@pytest.mark.slow
def test_a_delegates_account_makes_calls_and_nothing_else(delegate, slice_key):
    for command in ("cat /etc/passwd", "sh -c id", "Help; id", "$(id)", "`id`", "-c id"):
        done = ssh(slice_key, command)
        assert done.returncode != 0, command
        assert b"root:" not in done.stdout, command
        assert b"uid=" not in done.stdout + done.stderr, command
    # A shell is none: what is typed is taken for a body.
    done = ssh(slice_key, said=b"id\n")
    assert b"uid=" not in done.stdout
    with pytest.raises(Fault):
        load_reply(done.stdout)
    assert ssh(slice_key, "-tt", said=b"id\n").stdout.count(b"uid=") == 0
    assert ssh(slice_key, "-W127.0.0.1:22").returncode != 0
    assert ssh(slice_key, "-oExitOnForwardFailure=yes", "-R9999:127.0.0.1:22", "Help").returncode != 0
    assert b"SSH" not in ssh(slice_key, "-s", "sftp").stdout


def test_without_the_account_nobody_calls(delegate, slice_key):
    converge(delegate)
    assert ssh(slice_key, "Help").returncode == 255
    assert "someone" not in Path("/etc/passwd").read_text()
    assert not Path("/etc/ssh/delegates/someone").exists()


@pytest.mark.slow
def test_figures_of_a_real_slice(api):
    slot = Slots().take("demo_one", "test")
    name = sliver_slice("demo-one")
    work = "head -c 30M /dev/zero > /dev/shm/figures; while :; do :; done"
    settings = [f"--property={each}=yes" for each in ("CPUAccounting", "MemoryAccounting", "TasksAccounting")]
    run("ip", "link", "add", slot.interface, "type", "veth", "peer", "name", "figures0")
    run("systemd-run", "--quiet", f"--slice={name}", "--unit=figures", *settings, "--", "sh", "-c", work)
    try:
        eventually(lambda: figures().get("sliver_memory_bytes", 0) > 30e6, what="memory in use")
        seen = figures()
        assert seen["sliver_processes"] >= 1
        assert seen["sliver_network_sent_bytes_total"] == 0
        eventually(
            lambda: figures()["sliver_cpu_seconds_total"] > seen["sliver_cpu_seconds_total"] + 0.1,
            what="processor time",
        )
    finally:
        run("systemctl", "stop", "figures.service", ok=False)
        run("systemctl", "stop", name, ok=False)
        run("ip", "link", "delete", slot.interface)
        Path("/dev/shm/figures").unlink(missing_ok=True)
        Slots().release("demo_one", "test")
    assert figures() == {}


def figures() -> dict[str, float]:
    text = urllib.request.urlopen("http://127.0.0.1:812/metrics", timeout=60).read().decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    assert all(name.endswith('{sliver="demo_one"}') for name, _, _ in lines)
    return {name.partition("{")[0]: float(value) for name, _, value in lines}


@pytest.mark.slow
def test_a_sliver_calls_for_itself_and_for_no_other(guest: Guest, api: FakeNode, slice_key: Path):
    with nothing_left():
        node = SliverGuest(guest, slice_key)
        sliver = node.sliver("mine")
        node.converge(sliver)
        assert load_reply(node.inside("mine", FROM_INSIDE + "mine").encode())["cpu_share"] == 100
        with pytest.raises(Fault, match="108"):
            load_reply(node.inside("mine", FROM_INSIDE + "other").encode())
        # Also by a user of the sliver without rights, who could not write there.
        asked = node.ssh("mine", FROM_INSIDE + "mine")
        assert load_reply(asked.stdout.encode())["cpu_share"] == 100
        assert node.ssh("mine", "touch /run/node-api/x; rm /run/node-api/socket").returncode != 0
        assert SOCKET.exists()
        node.converge()
