"""ssh SLICE@NODE leads into the sliver, as the slice's user, with the slice's keys, and nowhere else."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import SliverGuest, nothing_left
from tests.guest.waiting import eventually
from wire.slivers import SliverKey

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(guest_of_module: Guest, node_system: None, slice_key: Path):
    """All tests here look at one sliver, which takes its time to start."""
    with nothing_left():
        node = SliverGuest(guest_of_module, slice_key)
        node.converge(node.sliver())
        yield node
        node.converge()


def test_the_slices_user_is_in_the_sliver_with_a_shell_and_a_home(node):
    said = node.ssh("demo_one", "id -un; hostname; pwd; echo $HOME $USER $LOGNAME; tty").stdout.split("\n")
    assert said[:4] == ["demo_one", "demo-one", "/home/demo_one", "/home/demo_one demo_one demo_one"]
    assert said[4] == "not a tty"


@pytest.mark.parametrize("status", [0, 7, 255])
def test_the_exit_status_comes_back(node, status):
    assert node.ssh("demo_one", f"exit {status}").returncode == status


def test_what_a_signal_ended_has_not_ended_well(node):
    assert node.ssh("demo_one", "kill -TERM $$").returncode != 0


def test_standard_input_output_and_error_are_apart(node):
    said = node.ssh("demo_one", "cat; echo wrong >&2", stdin="from 'outside' $HOME\n")
    assert (said.stdout, said.stderr) == ("from 'outside' $HOME\n", "wrong\n")


def test_a_file_of_any_bytes_goes_in_and_out_again(node):
    raw = Path("/usr/bin/true").read_bytes()
    line = node.ssh_line("demo_one", "cat > there && cat there")
    done = subprocess.run(line, input=raw, capture_output=True, timeout=120, check=True)
    assert done.stdout == raw


def test_a_terminal_is_one_of_the_slivers_own(node):
    script = "tty; stty size; echo $TERM; id -un; exit 3\n"
    done = node.ssh("demo_one", terminal=True, stdin=script)
    assert done.returncode == 3
    assert "/dev/pts/" in done.stdout
    assert "demo_one" in done.stdout


def test_the_user_becomes_root_of_the_sliver_and_nobody_else_does(node):
    assert node.ssh("demo_one", "su -c 'id -u; touch /root/mine'").stdout == "0\n"
    assert (
        node.inside("demo-one", "setpriv --reuid=42 --clear-groups su -c id < /dev/null 2>&1 || true").count(
            "uid=0"
        )
        == 0
    )


def test_nothing_of_the_node_is_to_be_had(node):
    assert (
        node.ssh("demo_one", "ls /var/lib/configmanager /var/lib/slivers 2>&1").stdout.count("No such file")
        == 2
    )
    # A tunnel's far end is the node's: sshd refuses it and the client says so.
    for way in (["-o", "ExitOnForwardFailure=yes", "-R", "9999:127.0.0.1:22"], ["-W", "127.0.0.1:22"]):
        done = node.ssh("demo_one", *([] if "-W" in way else ["true"]), options=way)
        assert done.returncode != 0, way
    listening = run("ss", "-Htln").stdout
    assert ":9999" not in listening
    # What ssh was asked to run in the place of the shell runs inside as well.
    assert node.ssh("demo_one", "cat /etc/hostname").stdout == "demo-one\n"
    done = subprocess.run(node.ssh_line("demo_one", "sftp", options=["-s"]), capture_output=True, timeout=60)
    assert b"SSH" not in done.stdout
    assert done.returncode != 0


def test_keys_are_followed_at_each_change_without_a_restart(node, tmp_path):
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    assert node.ssh("demo_one", "true", key=other).returncode == 255
    since = node.leader("demo-one")
    changed = replace(node.sliver(), keys=(SliverKey("ssh", Path(f"{other}.pub").read_text().strip()),))
    node.converge(changed)
    assert node.ssh("demo_one", "true", key=other).returncode == 0
    assert node.ssh("demo_one", "true").returncode == 255
    node.converge(node.sliver())
    assert node.ssh("demo_one", "true").returncode == 0
    assert node.leader("demo-one") == since


def test_another_slices_key_opens_nothing(node, tmp_path):
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    second = replace(
        node.sliver("two", enabled="0"), keys=(SliverKey("ssh", Path(f"{other}.pub").read_text().strip()),)
    )
    node.converge(node.sliver(), second)
    assert node.ssh("demo_one", "true", key=other).returncode == 255
    done = node.ssh("two", "true", key=other)
    assert done.returncode == 255
    assert "does not run" in done.stderr
    node.converge(node.sliver())


def test_a_connection_without_a_session_ends_and_one_with_a_session_goes_on(node, tmp_path):
    path = tmp_path / "control"
    shared = ["-o", f"ControlPath={path}"]
    line = node.ssh_line("demo_one", "cat", options=[*shared, "-o", "ControlMaster=yes"])
    idle = subprocess.Popen(node.ssh_line("demo_one", options=["-N"]), stdout=subprocess.DEVNULL)
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as used:
        # 30 s after it came in, which an emulated machine takes its time for.
        assert idle.wait(120) == 255
        for number in range(3):
            assert node.ssh("demo_one", f"echo {number}", options=shared).stdout == f"{number}\n"
        assert used.communicate("still there\n", timeout=60)[0] == "still there\n"
        assert used.returncode == 0


def test_sessions_end_with_the_sliver(node):
    session = subprocess.Popen(node.ssh_line("demo_one", "sleep infinity"), stdout=subprocess.DEVNULL)
    eventually(
        lambda: "sleep" in node.inside("demo-one", "cat /proc/[0-9]*/comm 2>/dev/null || true"),
        what="the session",
    )
    node.backend.stop("demo_one")
    assert session.wait(30) != 0
    node.backend.start(node.wanted(node.sliver()), "demo_one")
    # One that asked for no command holds on to the account only.
    session = subprocess.Popen(node.ssh_line("demo_one", options=["-N"]), stdout=subprocess.DEVNULL)
    eventually(lambda: node.processes(node.slot("demo_one").account), what="a session without a command")
    node.converge()
    assert session.wait(30) != 0
