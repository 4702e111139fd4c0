"""Which backends there are: found, put in order, and refused where two claim the same."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from configmanager import plugins
from configmanager.backends.base import Node
from host.events import Events
from host.run import Runner
from tests.unit.configmanager_things import Things


class Rivals(Things):
    """Claims what Things claims."""

    name: ClassVar[str] = "rivals"


@pytest.fixture
def things(tmp_path: Path) -> Things:
    return Things(Node(Runner(), Events("test"), lambda ref, target: None, tmp_path))


def test_rival_backends_are_refused_before_anything_is_touched(things: Things) -> None:
    rivals = Rivals(things.node)
    with pytest.raises(plugins.ConflictingBackends, match=r"things.*rivals.*claim things"):
        plugins.check_claims((things, rivals))
    with pytest.raises(plugins.ConflictingBackends, match="name:things"):
        plugins.check_claims((things, Things(things.node)))


def test_backends_are_loaded_from_entry_points(
    things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = EntryPoint("slivers", "configmanager.backends.slivers:Slivers", plugins.GROUP)
    assert [backend.name for backend in plugins.load(things.node, [good, good])] == ["slivers"]
    (tmp_path / "backend_that_fails.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for value in (
        "backend_that_fails:Backend",
        "no.such.module:Backend",
        "configmanager.records:Records",
        "configmanager.records:Nothing",
    ):
        with pytest.raises(plugins.BrokenBackend):
            plugins.load(things.node, [EntryPoint("bad", value, plugins.GROUP)])
    with pytest.raises(plugins.BrokenBackend, match="no distribution"):
        plugins.load(things.node, [])


def test_a_backend_comes_behind_those_that_it_names(things: Things) -> None:
    def made(name: str, *after: str) -> Things:
        kind = type(name, (Things,), {"name": name, "after": frozenset(after)})
        made: Things = kind(things.node)
        return made

    backends = (made("a", "c", "not-installed"), made("b"), made("c", "b"), made("d"))
    assert [backend.name for backend in plugins.ordered(backends)] == ["b", "d", "c", "a"]
    with pytest.raises(plugins.BrokenBackend, match=r"a, b, a|b, a, b"):
        plugins.ordered((made("a", "b"), made("b", "a")))
