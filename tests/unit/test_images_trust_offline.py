"""What a node believes of images while its server is away, and for how long."""

import json
from dataclasses import replace

import pytest

from bootserver.periods import DAY, Periods
from host.http import ServerUnreachable
from images.trust_errors import MetadataForged, NothingKnownOffline, OfflineTooLong
from tests.unit.signed_site import NOW, Site, check_in_later
from wire.session import NodeKey
from wire.trust import OFFLINE_FIELD


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_the_cache_counts_within_the_offline_age(site):
    ref = site.publish()
    site.refresh(NOW)
    assert site.trust().recall().vouch(ref)


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
