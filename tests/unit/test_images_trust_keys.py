"""Keys of signed images change, and nodes follow."""

import pytest
from tuf.api.metadata import Metadata

from bootserver.rootkeys import make_root_keys
from bootserver.signing import ThresholdNotMet
from images.trust_errors import MetadataForged, MetadataMixed, MetadataRolledBack
from tests.unit.signed_site import NOW, Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


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


def test_a_server_that_was_set_back_is_believed_again_after_new_keys(site):
    site.publish()
    backup = {path.name: path.read_bytes() for path in site.folder.iterdir()}
    site.publish(content=b"2")
    site.publish(content=b"3")
    site.refresh()
    for path in site.folder.iterdir():
        path.unlink()
    for name, data in backup.items():
        (site.folder / name).write_bytes(data)
    with pytest.raises(MetadataRolledBack):
        site.refresh()
    for role in ("timestamp", "snapshot"):
        site.rotate(role)
    assert site.refresh().named("base")


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
