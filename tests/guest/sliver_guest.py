"""Slivers on the guest as tests see them: a backend, what is wanted of it, and what is left of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from configmanager.backends import sliver_start
from configmanager.backends.base import Action, Verb
from configmanager.backends.network import Network
from configmanager.backends.slivers import Slivers
from configmanager.slots import FIRST_USER, Slot, Slots
from tests.guest.conftest import Guest
from tests.guest.limited import converge
from tests.guest.node_system import run
from wire.slivers import Attribute, NodeSlivers, Sliver, SliverKey

FOLDER = Path("/var/lib/slivers")
FAR = 4_000_000_000
_MOMENT_SECONDS = 10.0
_SLOW_SECONDS = 300.0
# Where each sliver has something; that they are there themselves is of the node.
_FOLDERS = (FOLDER, FOLDER / ".images", Path("/var/lib/configmanager/slivers"), Path("/etc/ssh/slivers"))
_STANDING = {str(FOLDER / ".images")}


def unit(machine: str) -> str:
    """The unit of a sliver."""
    return "sliver@" + machine.replace("-", "\\x2d") + ".service"


def property_of(name: str, what: str) -> str:
    """What systemctl shows of a unit."""
    return run("systemctl", "show", "--value", f"--property={what}", "--", name).stdout.strip()


def verbs(actions: Sequence[Action]) -> list[Verb]:
    """What was done."""
    return [action.verb for action in actions]


@dataclass
class SliverGuest:
    """This system as a node of slivers; `key` opens those that `sliver()` makes."""

    guest: Guest
    key: Path
    backend: Slivers = field(init=False)
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.backend = Slivers(self.guest.node)
        self.network = Network(self.guest.node)
        # An emulated machine is slower than any node.
        sliver_start.PATIENCE_SECONDS = _SLOW_SECONDS

    def sliver(self, name: str = "demo_one", script: str = "", **attributes: str) -> Sliver:
        """A sliver of the guest's image."""
        keys = (SliverKey("ssh", Path(f"{self.key}.pub").read_text().strip()),)
        values = tuple(Attribute(tag, value) for tag, value in attributes.items())
        return Sliver(
            name, 1, FAR, image=self.guest.image.name, keys=keys, attributes=values, initscript=script
        )

    def wanted(self, *slivers: Sliver) -> NodeSlivers:
        """What the server says."""
        return NodeSlivers(1, 1, "guest", slivers, images=(self.guest.image,))

    def converge(self, *slivers: Sliver) -> list[Action]:
        """Do what is planned for slivers, whose rules are there, and see that nothing is left to do."""
        wanted = self.wanted(*slivers)
        if slivers:
            converge(self.network, wanted)
        actions = self.backend.plan(wanted, self.backend.observe())
        for action in actions:
            self.backend.apply(wanted, action)
        assert self.backend.plan(wanted, self.backend.observe()) == ()
        if not slivers:
            converge(self.network, wanted)
        return list(actions)

    def slot(self, name: str) -> Slot:
        """The sliver's slot."""
        return Slots().all()[name]

    def inside(self, machine: str, script: str) -> str:
        """What a script of the shell says that root runs in the sliver."""
        words = ["systemd-run", f"--machine={machine}", "--quiet", "--wait", "--pipe", "--collect"]
        done = run(*words, "--expand-environment=no", "--", "/bin/sh", "-c", script)
        return done.stdout

    def ssh_line(
        self, user: str, *words: str, options: Sequence[str] = (), key: Path | None = None
    ) -> list[str]:
        """The command line of ssh to the node as that user."""
        common = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
        ]
        line = ["ssh", "-i", str(key or self.key), *(word for option in common for word in ("-o", option))]
        return [*line, *options, f"{user}@127.0.0.1", *words]

    def ssh(
        self,
        user: str,
        *words: str,
        terminal: bool = False,
        stdin: str = "",
        options: Sequence[str] = (),
        key: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """What ssh to the node says."""
        options = [*options, *(["-tt"] if terminal else [])]
        line = self.ssh_line(user, *words, options=options, key=key)
        return subprocess.run(line, capture_output=True, text=True, input=stdin, timeout=120)

    def leader(self, machine: str) -> str:
        """The number of the process that is the first one of the sliver, "" while it does not run."""
        return run("machinectl", "show", "--property=Leader", "--value", machine, ok=False).stdout.strip()

    def processes(self, user: int) -> bool:
        """Whether that user has any."""
        return user in _users()

    def events(self, name: str) -> list[dict[str, object]]:
        """The data of all events of that name."""
        return [event.data for event in self.guest.told if event.event == name]


@dataclass(frozen=True)
class Traces:
    """All that a sliver could leave on a node."""

    mounts: frozenset[str]
    links: frozenset[str]
    machines: frozenset[str]
    groups: frozenset[str]
    accounts: frozenset[str]
    tables: frozenset[str]
    users: frozenset[int]
    files: frozenset[str]


def traces() -> Traces:
    """Return what there is now."""
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    machines = run("machinectl", "list", "--no-legend").stdout.splitlines()
    groups = {
        str(path) for path in Path("/sys/fs/cgroup").glob("slivers.slice/**/") if path.name != "slivers.slice"
    }
    accounts = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    users = {user for user in _users() if user >= FIRST_USER}
    files = {str(path) for folder in _FOLDERS if folder.is_dir() for path in folder.iterdir()}
    return Traces(
        frozenset(mounts),
        frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        frozenset(line.split()[0] for line in machines if line),
        frozenset(groups),
        frozenset(accounts),
        frozenset(run("nft", "list", "tables").stdout.splitlines()),
        frozenset(users),
        frozenset(files - _STANDING),
    )


def _users() -> Iterator[int]:
    """Yield who has processes."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            yield path.stat().st_uid
        except FileNotFoundError:
            continue


def assert_as(before: Traces) -> None:
    """Assert that there is what there was; the kernel may take seconds to let go of the last of it."""
    deadline = time.monotonic() + _MOMENT_SECONDS
    while (after := traces()) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    changed = {
        field.name: getattr(before, field.name) ^ getattr(after, field.name) for field in fields(before)
    }
    assert after == before, {name: sorted(what) for name, what in changed.items() if what}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Assert that what there is afterwards is what there was before."""
    before = traces()
    yield
    assert_as(before)
    assert Slots().all() == {}
