"""Services for slivers on a real node's system: a sliver uses them, and cannot do more than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from configmanager.backends.base import Node
from configmanager.backends.vsys import UNIT, Vsys
from configmanager.slots import Slots
from tests.guest.conftest import Guest
from tests.guest.node_system import run
from tests.guest.sliver_guest import SliverGuest, nothing_left
from tests.guest.waiting import eventually
from wire.slivers import NodeSlivers, Sliver

VSYS = Path("/vsys")
SLICES = Path("/run/vsys")
GROUPS = Path("/sys/fs/cgroup/system.slice/vsys.service")
HELLO = 'read line; echo "$1 said $line"; echo "for the log" >&2'
COUNT = 'n=0; while read line; do n=$((n+1)); echo "$n $line"; done'
FAR = 4_000_000_000


def offer(name: str, script: str, acl: str | None = None) -> None:
    path = VSYS / name
    if acl is not None:
        path.with_name(f"{name}.acl").write_text(acl)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def slices(*names: str) -> NodeSlivers:
    return NodeSlivers(1, 1, "guest", tuple(Sliver(name, 1, FAR) for name in names))


def converge(backend: Vsys, wanted: NodeSlivers) -> None:
    for action in backend.plan(wanted, backend.observe()):
        backend.apply(wanted, action)
    assert backend.plan(wanted, backend.observe()) == ()


def ask(machine: str, service: str, text: str) -> str:
    """What a service answers to whoever may use the FIFOs of a slice, here the node's root."""
    place = SLICES / machine / service
    return run("timeout", "240", "sh", "-c", f"echo {text} > {place}.in; cat {place}.out").stdout


@pytest.fixture
def vsys(node_system: None, bare: Node) -> Iterator[Vsys]:
    backend = Vsys(bare)
    yield backend
    for path in VSYS.iterdir():
        if path.is_file():
            path.unlink()
    converge(backend, slices())
    assert list(SLICES.iterdir()) == []
    eventually(lambda: not list(GROUPS.glob("slice-*")), what="the end of all services")
    run("systemctl", "stop", UNIT)
    assert Slots().all() == {}


def sees(machine: str, *names: str) -> None:
    def look() -> bool:
        return sorted(path.name for path in (SLICES / machine).iterdir()) == sorted(names)

    eventually(look, what=f"{names} in {machine}")


def test_a_sliver_uses_a_service_and_nothing_else(guest: Guest, vsys: Vsys, slice_key: Path):
    with nothing_left():
        offer("hello", HELLO)
        offer("count", COUNT, "demo_one rw\n")
        offer("load", "cut -d ' ' -f 1 /proc/loadavg", "demo_one r\n")
        offer("others", HELLO, "somebody rw\n")
        node = SliverGuest(guest, slice_key)
        sliver = node.sliver()
        converge(vsys, node.wanted(sliver))
        node.converge(sliver)
        assert node.inside("demo-one", "ls /vsys").split() == [
            "count.in",
            "count.out",
            "hello.in",
            "hello.out",
            "load.out",
        ]
        assert node.inside("demo-one", "stat -c '%a %U %F' /vsys") == "700 root directory\n"
        assert (
            node.inside("demo-one", "echo there > /vsys/hello.in; cat /vsys/hello.out")
            == "demo_one said there\n"
        )
        assert float(node.inside("demo-one", "cat /vsys/load.out")) >= 0
        for number in (1, 2):
            said = node.inside("demo-one", "echo x > /vsys/count.in; head -n 1 /vsys/count.out")
            assert said == f"{number} x\n"
        eventually(lambda: "hello for demo_one: for the log" in log(), what="its words in the log")
        # One that is copied while the sliver runs.
        offer("late", HELLO)
        sees("demo-one", "count.in", "count.out", "hello.in", "hello.out", "late.in", "late.out", "load.out")
        assert node.inside("demo-one", "echo x > /vsys/late.in; cat /vsys/late.out") == "demo_one said x\n"
        # Its root can neither put anything else there nor turn a FIFO round; another user gets nowhere.
        for attempt in (
            "rm /vsys/hello.in",
            "ln -s /etc/passwd /vsys/x",
            "mv /vsys/hello.in /vsys/y",
            "chmod 777 /vsys /vsys/hello.in",
            "chown 1000 /vsys/hello.in",
            "mount -o remount,rw /vsys",
            "mount -o remount,bind,rw /vsys && touch /vsys/x",
            "exec 3< /vsys/hello.in",
            "exec 3> /vsys/load.out",
            "ls /vsys/../run/vsys/other",
        ):
            assert (
                node.inside("demo-one", f"({attempt}) 2>/dev/null && echo done || echo refused")
                == "refused\n"
            ), attempt
        assert node.ssh("demo_one", "ls /vsys").returncode != 0
        assert node.ssh("demo_one", "su -c 'ls /vsys'").returncode == 0
        # A sliver that starts anew finds the same.
        run("systemctl", "restart", "sliver@demo\\x2done.service")
        assert node.inside("demo-one", "echo x > /vsys/late.in; cat /vsys/late.out") == "demo_one said x\n"
        converge(vsys, slices())
        node.converge()


def test_a_restart_and_a_crash_of_the_program_are_survived(vsys: Vsys):
    offer("hello", HELLO)
    offer("count", COUNT)
    converge(vsys, slices("demo_one"))
    sees("demo-one", "count.in", "count.out", "hello.in", "hello.out")
    for how in ("restart", "kill --signal=KILL --kill-whom=main"):
        place = SLICES / "demo-one/count"
        said = run("timeout", "240", "sh", "-c", f"echo x > {place}.in; head -n 1 {place}.out").stdout
        assert said == "1 x\n", how
        old = main_process()
        run("systemctl", *how.split(), UNIT)
        eventually(lambda old=old: main_process() not in ("0", old), what="another process")
        assert ask("demo-one", "hello", how.split()[0]) == f"demo_one said {how.split()[0]}\n"


def test_processes_and_memory_of_a_slices_services_are_bounded(vsys: Vsys):
    offer("hello", HELLO)
    fork = (
        "<STDIN>; while (1) { my $p = fork; if (!defined $p) { sleep 1 } elsif (!$p) { sleep 1000; exit } }"
    )
    offer("bomb", f"exec perl -e '{fork}'", "greedy\n")
    offer("eat", "read line; tail /dev/zero", "greedy\n")
    converge(vsys, slices("greedy", "other"))
    sees("greedy", *(f"{name}.{end}" for name in ("bomb", "eat", "hello") for end in ("in", "out")))
    process = main_process()
    Path(f"{SLICES}/greedy/bomb.in").write_text("x\n")
    eventually(lambda: events("pids.events").get("max", 0) > 0, seconds=240, what="the limit of processes")
    assert ask("other", "hello", "x") == "other said x\n"
    (VSYS / "bomb").unlink()
    eventually(lambda: not list(GROUPS.glob("slice-greedy/service-bomb.*")), what="the end of them all")
    assert ask("greedy", "eat", "x") == ""
    assert ask("other", "hello", "x") == "other said x\n"
    assert ask("greedy", "hello", "x") == "greedy said x\n"
    assert main_process() == process


def log() -> str:
    return run("journalctl", "--unit", UNIT, "--output=cat").stdout


def events(file: str) -> dict[str, int]:
    try:
        lines = (GROUPS / "slice-greedy" / file).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}


def main_process() -> str:
    return run("systemctl", "show", "--property=MainPID", "--value", UNIT).stdout.strip()
