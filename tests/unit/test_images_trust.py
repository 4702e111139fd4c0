"""Signed images, from the server that publishes to the node that believes it, and what it does not believe.

The server is the real one, without a network; the node's side is the real one too, on a folder as dongle.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata
from tuf.ngclient._internal import trusted_metadata_set

from bootserver.catalogue import current_image, publish
from bootserver.periods import DAY, Periods
from bootserver.rootkeys import load_root_keys, make_root_keys
from bootserver.signing import Signing, ThresholdNotMet
from host.events import Events
from host.http import AnswerTooLong, NotAtServer, ServerUnreachable
from images import trust
from images.cache import Cache
from images.manifest import Blob, Layer, Manifest, sha256
from images.trust import DOCUMENT, ImageTrust
from images.trust_errors import (
    ImageNotSigned,
    MetadataExpired,
    MetadataForged,
    MetadataMalformed,
    MetadataMixed,
    MetadataRolledBack,
    NothingKnownOffline,
    NoTrustedRoot,
    OfflineTooLong,
)
from tests.unit.bootserver_deployment import Deployment
from wire.messages import ImageRef
from wire.session import NodeKey
from wire.trust import METADATA_PATH, OFFLINE_FIELD, TrustedRoot

NOW = 1_800_000_000.0
KEY = NodeKey(b"k" * 32)


class Path:
    """The way to the server, on which somebody may sit: `forged` answers, None for "not there"."""

    base_url = "http://server"

    def __init__(self, web):
        self.web = web
        self.forged = {}
        self.asked = []
        self.up = True

    def get(self, path, *, limit, retry):
        name = path.removeprefix(METADATA_PATH)
        self.asked.append(name)
        if not self.up:
            raise ServerUnreachable("gone")
        if name in self.forged:
            status, content = (404, b"") if self.forged[name] is None else (200, self.forged[name])
        else:
            answer = self.web.get(path)
            status, content = answer.status_code, answer.content
        if status == 404:
            raise NotAtServer(path)
        assert status == 200
        if len(content) > limit:
            raise AnswerTooLong(path)
        return content


class Site:
    """A deployment, its node, the dongle and the way between."""

    def __init__(self, folder, owner="deployment"):
        self.server = Deployment(folder / "state", owner)
        self.folder = self.server.state.metadata
        self.dongle = folder / "dongle"
        self.dongle.mkdir(parents=True)
        self.path = Path(self.server.web)
        self.sign_again(NOW)
        self.root = (self.folder / "1.root.json").read_bytes()

    def signing(self, session, now, keys=()):
        state = self.server.state
        return Signing(state.metadata, session, state.master, root_keys=keys, now=now)

    def sign_again(self, now):
        with self.server.state.database.write() as session:
            self.signing(session, now).sign_again(("targets", "snapshot", "timestamp"))

    def publish(self, name="base", content=b"1", now=NOW):
        manifest = Manifest(name, (Layer((Blob(sha256(content), len(content)),), 10),))
        self.server.state.blobs.put(manifest.to_bytes())
        with self.server.state.database.write() as session:
            self.signing(session, now).publish(manifest)
            publish(session, name, manifest.digest)
            return current_image(session, name)

    def root_keys(self, *numbers, folder="root-keys"):
        return load_root_keys([self.server.folder / folder / f"root-{number}.pem" for number in numbers])

    def rotate(self, role, now=NOW):
        with self.server.state.database.write() as session:
            self.signing(session, now).prepare(role)
            self.signing(session, now, self.root_keys(1, 2)).rotate(role)

    def trust(self, *, root=None, dongle=True, key=KEY):
        cache = Cache(self.dongle if dongle else None, Events("test"))
        return ImageTrust(TrustedRoot(self.root if root is None else root), cache, key)

    def refresh(self, now=NOW, **how):
        return self.trust(**how).refresh(self.path, now)

    def recording(self):
        """Return all metadata as they are served now."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def document(self):
        return self.dongle / "documents" / f"{DOCUMENT}.json"


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


# --- keys change ---


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_node_follows_a_rotated_key(site, role):
    ref = site.publish()
    site.refresh()
    old = site.recording()
    site.rotate(role)
    assert site.refresh().vouch(ref)
    assert site.refresh(dongle=False).vouch(ref)
    assert "2.root.json" in site.recording()
    # What the old key signed is worth nothing any more, also for a node that hears of the new root only now.
    name = max(name for name in old if role in name)
    present = max(name for name in site.recording() if role in name)
    site.path.forged = {present: old[name]}
    with pytest.raises((MetadataForged, MetadataMixed)):
        site.refresh(dongle=False)


