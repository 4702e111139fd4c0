"""Slivers on a real node's system: each claim of docs/slivers.md about what they are and how they go."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from configmanager.backends.base import Verb
from configmanager.backends.sliver_tree import LiveMounts
from configmanager.backends.slivers import NetworkMissing
from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import FOLDER, SliverGuest, assert_as, nothing_left, traces, verbs
from tests.guest.waiting import eventually

IMAGES = FOLDER / ".images"
MEBI = 1024 * 1024


@pytest.fixture
def node(guest: Guest, node_system: None, slice_key: Path):
    with nothing_left():
        node = SliverGuest(guest, slice_key)
        yield node
        node.converge()


def used(folder: Path) -> int:
    return int(run("du", "--summarize", "--block-size=1", "--one-file-system", str(folder)).stdout.split()[0])


def test_a_sliver_is_a_system_of_its_own(node):
    script = "echo 'it ran' > /root/ran\n"
    assert verbs(node.converge(node.sliver(script=script))) == [Verb.CREATE]
    slot = node.slot("demo_one")
    assert node.inside("demo-one", "hostname").strip() == "demo-one"
    assert node.inside("demo-one", "cat /proc/1/comm").strip() == "systemd"
    assert f"{slot.address}/30" in node.inside("demo-one", "ip -o address show dev host0")
    eventually(lambda: node.inside("demo-one", "cat /root/ran || true") == "it ran\n", what="the initscript")
    # Root there is a user of its own here.
    leader = Path("/proc") / node.leader("demo-one")
    assert leader.stat().st_uid == slot.first_user
    group = (leader / "cgroup").read_text().splitlines()[-1]
    assert group.startswith("0::/slivers.slice/slivers-demo\\x2done.slice/sliver@demo\\x2done.service/")
    assert node.ssh("demo_one", "id -un; hostname").stdout == "demo_one\ndemo-one\n"
    assert node.inside("demo-one", "cat /etc/machine-id") != Path("/etc/machine-id").read_text()
    assert node.converge(node.sliver(script=script)) == []


def test_removal_leaves_nothing(node):
    before = traces()
    node.converge(node.sliver(ports="tcp:8080:80"))
    during = traces()
    assert during.machines == {"demo-one"}
    assert during.links - before.links == {"sliver1"}
    assert during.accounts - before.accounts == {"demo_one"}
    assert "table inet slivers" in during.tables
    node.converge()
    assert_as(before)


@pytest.mark.slow
def test_slivers_of_one_image_share_it_and_see_nothing_of_each_other(node):
    names = ["one", "two", "three", "four"]
    node.converge(*(node.sliver(name, enabled=str(int(name in names[:2]))) for name in names))
    (image,) = IMAGES.iterdir()
    before = run("find", str(image), "-printf", "%P %i %T@ %U %m\n").stdout
    node.inside("one", "echo mine > /etc/motd; rm -r /usr/share/doc; chown 1000 /usr/bin/env")
    assert node.inside("two", "cat /etc/motd; ls -d /usr/share/doc").endswith("/usr/share/doc\n")
    assert run("find", str(image), "-printf", "%P %i %T@ %U %m\n").stdout == before
    # What the four cost beside the image that they share.
    own = {name: used(FOLDER / name) for name in names}
    assert max(own.values()) < 2 * MEBI, own
    assert used(image) > 40 * MEBI


@pytest.mark.slow
def test_a_hanging_initscript_hangs_neither_node_nor_sliver(node):
    node.converge(node.sliver(script="while :; do sleep 1; done\n"))
    shown = node.inside("demo-one", "systemctl show --property=SubState,RuntimeMaxUSec bm-initscript.service")
    assert sorted(shown.split()) == ["RuntimeMaxUSec=5min", "SubState=running"]
    assert node.ssh("demo_one", "true").returncode == 0


@pytest.mark.slow
def test_a_folder_with_live_mounts_is_never_removed(node):
    node.converge(node.sliver(enabled="0"))
    (FOLDER / "demo-one/upper/data").write_text("precious")
    mount = FOLDER / "demo-one/given"
    run("mount", "-t", "tmpfs", "tmpfs", str(mount))
    wanted = node.wanted()
    (action,) = node.backend.plan(wanted, node.backend.observe())
    with pytest.raises(LiveMounts, match="given"):
        node.backend.apply(wanted, action)
    run("umount", str(mount))
    assert (FOLDER / "demo-one/upper/data").read_text() == "precious"


@pytest.mark.slow
def test_somebody_in_the_tree_puts_the_removal_off(node):
    node.converge(node.sliver())
    somebody = subprocess.Popen(["sleep", "infinity"], cwd=FOLDER / "demo-one/root")
    wanted = node.wanted()
    (action,) = node.backend.plan(wanted, node.backend.observe())
    with pytest.raises(LiveMounts, match="root"):
        node.backend.apply(wanted, action)
    assert (FOLDER / "demo-one/root/etc/passwd").exists()
    somebody.kill()
    somebody.wait()
    assert verbs(node.converge()) == [Verb.REMOVE]


@pytest.fixture
def outside():
    """A machine beyond the node, in a network namespace: it has 192.0.2.2, the node 192.0.2.1."""
    run("ip", "netns", "add", "outside")
    run("ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", "outside")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "out0")
    run("ip", "link", "set", "out0", "up")
    for words in ("address add 192.0.2.2/24 dev in0", "link set in0 up", "link set lo up"):
        run("ip", "-n", "outside", *words.split())
    yield ["ip", "netns", "exec", "outside"]
    run("ip", "netns", "delete", "outside")
    run("ip", "link", "delete", "out0", ok=False)


SERVE = "mkdir -p /srv/web\necho 'it answers' > /srv/web/index.html\nbusybox httpd -p 80 -h /srv/web\n"
FETCH = "import urllib.request as u; print(u.urlopen('http://192.0.2.1:8080/', timeout=5).read().decode())"


@pytest.mark.slow
def test_ports_lead_in_from_outside_and_the_world_sees_the_nodes_address(outside, node):
    sliver = node.sliver(ports="tcp:8080:80", script=SERVE)
    node.converge(sliver)

    def answer() -> str:
        return subprocess.run([*outside, "python3", "-c", FETCH], capture_output=True, text=True).stdout

    eventually(lambda: "it answers" in answer(), what="an answer from the sliver")
    listener = (
        "import socket; s = socket.create_server(('192.0.2.2', 7)); "
        "print('up', flush=True); print(s.accept()[1][0])"
    )
    with subprocess.Popen([*outside, "python3", "-c", listener], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "up\n"
        node.inside("demo-one", "echo | busybox nc -w 5 192.0.2.2 7")
        assert server.stdout.read() == "192.0.2.1\n"
    # Other ports need no restart, and what is taken away is closed.
    leader = node.leader("demo-one")
    node.converge(node.sliver(ports="tcp:8081:80", script=SERVE))
    assert "it answers" not in answer()
    assert node.leader("demo-one") == leader


@pytest.mark.slow
def test_a_sliver_is_not_started_without_its_rules_and_a_pass_brings_them_back(node):
    sliver = node.sliver(ports="tcp:8080:80")
    node.converge(sliver)
    node.backend.stop("demo_one")
    run("nft", "flush", "ruleset")
    with pytest.raises(NetworkMissing):
        node.backend.start(node.wanted(sliver), "demo_one")
    assert verbs(node.converge(sliver)) == [Verb.START]
    assert "8080" in run("nft", "list", "table", "inet", "slivers").stdout
