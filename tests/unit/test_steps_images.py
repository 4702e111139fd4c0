"""The steps that learn which images are signed, with the server and without it."""

from dataclasses import replace

import pytest

from bootmanager.debug import DebugMode, Released
from bootmanager.engine import Engine
from bootmanager.machine import State
from bootmanager.plan import PLANS
from bootmanager.standing import Standing
from bootserver.periods import DAY
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.server import ServerClient
from images.cache import Cache
from images.manifest import SignedImage
from images.trust import SignedImages
from images.trust_errors import ImageNotSigned, NothingKnownOffline, NoTrustedRoot, OfflineTooLong
from steps import refresh_images, verify_images
from steps.base import Context, Facts
from steps.mark import _mark
from steps.refresh_images import RefreshImages
from steps.report import Report
from steps.verify_images import VerifyImages
from tests.unit.signed_site import KEY, NOW, Site, check_in_later
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration, Protocol
from wire.nodenet import NetworkSettings
from wire.trust import TrustedRoot


class Machine(Site):
    """A node of the site."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        self.told = []
        self.base = self.publish("base")
        self.sliver = self.publish("sliver")
        for module in (verify_images, refresh_images):
            monkeypatch.setattr(module, "http_of", lambda _: self.path)

    def context(self, base=None, *, server=True, dongle=True, root=None, at=NOW):
        events = Events("test", (lambda event: self.told.append((event.event, event.data.get("code"))),))
        images = (self.sliver, ImageRef("gone", "0" * 64))
        facts = [
            NodeConfiguration(1, KEY, "http://server", NetworkSettings()),
            NodeDetails(1, "n", TargetState.INST, "r", 1, base or self.base, images),
            TrustedRoot(self.root if root is None else root),
            Cache(self.dongle if dongle else None, events),
        ]
        if server:
            client = ServerClient.__new__(ServerClient)
            client.server_now = lambda: at
            facts.append(client)
        return Context(Host(None, None, events, Console([]), Options()), Facts(tuple(facts)))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def verified(context):
    found = VerifyImages().observe(context)
    assert found.holds
    return context.facts.plus(*found.facts)


def test_it_comes_before_whatever_destroys():
    for state in (State.INST, State.RINS):
        assert PLANS[state][0] == "verify_images"


def test_with_the_server_its_answer_must_be_the_signed_one(machine):
    facts = verified(machine.context())
    assert facts[SignedImages].vouch(machine.base)
    assert facts[NodeDetails].base_image == machine.base
    with pytest.raises(ImageNotSigned):
        verified(machine.context(ImageRef("base", "0" * 64)))


def test_without_the_server_the_dongle_says_what_the_images_are(machine):
    verified(machine.context())
    older = ImageRef("base", "0" * 64)
    details = verified(machine.context(older, server=False))[NodeDetails]
    assert details.base_image == machine.base
    assert details.images == (machine.sliver,)


def test_without_the_server_a_dongle_of_before_the_installation_is_none(machine, monkeypatch):
    """Somebody kept the dongle's metadata, and puts them back beside the newest configuration."""
    verified(machine.context())
    kept = machine.document().read_bytes()
    later = NOW + 60 * DAY
    machine.sign_again(later)
    newer = machine.publish("base", b"2", later)
    facts = verified(machine.context(newer, at=later))
    mark = _mark(facts)
    machine.document().write_bytes(kept)
    # Without a disk that knows better they pass: docs/images.md says so.
    assert verified(machine.context(newer, server=False))[NodeDetails].base_image == machine.base
    monkeypatch.setattr(verify_images, "read_mark", lambda run: mark)
    with pytest.raises(NothingKnownOffline):
        verified(machine.context(newer, server=False))
    # What it had at the installation is what it is installed from again.
    verified(machine.context(newer, at=later))
    assert verified(machine.context(newer, server=False))[NodeDetails].base_image == newer
    monkeypatch.setattr(verify_images, "read_mark", lambda run: replace(mark, node_id=2))
    machine.document().write_bytes(kept)
    assert verified(machine.context(newer, server=False))


def test_without_the_server_for_too_long(machine):
    verified(machine.context())
    check_in_later(machine, 31)
    with pytest.raises(OfflineTooLong):
        verified(machine.context(server=False))


def test_a_key_medium_without_a_root_installs_nothing(machine):
    with pytest.raises(NoTrustedRoot):
        verified(machine.context(root=b""))


def test_a_boot_renews_what_the_dongle_has(machine):
    assert RefreshImages().observe(machine.context(at=NOW + 5)).holds
    assert verified(machine.context(server=False))[NodeDetails].base_image == machine.base
    machine.path.asked.clear()
    assert RefreshImages().observe(machine.context(server=False)).holds
    assert RefreshImages().observe(machine.context(dongle=False)).holds
    assert machine.path.asked == []


@pytest.mark.parametrize("root", [b"", b"junk"])
def test_a_boot_goes_on_whatever_is_wrong_with_the_metadata(machine, root):
    assert RefreshImages().observe(machine.context(root=root)).holds
    assert [name for name, _ in machine.told] == ["metadata.refused"]


def test_an_installation_without_the_server_is_reported_later(machine):
    context = machine.context(server=False)
    assert Report().observe(context).holds


def test_debug_mode_after_an_installation_without_the_server_ends_when_the_server_answers(
    machine, monkeypatch
):
    engine = Engine(machine.context(server=False).host)
    engine.facts = machine.context(server=False).facts
    debug = DebugMode(engine, lambda engine: None)
    monkeypatch.setattr(debug, "_standing", lambda cause, was: Standing(1, str(was)))
    monkeypatch.setattr(debug, "_ask", lambda was: engine.facts[NodeDetails])
    monkeypatch.setattr(debug._person, "wait", lambda seconds: False)
    assert debug.stay(OfflineTooLong("x"), State.RINS) == Released("the server answers now", None)


def test_a_classic_server_signs_nothing_so_the_key_medium_pins_the_base(machine):
    context = machine.context()
    pinned = ImageRef("base", "7" * 64)
    classic = replace(context.facts[NodeConfiguration], protocol=Protocol.PLCAPI, base_image=pinned)
    given = Context(context.host, context.facts.plus(classic))
    signed = verified(given)[SignedImages]
    assert signed.vouch(pinned) == SignedImage("base", pinned.manifest, None)
    with pytest.raises(ImageNotSigned):
        signed.vouch(machine.base)
    assert machine.path.asked == []
