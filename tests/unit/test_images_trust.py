"""Signed images, from the server that publishes to the node that believes it, and what it does not believe.

The server is the real one, without a network; the node's side is the real one too, on a folder as dongle.
"""

import json
from datetime import UTC, datetime

import pytest
from tuf.ngclient._internal import trusted_metadata_set

from bootserver.periods import DAY, Periods
from images import trust
from images.manifest import sha256
from images.trust_errors import (
    ImageNotSigned,
    MetadataExpired,
    MetadataForged,
    MetadataMalformed,
    MetadataMixed,
    MetadataRolledBack,
    NothingKnownOffline,
    NoTrustedRoot,
)
from tests.unit.bootserver_deployment import Deployment
from tests.unit.signed_site import NOW, Site
from wire.messages import ImageRef
from wire.trust import METADATA_PATH


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


# --- what is right ---


def test_what_was_published_is_vouched_for(site):
    ref = site.publish()
    signed = site.refresh().vouch(ref)
    assert signed.name == "base"
    assert signed.sha256 == ref.manifest
    assert signed.size == len(site.server.state.blobs.get(ref.manifest))


def test_without_a_dongle_it_is_the_same(site):
    ref = site.publish()
    assert site.refresh(dongle=False).vouch(ref)
    assert list(site.dongle.iterdir()) == []


def test_a_second_look_fetches_what_may_have_changed_and_no_more(site):
    site.publish()
    site.refresh()
    site.path.asked.clear()
    site.refresh()
    assert site.path.asked == ["2.root.json", "timestamp.json"]


def test_any_client_of_tuf_finds_the_targets(site):
    ref = site.publish()
    answer = site.server.web.get(f"/tuf/targets/{ref.manifest}.base")
    assert sha256(answer.content) == ref.manifest


@pytest.mark.parametrize(
    "name", ["../bootserver.db", "0.root.json", "1.root.json.x", "master.key", "x.targets.json"]
)
def test_nothing_but_metadata_is_served(site, name):
    assert site.server.web.get(METADATA_PATH + name).status_code == 404


def test_what_else_lies_beside_the_metadata_is_not_served(site):
    for name in (".timestamp.json.abc", "note.txt", "timestamp.json~"):
        (site.folder / name).write_text("x")
        assert site.server.web.get(METADATA_PATH + name).status_code == 404


# --- what is not signed ---


def test_an_image_that_the_server_only_tells_of_is_refused(site):
    site.publish()
    signed = site.refresh()
    with pytest.raises(ImageNotSigned, match="no signed image has the name 'other'"):
        signed.vouch(ImageRef("other", "0" * 64))


def test_a_rolled_back_image_is_refused(site):
    old = site.publish(content=b"old")
    new = site.publish(content=b"new")
    signed = site.refresh()
    assert signed.vouch(new)
    with pytest.raises(ImageNotSigned):
        signed.vouch(old)


def test_without_a_root_nothing_is_trusted(site):
    with pytest.raises(NoTrustedRoot):
        site.refresh(root=b"")


@pytest.mark.parametrize("root", [b"junk", b"{}", b"[" * 10_000])
def test_a_root_that_is_none_is_said(site, root):
    with pytest.raises(MetadataMalformed):
        site.refresh(root=root)


def test_another_deployments_root_is_refused(site, tmp_path):
    other = Deployment(tmp_path / "other", owner="another")
    with pytest.raises(MetadataForged):
        site.refresh(root=(other.state.metadata / "1.root.json").read_bytes())


def served(site):
    """Return the names of the files that a node without a dongle fetches now."""
    site.path.asked.clear()
    site.refresh(dongle=False)
    return [name for name in site.path.asked if name != "2.root.json"]


def test_tampered_and_truncated_metadata_are_refused(site):
    site.publish()
    for name in served(site):
        whole = site.recording()[name]
        for forged in (
            whole[:-1],
            whole[: len(whole) // 2],
            b"",
            b"null",
            whole.replace(b'"version":', b'"version":1'),
        ):
            site.path.forged = {name: forged}
            with pytest.raises((MetadataForged, MetadataMalformed, MetadataMixed)):
                site.refresh(dongle=False)


def test_every_byte_of_the_timestamp_counts(site):
    whole = site.recording()["timestamp.json"]
    for place in range(0, len(whole), 17):
        forged = bytearray(whole)
        forged[place] ^= 1
        site.path.forged = {"timestamp.json": bytes(forged)}
        if json_equal(forged, whole):
            continue
        with pytest.raises((MetadataForged, MetadataMalformed, MetadataMixed, MetadataRolledBack)):
            site.refresh(dongle=False)


def json_equal(one, other):
    """White space between values is not signed; hex digits of a signature may change their case."""
    try:
        return json.loads(bytes(one).lower()) == json.loads(other.lower())
    except ValueError:
        return False


def test_endless_metadata_are_cut_off(site):
    site.path.forged = {"timestamp.json": b" " * 10_000_000}
    with pytest.raises(MetadataMixed):
        site.refresh()


def test_metadata_signed_by_one_role_do_not_pass_for_another(site):
    snapshot = next(name for name in served(site) if "snapshot" in name)
    site.path.forged = {"timestamp.json": site.recording()[snapshot]}
    with pytest.raises(MetadataMalformed):
        site.refresh()


# --- older ones ---


def test_metadata_older_than_those_seen_are_refused(site):
    site.publish(content=b"old")
    old = site.recording()
    site.publish(content=b"new")
    site.refresh()
    site.path.forged = old
    with pytest.raises(MetadataRolledBack):
        site.refresh()
    # What makes the difference is what the dongle remembers: a wiped one begins at the root, as it must.
    site.document().unlink()
    assert site.refresh()


def test_a_tampered_dongle_costs_a_fetch_and_no_more(site):
    ref = site.publish()
    site.refresh()
    whole = site.document().read_bytes()
    for forged in (b"", whole[:100], whole.replace(b"targets", b"tArgets"), whole[::-1]):
        site.document().write_bytes(forged)
        assert site.refresh().vouch(ref)
        assert len(site.document().read_bytes()) == len(whole)
        site.document().write_bytes(forged)
        with pytest.raises(NothingKnownOffline):
            site.trust().recall()


def test_metadata_of_two_publications_do_not_mix(site):
    site.publish(content=b"1")
    old = site.recording()
    site.publish(content=b"2")
    new = site.recording()
    for role in ("snapshot", "targets"):
        was, now = (max(n for n in files if role in n) for files in (old, new))
        assert was != now
        site.path.forged = {now: old[was]}
        with pytest.raises(MetadataMixed):
            site.refresh(dongle=False)


# --- time ---


def test_expired_metadata_are_refused_by_the_servers_time(site):
    site.publish()
    periods = Periods()
    for days, what in ((periods.timestamp, "timestamp"), (periods.root + 1, "root")):
        with pytest.raises(MetadataExpired, match=what):
            site.refresh(NOW + days * DAY)
    assert site.refresh(NOW + periods.timestamp * DAY - 1)


@pytest.mark.parametrize("year", [1970, 2099])
def test_the_machines_clock_does_not_matter(site, monkeypatch, year):
    ref = site.publish()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(year, 1, 2, tzinfo=UTC)

    monkeypatch.setattr(trusted_metadata_set.datetime, "datetime", Clock)
    monkeypatch.setattr(trust, "datetime", Clock)
    assert site.refresh().vouch(ref)
    with pytest.raises(MetadataExpired):
        site.refresh(NOW + 3 * DAY)
    assert site.trust().recall().vouch(ref)
