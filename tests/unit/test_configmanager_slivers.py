"""The slivers backend: what it decides, and what is left when it is cut short."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends import sliver_start, sliver_tree
from configmanager.backends.base import Verb
from configmanager.backends.sliver_accounts import NameTaken
from configmanager.backends.sliver_record import NoSuchSliver
from configmanager.backends.sliver_start import SliverFailed, SliverFailing, SliverSlow
from configmanager.backends.sliver_tree import LiveMounts, NotOurSliver
from configmanager.backends.slivers import NoSliverImage, SliverItem, Slivers
from configmanager.decisions import Decisions
from configmanager.slots import Slots
from host.http import ServerUnreachable
from host.mounts import Mount
from tests.unit.configmanager_fakes import FakeNode
from wire.messages import ImageRef
from wire.slivers import Attribute, Instantiation, NodeSlivers, Sliver, SliverKey

SLIVER = Sliver(
    "demo_one",
    1,
    2_000_000_000,
    image="sliver",
    keys=(SliverKey("ssh", "ssh-ed25519 AAAA one"),),
    attributes=(Attribute("ports", "tcp:8080:80"),),
    initscript="#!/bin/sh\ntrue\n",
)
OLD, NEW = "ab" * 32, "cd" * 32
DESIRED = NodeSlivers(1000, 1, "node1", (SLIVER,), images=(ImageRef("sliver", OLD),))
NOTHING = replace(DESIRED, slivers=())
UNIT = "sliver@demo\\x2done.service"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    # Who owns what is tested in the guest: it needs root.
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(sliver_start, "APART_SECONDS", 0.0)
    return FakeNode(tmp_path)


def converge(fake: FakeNode, desired: NodeSlivers, backend: Slivers | None = None) -> list[Verb]:
    backend = backend or Slivers(fake.node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    return [action.verb for action in actions]


def with_sliver(sliver: Sliver) -> NodeSlivers:
    return replace(DESIRED, slivers=(sliver,))


def folder(fake: FakeNode) -> Path:
    return fake.root / "var/lib/slivers/demo-one"


def images(fake: FakeNode) -> list[str]:
    return sorted(path.name for path in (fake.root / "var/lib/slivers/.images").iterdir())


def test_a_new_sliver_is_made_of_its_image_and_started(fake: FakeNode) -> None:
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert fake.unpacked == ["sliver"]
    slot = Slots(fake.root).all()["demo_one"]
    settings = (folder(fake) / "settings").read_text().splitlines()
    assert settings == [
        f"FIRST_USER={slot.first_user}",
        f"IMAGE={OLD}",
        "INTERFACE=sliver1",
        "GATEWAY=100.64.0.5",
    ]
    assert "Address=100.64.0.6/30\nGateway=100.64.0.5\n" in (folder(fake) / "given/host0.network").read_text()
    script = folder(fake) / "given/initscript"
    assert script.read_text() == "#!/bin/sh\ntrue\n"
    assert script.stat().st_mode & 0o777 == 0o500
    assert (fake.root / "etc/ssh/slivers/demo_one").read_text() == "ssh-ed25519 AAAA one\n"
    assert fake.runner.active[UNIT] == "active"
    assert fake.events == ["sliver.started"]
    assert (fake.root / "var/lib/slivers").stat().st_mode & 0o777 == 0o700


def test_its_unit_is_known_as_long_as_it_is_there(fake: FakeNode) -> None:
    assert Slivers(fake.node).unit("demo_one") == ""
    converge(fake, DESIRED)
    assert Slivers(fake.node).unit("demo_one") == UNIT


@pytest.mark.parametrize("name", ["/etc/motd", "sliver demo_one", "Demo_one", "", "..", "x" * 300])
def test_what_can_be_no_sliver_has_no_unit(fake: FakeNode, name: str) -> None:
    converge(fake, DESIRED)
    assert Slivers(fake.node).unit(name) == ""


def test_a_second_pass_changes_nothing(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    before = len(fake.runner.verbs())
    assert converge(fake, DESIRED) == []
    assert len(fake.runner.verbs()) == before


def test_new_keys_do_not_restart_the_sliver_and_ports_do_not_concern_it(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    changed = replace(SLIVER, keys=(SliverKey("ssh", "ssh-ed25519 BBBB two"),))
    assert converge(fake, with_sliver(changed)) == [Verb.CHANGE]
    assert (fake.root / "etc/ssh/slivers/demo_one").read_text() == f"{changed.keys[0].key}\n"
    other = replace(changed, attributes=(Attribute("ports", "udp:5353:53"),))
    assert converge(fake, with_sliver(other)) == []
    assert f"stop {UNIT}" not in fake.runner.verbs()


def test_a_new_initscript_restarts_the_sliver_and_keeps_its_disk(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    (folder(fake) / "upper/data").write_text("precious")
    assert converge(fake, with_sliver(replace(SLIVER, initscript="echo new"))) == [Verb.CHANGE]
    assert fake.runner.verbs()[-3:] == [f"stop {UNIT}", f"reset-failed {UNIT}", f"start {UNIT}"]
    assert (folder(fake) / "given/initscript").read_text() == "#!/bin/sh\necho new"
    assert (folder(fake) / "upper/data").read_text() == "precious"
    assert fake.unpacked == ["sliver"]


def test_slivers_of_one_image_share_its_tree_until_the_last_is_gone(fake: FakeNode) -> None:
    second = replace(SLIVER, name="demo_two", attributes=())
    converge(fake, replace(DESIRED, slivers=(SLIVER, second)))
    assert fake.unpacked == ["sliver"]
    assert images(fake) == [OLD]
    converge(fake, with_sliver(second))
    assert images(fake) == [OLD]
    converge(fake, NOTHING)
    assert images(fake) == []


def test_a_newer_image_is_for_new_slivers_and_for_those_made_again(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    newer = replace(DESIRED, images=(ImageRef("sliver", NEW),))
    assert converge(fake, newer) == []
    second = replace(SLIVER, name="demo_two", attributes=())
    both = replace(newer, slivers=(SLIVER, second))
    converge(fake, both)
    assert fake.offered == [OLD]
    assert images(fake) == [OLD, NEW]
    (folder(fake) / "upper/data").write_text("old")
    Slivers(fake.node).recreate(both, "demo_one")
    assert images(fake) == [NEW]
    assert not (folder(fake) / "upper/data").exists()
    assert f"IMAGE={NEW}" in (folder(fake) / "settings").read_text()


def test_another_slice_of_the_name_gets_nothing_of_the_one_before(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    (folder(fake) / "upper/data").write_text("the former owner's")
    Slivers(fake.node).stop("demo_one")
    backend, other = Slivers(fake.node), with_sliver(replace(SLIVER, slice_id=2))
    (action,) = backend.plan(other, backend.observe())
    assert action.reason == "is of another slice of this name: its disk is removed"
    before = len(fake.runner.argvs)
    assert converge(fake, other) == [Verb.CREATE]
    assert not (folder(fake) / "upper/data").exists()
    # He had stopped it, and may be connected still.
    assert [item.held for item in Slivers(fake.node).observe() if isinstance(item, SliverItem)] == [False]
    assert fake.runner.active[UNIT] == "active"
    account = str(Slots(fake.root).all()["demo_one"].account)
    assert ["pkill", "--signal", "KILL", "--uid", account] in fake.runner.argvs[before:]
    assert converge(fake, other) == []


def test_a_disk_of_another_slice_that_could_not_be_removed_is_nobodys(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    (folder(fake) / "upper/data").write_text("the former owner's")
    fake.runner.stuck.add(UNIT)
    other = with_sliver(replace(SLIVER, slice_id=2))
    with pytest.raises(SliverFailed):
        converge(fake, other)
    # Cut short, it is still another's; its number alone must not make it the new one's.
    assert not (fake.root / "etc/ssh/slivers/demo_one").exists()
    fake.runner.stuck.clear()
    assert converge(fake, other) == [Verb.CREATE]
    assert not (folder(fake) / "upper/data").exists()


def test_a_stopped_sliver_is_started(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    fake.runner.active[UNIT] = "inactive"
    assert converge(fake, DESIRED) == [Verb.START]
    # systemd forgets how often it was started before: it would refuse the sixth in forty minutes.
    assert fake.runner.verbs()[-2:] == [f"reset-failed {UNIT}", f"start {UNIT}"]


def test_one_that_starts_over_and_over_is_not_forgiven_by_a_pass(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    fake.runner.active[UNIT] = "activating"
    before = len(fake.runner.verbs())
    converge(fake, DESIRED)
    assert f"reset-failed {UNIT}" not in fake.runner.verbs()[before:]


def test_removal_leaves_nothing(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    assert converge(fake, NOTHING) == [Verb.REMOVE]
    left = {str(path.relative_to(fake.root)) for path in fake.root.rglob("*") if path.is_file()}
    assert left == {"etc/passwd", "etc/shadow", "var/lib/configmanager/slots.json"}
    assert (fake.root / "etc/passwd").read_text() == ""
    assert images(fake) == []
    assert Slots(fake.root).all() == {}
    assert fake.runner.verbs()[-2] == "stop slivers-demo\\x2done.slice"


def test_an_unpacking_cut_short_starts_anew(fake: FakeNode) -> None:
    fake.fail_unpack = ServerUnreachable("off")
    with pytest.raises(ServerUnreachable):
        converge(fake, DESIRED)
    assert not folder(fake).exists()
    assert images(fake) == []
    fake.fail_unpack = None
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert fake.runner.active[UNIT] == "active"


def test_a_sliver_that_is_half_made_is_removed_too(fake: FakeNode) -> None:
    fake.fail_unpack = ServerUnreachable("off")
    with pytest.raises(ServerUnreachable):
        converge(fake, DESIRED)
    (fake.root / f"var/lib/slivers/.images/.new-{OLD}").mkdir()
    assert converge(fake, NOTHING) == [Verb.REMOVE]
    assert list((fake.root / "var/lib/slivers/.images").iterdir()) == []
    assert list((fake.root / "var/lib/configmanager/slivers").iterdir()) == []


@pytest.mark.parametrize(
    "lost",
    ["var/lib/slivers/demo-one/settings", "etc/ssh/slivers/demo_one", "etc/passwd", "etc/shadow", "record"],
)
def test_lost_settings_are_written_again(fake: FakeNode, lost: str) -> None:
    converge(fake, DESIRED)
    (folder(fake) / "upper/data").write_text("precious")
    record = fake.root / "var/lib/configmanager/slivers/demo_one.json"
    if lost == "record":
        record.write_text('{"name":')
    else:
        (fake.root / lost).unlink()
    # A newer image has come meanwhile; the disk is the old one's.
    newer = replace(DESIRED, images=(ImageRef("sliver", NEW),))
    assert converge(fake, newer) == [Verb.CREATE]
    assert converge(fake, newer) == []
    assert json.loads(record.read_text())["manifest"] == OLD
    assert (folder(fake) / "upper/data").read_text() == "precious"


def test_a_folder_that_is_not_ours_is_left_alone(fake: FakeNode) -> None:
    folder(fake).mkdir(parents=True)
    (folder(fake) / "precious").write_text("")
    with pytest.raises(NotOurSliver):
        converge(fake, DESIRED)
    assert converge(fake, NOTHING) == []
    assert (folder(fake) / "precious").exists()


@pytest.mark.parametrize("name", ["daemon", "42", "slivers"])
def test_a_name_that_no_account_can_have_is_refused_before_anything_is_made(
    fake: FakeNode, name: str
) -> None:
    (fake.root / "etc").mkdir()
    (fake.root / "etc/passwd").write_text("daemon:x:1:1::/:/bin/false\n")
    with pytest.raises(NameTaken):
        converge(fake, with_sliver(replace(SLIVER, name=name)))
    assert fake.unpacked == []
    assert converge(fake, NOTHING) == []


def test_a_sliver_that_does_not_start_says_why_and_is_tried_again(fake: FakeNode) -> None:
    fake.runner.broken.add(UNIT)
    with pytest.raises(SliverFailed, match="out of luck"):
        converge(fake, DESIRED)
    fake.runner.broken.clear()
    assert converge(fake, DESIRED) == [Verb.START]
    assert fake.unpacked == ["sliver"]


def test_where_the_watchdog_gave_up_the_sliver_rests_and_the_server_hears_of_it_once(fake: FakeNode) -> None:
    backend = Slivers(fake.node)
    converge(fake, DESIRED, backend)
    fake.runner.active[UNIT], fake.runner.since = "failed", time.monotonic() - 10
    for _ in range(2):
        with pytest.raises(SliverFailing, match="out of luck"):
            converge(fake, DESIRED, backend)
    assert fake.events.count("sliver.failing") == 1
    assert f"start {UNIT}" not in fake.runner.verbs()[2:]
    fake.runner.since -= sliver_start.REST_SECONDS
    assert converge(fake, DESIRED, backend) == [Verb.START]
    assert fake.runner.active[UNIT] == "active"


def test_a_change_or_the_owner_tries_at_once(fake: FakeNode) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: converge(fake, with_sliver(replace(SLIVER, initscript="mended"))),
        lambda: Slivers(fake.node).start(DESIRED, "demo_one"),
    ]
    for attempt in attempts:
        converge(fake, DESIRED)
        fake.runner.active[UNIT], fake.runner.since = "failed", time.monotonic()
        attempt()
        assert fake.runner.active[UNIT] == "active"


def test_one_that_is_slow_is_not_waited_for_for_ever(fake: FakeNode) -> None:
    fake.runner.slow.add(UNIT)
    with pytest.raises(SliverSlow):
        converge(fake, DESIRED)
    fake.runner.active[UNIT] = "active"
    assert converge(fake, DESIRED) == []


def test_starts_are_apart(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(sliver_start, "APART_SECONDS", 3.0)
    monkeypatch.setattr(time, "sleep", waits.append)
    second = replace(SLIVER, name="demo_two", attributes=())
    converge(fake, replace(DESIRED, slivers=(SLIVER, second)))
    assert waits[0] == 0
    assert 2.5 < waits[1] <= 3


# As the limits read it: what they take for 0 is 0.
@pytest.mark.parametrize("value", ["0", " 00"])
def test_what_is_not_enabled_is_made_and_not_started(fake: FakeNode, value: str) -> None:
    off = replace(SLIVER, attributes=(Attribute("enabled", value),))
    assert converge(fake, with_sliver(off)) == [Verb.CREATE]
    assert UNIT not in fake.runner.active
    on = replace(SLIVER, attributes=())
    assert converge(fake, with_sliver(on)) == [Verb.START]
    assert converge(fake, with_sliver(off)) == [Verb.STOP]
    assert fake.runner.active[UNIT] == "inactive"
    assert converge(fake, with_sliver(off)) == []


def test_what_its_owner_stopped_stays_stopped_until_he_starts_it(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    Slivers(fake.node).stop("demo_one")
    assert converge(fake, DESIRED) == []
    assert converge(fake, with_sliver(replace(SLIVER, initscript="new"))) == [Verb.CHANGE]
    assert fake.runner.active[UNIT] == "inactive"
    Slivers(fake.node).start(DESIRED, "demo_one")
    assert fake.runner.active[UNIT] == "active"


def test_a_delegated_sliver_is_made_and_destroyed_by_its_delegate_only(fake: FakeNode) -> None:
    delegated = with_sliver(replace(SLIVER, instantiation=Instantiation.DELEGATED))
    decisions = Decisions(fake.root)
    assert converge(fake, decisions.applied(delegated)) == []
    decisions.set_made(delegated.slivers[0], delegated, made=True)
    assert converge(fake, Decisions(fake.root).applied(delegated)) == [Verb.CREATE]
    assert fake.runner.active[UNIT] == "active"
    assert converge(fake, decisions.applied(delegated)) == []
    decisions.set_made(delegated.slivers[0], delegated, made=False)
    assert converge(fake, decisions.applied(delegated)) == [Verb.REMOVE]


def test_nothing_is_done_to_a_sliver_that_is_not_there(fake: FakeNode) -> None:
    backend = Slivers(fake.node)
    asked: list[Callable[[], bool]] = [
        lambda: backend.stop("other"),
        lambda: backend.start(DESIRED, "demo_one"),
        lambda: backend.recreate(DESIRED, "demo_one"),
    ]
    for ask in asked:
        with pytest.raises(NoSuchSliver):
            ask()
    assert Slots(fake.root).all() == {}


def test_a_removal_cut_short_is_not_taken_for_a_sliver(
    fake: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    converge(fake, DESIRED)
    (folder(fake) / "upper/data").write_text("old")
    monkeypatch.setattr(sliver_tree, "mount_table", lambda: (Mount("none", folder(fake) / "x", "tmpfs", ()),))
    with pytest.raises(LiveMounts, match="x"):
        converge(fake, NOTHING)
    assert (folder(fake) / "upper/data").exists()
    monkeypatch.setattr(sliver_tree, "mount_table", lambda: ())
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert not (folder(fake) / "upper/data").exists()


def test_an_image_that_the_server_does_not_offer_is_named(fake: FakeNode) -> None:
    with pytest.raises(NoSliverImage, match="other"):
        converge(fake, with_sliver(replace(SLIVER, image="other")))
