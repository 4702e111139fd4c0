"""A service's versions: what is healthy stays, what is not gives way. With a real systemd: tests/guest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import health, layers, service_record, services
from configmanager.backends.base import Verb
from configmanager.backends.health import ServiceUnhealthy
from configmanager.backends.node_files import UnsuitableOverlay
from configmanager.backends.placing import Places
from configmanager.backends.services import OverlayUnknown, ServiceFailed, ServicePutBack, Services
from host import files
from tests.unit.configmanager_fakes import FakeRunner
from tests.unit.service_versions import (
    NEW,
    NOTHING,
    OLD,
    ONE,
    SERVICE,
    TREES,
    TWO,
    UNIT,
    Killed,
    WebNode,
    changed_with_a_kill,
    converge,
    passed,
)
from wire.slivers import NodeService


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PAUSE_SECONDS", 1.0)


@pytest.fixture
def fake(tmp_path: Path) -> WebNode:
    return WebNode(tmp_path)


def test_a_version_comes_as_one_and_the_next_one_replaces_it(fake: WebNode) -> None:
    before = fake.files()
    assert converge(fake, ONE) == [Verb.CREATE]
    one = fake.files()
    assert one == {
        **before,
        "usr/lib/web": "one",
        "usr/share/web": "one",
        "etc/web.conf": "one\n",
        f"etc/systemd/system/{UNIT}": SERVICE.unit,
    }
    assert fake.runner.commands == ["after", "check"]
    assert converge(fake, TWO) == [Verb.CHANGE]
    assert fake.files() == {
        **before,
        "usr/lib/web": "two",
        "usr/bin/web": "two",
        "etc/web.conf": "two\n",
        "etc/web/more": "one\n",
        f"etc/systemd/system/{UNIT}": TWO.services[0].unit,
    }
    assert [path.name for path in (fake.root / services.OVERLAYS).iterdir()] == [NEW.manifest]
    assert converge(fake, ONE) == [Verb.CHANGE]
    assert fake.files() == one
    assert converge(fake, NOTHING) == [Verb.REMOVE]
    assert fake.files() == before
    assert not [path for path in (fake.root / "var/lib/configmanager").rglob("*") if path.is_file()]


@pytest.mark.parametrize("fault", ["check", "after", UNIT])
def test_an_unhealthy_version_gives_way_and_is_not_tried_again(fake: WebNode, fault: str) -> None:
    converge(fake, ONE)
    one = fake.files()
    fail_with(fake.runner, fault)
    with pytest.raises(ServicePutBack, match=r"web: .*out of luck"):
        passed(fake.node, TWO)
    fail_with(fake.runner, "")
    assert fake.files() == one
    assert fake.runner.active[UNIT] == "active"
    assert fake.events[-2:] == ["service.started", "service.restored"]
    fake.runner.argvs.clear()
    for _ in range(2):
        with pytest.raises(ServicePutBack, match=r"web: .*out of luck"):
            passed(fake.node, TWO)
    assert fake.runner.verbs() == []
    # Another configuration, and with it the same one again, is tried.
    assert converge(fake, ONE) == [Verb.CHANGE]
    assert fake.runner.verbs() == []
    assert converge(fake, TWO) == [Verb.CHANGE]


def fail_with(runner: FakeRunner, fault: str) -> None:
    """Let the second version fail: by a command, or by its unit that does not start."""
    runner.refused = {fault}
    inner = FakeRunner._systemctl

    def systemctl(self: FakeRunner, words: list[str]) -> str:
        unit = self._root / "etc/systemd/system" / UNIT
        self.broken = {UNIT} if fault == UNIT and "Nice" in unit.read_text() else set()
        return inner(self, words)

    runner._systemctl = systemctl.__get__(runner)


def test_where_the_version_before_fails_too_both_are_told(fake: WebNode) -> None:
    converge(fake, ONE)
    fake.runner.broken = {UNIT}
    with pytest.raises(ServicePutBack, match="the version before it fails now too: web: out of luck"):
        passed(fake.node, TWO)
    fake.runner.broken.clear()
    with pytest.raises(ServicePutBack, match=r"luck \[service-put-back\]$"):
        passed(fake.node, TWO)
    assert fake.runner.active[UNIT] == "active"


def test_a_first_version_has_nothing_before_it_and_is_tried_again(fake: WebNode) -> None:
    fake.runner.refused = {"check"}
    for _ in range(services.MOST_TRIES + 1):
        with pytest.raises(ServiceUnhealthy, match="not healthy in 1 s: `check`"):
            passed(fake.node, ONE)
    fake.runner.refused.clear()
    assert converge(fake, ONE) == [Verb.CREATE]


def test_what_was_healthy_is_started_and_not_judged_again(fake: WebNode) -> None:
    converge(fake, ONE)
    fake.runner.active[UNIT] = "failed"
    fake.runner.commands.clear()
    assert converge(fake, ONE) == [Verb.START]
    assert fake.runner.commands == []
    fake.runner.active[UNIT], fake.runner.broken = "failed", {UNIT}
    with pytest.raises(ServiceFailed):
        passed(fake.node, ONE)


def test_a_file_that_somebody_changed_is_laid_again(fake: WebNode) -> None:
    converge(fake, ONE)
    one = fake.files()
    (fake.root / "usr/lib/web").write_text("mine")
    (fake.root / "usr/share/web").unlink()
    assert converge(fake, ONE) == [Verb.CREATE]
    assert fake.files() == one


def test_a_version_under_which_the_node_dies_gives_way(
    fake: WebNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge(fake, ONE)
    one = fake.files()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(services, "wait_healthy", die)
        for _ in range(services.MOST_TRIES):
            with pytest.raises(Killed):
                passed(fake.node, TWO)
    with pytest.raises(ServicePutBack, match="begun 3 times"):
        passed(fake.node, TWO)
    assert fake.files() == one


def test_a_full_disk_leaves_the_old_version_running(fake: WebNode, monkeypatch: pytest.MonkeyPatch) -> None:
    converge(fake, ONE)
    one = fake.files()
    fake.runner.argvs.clear()
    written = Places.write_beside

    def full(self: Places, entry: Any) -> None:
        written(self, entry)
        if entry.path == "etc/web/more":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Places, "write_beside", full)
    with pytest.raises(OSError, match="No space"):
        passed(fake.node, TWO)
    assert fake.files() == one
    # Which changes nothing: it is enabled.
    assert fake.runner.verbs() == [f"enable {UNIT}"]
    monkeypatch.undo()
    assert converge(fake, TWO) == [Verb.CHANGE]


@pytest.mark.parametrize("room", range(9))
def test_a_disk_that_is_full_in_the_middle_of_a_change_leaves_one_of_the_two_running(
    fake: WebNode, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    converge(fake, TWO)
    two = fake.files()
    converge(fake, NOTHING)
    converge(fake, ONE)
    one = fake.files()
    left = room

    def write_atomic(path: Path, *arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device", str(path))
        files.write_atomic(path, *arguments, **options)

    with monkeypatch.context() as patched:
        for module in (layers, service_record):
            patched.setattr(module, "write_atomic", write_atomic)
        for _ in range(3):
            try:
                passed(fake.node, TWO)
            except OSError:
                assert left < 0
            assert fake.runner.active[UNIT] == "active"
            assert fake.files() in (one, two)
            last = [verb for verb in fake.runner.verbs() if verb.endswith(f"able {UNIT}")][-1]
            assert last == f"enable {UNIT}"
    assert Verb.REMOVE not in converge(fake, TWO)
    assert fake.files() == two


def test_an_image_that_cannot_be_brought_leaves_the_old_version_running(fake: WebNode) -> None:
    converge(fake, ONE)
    one = fake.files()
    fake.runner.argvs.clear()
    with pytest.raises(OverlayUnknown, match="web: web"):
        passed(fake.node, replace(TWO, images=()))
    assert fake.files() == one
    assert fake.runner.verbs() == []


def test_a_service_may_be_an_overlay_alone(fake: WebNode) -> None:
    alone = replace(ONE, services=(NodeService("web", overlay="web"),), conf_files=())
    before = fake.files()
    assert converge(fake, alone) == [Verb.CREATE]
    assert (fake.root / "usr/lib/web").read_text() == "one"
    assert Services(fake.node).unit("web") == ""
    converge(fake, NOTHING)
    assert fake.files() == before


@pytest.mark.parametrize("path", ["etc/shadow", "run/x", "var/lib/configmanager/x"])
def test_an_overlay_has_no_say_in_what_is_closed(
    fake: WebNode, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TREES, OLD, {"usr/lib/web": "one", path: ""})
    before = fake.files()
    with pytest.raises(UnsuitableOverlay, match=f"/{path} is not given away"):
        passed(fake.node, ONE)
    assert fake.files() == before


def test_a_damaged_record_makes_the_service_anew(fake: WebNode) -> None:
    converge(fake, ONE)
    one = fake.files()
    (fake.root / service_record.FOLDER / "web.json").write_text("{")
    assert converge(fake, ONE) == [Verb.CREATE]
    assert fake.files() == one


@pytest.mark.parametrize("kill_at", range(5, 130, 25))
@pytest.mark.parametrize("healthy", [True, False])
def test_wherever_it_is_killed_it_ends_in_one_of_the_two(
    fake: WebNode, monkeypatch: pytest.MonkeyPatch, healthy: bool, kill_at: int
) -> None:
    """At some points; tests/host has them all."""
    before = fake.files()
    converge(fake, ONE)
    changed_with_a_kill(fake, monkeypatch, kill_at, healthy=healthy)
    assert fake.files()["etc/web.conf"] == ("two\n" if healthy else "one\n")
    assert fake.runner.active[UNIT] == "active"
    converge(fake, NOTHING)
    assert fake.files() == before


def test_a_kill_before_a_files_command_does_not_lose_it(
    fake: WebNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    converge(fake, ONE)
    with monkeypatch.context() as patched:
        patched.setattr(services, "after", die)
        with pytest.raises(Killed):
            passed(fake.node, TWO)
    fake.runner.commands.clear()
    converge(fake, TWO)
    assert "after" in fake.runner.commands
