"""A service of two versions on a node, and a manager that ends at any point of changing one to the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import layers, service_record
from configmanager.backends.base import Node, Verb
from configmanager.backends.placing import Places
from configmanager.backends.services import ServicePutBack, Services
from host import files
from images.plan import OldTree
from tests.unit.configmanager_fakes import FakeNode, FakeRunner
from wire.conf_files import ConfFile, encode
from wire.messages import ImageRef
from wire.slivers import NodeService, NodeSlivers

UNIT = "bm-web.service"
SERVICE = NodeService("web", "[Service]\nExecStart=/usr/lib/web\n", "web", "check", 1)
OWN = {"file_owner": str(os.getuid()), "file_group": str(os.getgid()), "service": "web"}
FILE = ConfFile("/etc/web.conf", encode(b"one\n"), postinstall_cmd="after", **OWN)
OLD, NEW = ImageRef("web", "1" * 64), ImageRef("web", "2" * 64)
ONE = NodeSlivers(1, 1, "node1", services=(SERVICE,), images=(OLD,), conf_files=(FILE,))
TWO = NodeSlivers(
    2,
    1,
    "node1",
    services=(replace(SERVICE, unit=f"{SERVICE.unit}Nice=1\n"),),
    images=(NEW,),
    conf_files=(replace(FILE, content=encode(b"two\n")), replace(FILE, dest="/etc/web/more")),
)
NOTHING = NodeSlivers(3, 1, "node1")
TREES = {
    OLD: {"usr/lib/web": "one", "usr/share/web": "one"},
    NEW: {"usr/lib/web": "two", "usr/bin/web": "two"},
}


class WebNode(FakeNode):
    """A node whose images are those of the service, and which had a file of the same name before."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for path in ("etc/web.conf", "usr/bin/web"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("the node's\n")

    def _unpack(self, ref: ImageRef, target: Path, trees: Sequence[OldTree]) -> None:
        for path, text in TREES[ref].items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(text)
        self.unpacked.append(ref.manifest)

    def files(self) -> dict[str, str]:
        """What is on the node, but for what is configmanager's own."""
        paths = [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]
        found = {str(path.relative_to(self.root)): path.read_text(errors="replace") for path in paths}
        return {path: text for path, text in found.items() if not path.startswith("var/lib")}


def passed(node: Node, desired: NodeSlivers) -> list[Verb]:
    backend = Services(node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    return [action.verb for action in actions]


def converge(fake: FakeNode, desired: NodeSlivers) -> list[Verb]:
    verbs = passed(fake.node, desired)
    assert passed(fake.node, desired) == []
    return verbs


class Killed(BaseException):
    """Stands for a process that is not there any more: nothing catches it."""


class Points:
    """Ends a pass at a point: before and after each command, durable write and change of a place."""

    def __init__(self, left: int) -> None:
        self.left = left

    def passed(self) -> None:
        if self.left == 0:
            self.end()
        self.left -= 1

    def end(self) -> None:
        raise Killed

    def around(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*arguments: Any, **options: Any) -> Any:
            self.passed()
            done = inner(*arguments, **options)
            self.passed()
            return done

        return outer


PLACES = ("keep", "put_back", "make_folder", "remove_folder", "write_beside", "switch")


def changed_with_a_kill(
    fake: WebNode, monkeypatch: pytest.MonkeyPatch, kill_at: int, *, healthy: bool
) -> tuple[bool, str]:
    """Change the first version to the second, which may not be healthy, and go on after a kill.

    Returns whether it came to the kill, and what is complained of at last.
    """
    fake.runner.refused = set() if healthy else {"check"}
    points, killed = Points(kill_at), False
    with monkeypatch.context() as patched:
        for name in PLACES:
            patched.setattr(Places, name, points.around(getattr(Places, name)))
        for module in (layers, service_record):
            patched.setattr(module, "write_atomic", points.around(files.write_atomic))
        patched.setattr(FakeRunner, "__call__", points.around(FakeRunner.__call__))
        # A preparation is abandoned by who lives.
        abandon = Places.abandon
        patched.setattr(Places, "abandon", lambda *each: abandon(*each) if points.left else None)
        try:
            passed(fake.node, TWO)
        except ServicePutBack:
            pass
        except Killed:
            killed = True
    complaint = ""
    for _ in range(2):
        try:
            passed(fake.node, TWO)
        except ServicePutBack as error:
            complaint = error.detail
    return killed, complaint
