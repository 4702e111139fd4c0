"""The slivers backend: what it decides, and what is left when it is cut short."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager.backends.base import Verb
from configmanager.backends.slivers import NoSliverImage, NotOurSliver, SliverFailed, Slivers
from host.http import ServerUnreachable
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
DESIRED = NodeSlivers(1000, 1, "node1", (SLIVER,), images=(ImageRef("sliver", "ab" * 32),))
UNIT = "systemd-nspawn@demo-one.service"


@pytest.fixture
def fake(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path)


def converge(fake: FakeNode, desired: NodeSlivers) -> list[Verb]:
    backend = Slivers(fake.node)
    actions = backend.plan(desired, backend.observe())
    for action in actions:
        backend.apply(desired, action)
    return [action.verb for action in actions]


def with_sliver(sliver: Sliver) -> NodeSlivers:
    return replace(DESIRED, slivers=(sliver,))


def tree(fake: FakeNode) -> Path:
    return fake.root / "var/lib/machines/demo-one"


def test_a_new_sliver_is_unpacked_configured_and_started(fake: FakeNode) -> None:
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert fake.unpacked == ["sliver"]
    settings = (fake.root / "etc/systemd/nspawn/demo-one.nspawn").read_text()
    assert "Port=tcp:8080:80\n" in settings
    assert "PrivateUsers=pick\n" in settings
    assert (tree(fake) / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA one\n"
    script = tree(fake) / "etc/bm-initscript"
    assert script.read_text() == "#!/bin/sh\ntrue\n"
    assert os.access(script, os.X_OK)
    assert fake.runner.active[UNIT] == "active"
    assert fake.events == ["sliver.started"]
    assert (fake.root / "var/lib/machines").stat().st_mode & 0o777 == 0o700


def test_a_second_pass_changes_nothing(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    before = len(fake.runner.verbs())
    assert converge(fake, DESIRED) == []
    assert len(fake.runner.verbs()) == before


def test_new_keys_do_not_restart_the_sliver(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    changed = replace(SLIVER, keys=(SliverKey("ssh", "ssh-ed25519 BBBB two"),))
    assert converge(fake, with_sliver(changed)) == [Verb.CHANGE]
    assert (tree(fake) / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 BBBB two\n"
    assert f"stop {UNIT}" not in fake.runner.verbs()


def test_files_of_an_image_are_looked_for_in_other_slivers_trees(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    assert fake.offered == []
    second = replace(SLIVER, name="demo_two", slice_id=SLIVER.slice_id + 1, attributes=())
    converge(fake, replace(DESIRED, slivers=(SLIVER, second)))
    assert fake.offered == ["demo-one"]


def test_a_new_port_restarts_the_sliver_and_keeps_its_disk(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    (tree(fake) / "data").write_text("precious")
    changed = replace(SLIVER, attributes=(Attribute("ports", "tcp:9090:80"),))
    assert converge(fake, with_sliver(changed)) == [Verb.CHANGE]
    assert fake.runner.verbs()[-2:] == [f"stop {UNIT}", f"start {UNIT}"]
    assert "9090" in (fake.root / "etc/systemd/nspawn/demo-one.nspawn").read_text()
    assert (tree(fake) / "data").read_text() == "precious"
    assert fake.unpacked == ["sliver"]


def test_a_stopped_sliver_is_started(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    fake.runner.active[UNIT] = "failed"
    assert converge(fake, DESIRED) == [Verb.START]
    assert fake.runner.verbs()[-2:] == [f"reset-failed {UNIT}", f"start {UNIT}"]


def test_removal_leaves_nothing(fake: FakeNode) -> None:
    converge(fake, DESIRED)
    assert converge(fake, replace(DESIRED, slivers=())) == [Verb.REMOVE]
    left = [path for path in fake.root.rglob("*") if not path.is_dir()]
    assert left == []
    assert list((fake.root / "var/lib/machines").iterdir()) == []
    assert fake.runner.active[UNIT] == "inactive"


def test_an_unpacking_cut_short_starts_anew(fake: FakeNode) -> None:
    fake.fail_unpack = ServerUnreachable("off")
    with pytest.raises(ServerUnreachable):
        converge(fake, DESIRED)
    assert not tree(fake).exists()
    fake.fail_unpack = None
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert fake.runner.active[UNIT] == "active"


def test_a_sliver_that_is_half_made_is_removed_too(fake: FakeNode) -> None:
    fake.fail_unpack = ServerUnreachable("off")
    with pytest.raises(ServerUnreachable):
        converge(fake, DESIRED)
    assert converge(fake, replace(DESIRED, slivers=())) == [Verb.REMOVE]
    assert list((fake.root / "var/lib/machines").iterdir()) == []
    assert list((fake.root / "var/lib/configmanager/slivers").iterdir()) == []


@pytest.mark.parametrize("lost", ["etc/systemd/nspawn/demo-one.nspawn", "record"])
def test_lost_settings_are_written_again(fake: FakeNode, lost: str) -> None:
    converge(fake, DESIRED)
    record = fake.root / "var/lib/configmanager/slivers/demo_one.json"
    if lost == "record":
        record.write_text('{"name":')
    else:
        (fake.root / lost).unlink()
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert (fake.root / "etc/systemd/nspawn/demo-one.nspawn").exists()
    assert json.loads(record.read_text())["digest"]
    assert fake.unpacked == ["sliver"]


def test_a_machine_that_is_not_ours_is_left_alone(fake: FakeNode) -> None:
    tree(fake).mkdir(parents=True)
    (tree(fake) / "precious").write_text("")
    with pytest.raises(NotOurSliver):
        converge(fake, DESIRED)
    assert converge(fake, replace(DESIRED, slivers=())) == []
    assert (tree(fake) / "precious").exists()


def test_a_sliver_that_does_not_start_says_why_and_is_tried_again(fake: FakeNode) -> None:
    fake.runner.broken.add(UNIT)
    with pytest.raises(SliverFailed, match="out of luck"):
        converge(fake, DESIRED)
    fake.runner.broken.clear()
    assert converge(fake, DESIRED) == [Verb.CREATE]
    assert fake.unpacked == ["sliver"]


def test_an_image_that_the_server_does_not_offer_is_named(fake: FakeNode) -> None:
    with pytest.raises(NoSliverImage, match="other"):
        converge(fake, with_sliver(replace(SLIVER, image="other")))


def test_delegated_slivers_are_left_to_their_delegates(fake: FakeNode) -> None:
    assert converge(fake, with_sliver(replace(SLIVER, instantiation=Instantiation.DELEGATED))) == []


def test_a_live_mount_stops_the_removal(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    from configmanager.backends import slivers
    from host.mounts import Mount

    converge(fake, DESIRED)
    live = Mount("none", tree(fake) / "mnt", "tmpfs", ())
    monkeypatch.setattr(slivers, "mount_table", lambda: (live,))
    with pytest.raises(slivers.LiveMounts, match="mnt"):
        converge(fake, replace(DESIRED, slivers=()))
    assert tree(fake).exists()
    monkeypatch.setattr(slivers, "mount_table", lambda: ())
    assert converge(fake, replace(DESIRED, slivers=())) == [Verb.REMOVE]