def rotate_root(site, *with_keys):
    fresh = site.server.folder / "fresh"
    keys = make_root_keys(fresh, 3)
    with site.server.state.database.write() as session:
        site.signing(session, NOW, site.root_keys(*with_keys)).rotate_root(keys, 2)


def renew_root(site, *keys):
    with site.server.state.database.write() as session:
        site.signing(session, NOW, keys).renew_root()


def test_a_node_with_the_old_root_follows_to_the_new_keys(site):
    ref = site.publish()
    rotate_root(site, 1, 3)
    assert site.refresh().vouch(ref)
    renew_root(site, *site.root_keys(1, 2, folder="fresh"))
    site.path.asked.clear()
    assert site.refresh().vouch(ref)
    # The second root was on the dongle.
    assert [name for name in site.path.asked if "root" in name] == ["3.root.json", "4.root.json"]
    assert site.trust().recall().vouch(ref)


def test_too_few_old_keys_change_nothing(site):
    before = site.recording()
    with pytest.raises(ThresholdNotMet, match="1 of 2"):
        rotate_root(site, 1)
    with pytest.raises(ThresholdNotMet):
        renew_root(site, *site.root_keys(2))
    assert site.recording() == before


def test_a_root_that_one_key_signed_is_refused(site):
    md = Metadata.from_bytes(site.root)
    md.signed.version = 2
    md.signatures.clear()
    md.sign(site.root_keys(1)[0])
    site.path.forged = {"2.root.json": md.to_bytes()}
    with pytest.raises(MetadataForged):
        site.refresh()


def test_a_hidden_root_is_remembered(site):
    """Whoever has an online key that was rotated away cannot go on by keeping the new root from the node."""
    site.publish()
    old = site.recording()
    site.rotate("timestamp")
    site.refresh()
    site.path.forged = {**old, "2.root.json": None, "3.root.json": None}
    with pytest.raises((MetadataForged, MetadataRolledBack)):
        site.refresh()


# --- without the server ---


def test_the_cache_counts_within_the_offline_age(site):
    ref = site.publish()
    site.refresh(NOW)
    assert site.trust().recall().vouch(ref)


def check_in_later(site, days):
    """The server is there for calls, but its metadata cannot be had."""
    site.path.forged = {"timestamp.json": b"junk"}
    with pytest.raises(MetadataMalformed):
        site.refresh(NOW + days * DAY)
    site.path.forged = {}


def test_beyond_the_offline_age_it_does_not(site):
    ref = site.publish()
    site.refresh(NOW)
    check_in_later(site, 30)
    assert site.trust().recall().vouch(ref)
    check_in_later(site, 31)
    with pytest.raises(OfflineTooLong, match=r"31\.0 days old, 30\.0 allowed"):
        site.trust().recall()
    # The newest time never goes back.
    check_in_later(site, 1)
    with pytest.raises(OfflineTooLong):
        site.trust().recall()


def test_the_deployment_sets_the_offline_age(site):
    with site.server.state.database.write() as session:
        replace(Periods(), offline=1).store(session)
        session.flush()
        site.signing(session, NOW).sign_again(("timestamp",))
    site.refresh(NOW)
    check_in_later(site, 2)
    with pytest.raises(OfflineTooLong):
        site.trust().recall()


def test_the_offline_age_is_signed(site):
    md = json.loads(site.recording()["timestamp.json"])
    assert md["signed"][OFFLINE_FIELD] == 30 * DAY
    md["signed"][OFFLINE_FIELD] = 300 * DAY
    site.path.forged = {"timestamp.json": json.dumps(md).encode()}
    with pytest.raises(MetadataForged):
        site.refresh()


def test_another_nodes_dongle_says_nothing(site):
    site.refresh()
    with pytest.raises(NothingKnownOffline):
        site.trust(key=NodeKey(b"x" * 32)).recall()


def test_metadata_that_are_kept_from_a_node_age_all_the_same(site):
    """Somebody lets calls through, which tell the time, and no metadata."""
    site.refresh(NOW)
    site.path.up = False
    with pytest.raises(ServerUnreachable):
        site.refresh(NOW + 31 * DAY)
    with pytest.raises(OfflineTooLong):
        site.trust().recall()


def test_a_dongle_of_another_deployment_costs_a_fetch_and_no_more(tmp_path):
    old, new = Site(tmp_path / "old"), Site(tmp_path / "new", owner="another")
    old.rotate("timestamp")
    old.refresh()
    (new.dongle / "documents").mkdir()
    new.document().write_bytes(old.document().read_bytes())
    ref = new.publish()
    assert new.refresh().vouch(ref)
    assert new.trust().recall().vouch(ref)
