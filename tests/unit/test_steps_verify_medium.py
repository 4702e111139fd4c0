"""A system that came over the network runs with the node's key only if the deployment has signed it."""

import json
import time

import pytest

from bootserver.metadata import newest, trusted_root
from bootserver.netboot_app import _bundle
from bootserver.periods import DAY
from bootserver.signing import Signing
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from hwdetect.media import Candidate, Fetched, Media, fetched
from images.trust_errors import MetadataForged, MetadataMalformed, MetadataMixed, NoTrustedRoot
from steps.base import Context, Facts
from steps.read_configuration import ReadConfiguration, trusted_root_of
from steps.verify_medium import MediumNotSigned, VerifyMedium
from tests.unit.bootserver_deployment import Deployment
from tests.unit.image_trees import manifest_of
from wire.trust import TrustedRoot

LAYERS = b"00ff  10-distribution.squashfs\n"
KEY_FILE = (
    'NODE_ID="5"\nNODE_KEY="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="\nBOOT_SERVER="http://192.0.2.1"\n'
)


@pytest.fixture
def server(tmp_path):
    made = Deployment(tmp_path / "state")
    sign(made, lambda signing: signing.vouch("medium/1", LAYERS))
    return made


def sign(server, do, **how):
    with server.state.database.write() as session:
        return do(Signing(server.state.metadata, session, server.state.master, **how))


def bundle(server):
    return json.dumps(_bundle(server.state.metadata)).encode()


def verify(server, *, layers=LAYERS, metadata=None, root=None):
    came = Fetched(layers, bundle(server) if metadata is None else metadata)
    trusted = TrustedRoot(trusted_root(server.state.metadata) if root is None else root)
    return VerifyMedium().observe(Context(None, Facts((Media(fetched=came), trusted))))


def test_what_the_deployment_signed_runs(server):
    assert verify(server).holds


def test_other_layers_do_not(server):
    with pytest.raises(MediumNotSigned):
        verify(server, layers=LAYERS + b"00ee  20-more.squashfs\n")


def test_an_images_manifest_is_no_list_of_layers(server):
    manifest = manifest_of("base")
    sign(server, lambda signing: signing.publish(manifest))
    with pytest.raises(MediumNotSigned):
        verify(server, layers=manifest.to_bytes())


def test_a_list_that_was_taken_back_is_none(server):
    sign(server, lambda signing: signing.vouch("medium/2", b"newer", ("medium/1",)))
    with pytest.raises(MediumNotSigned):
        verify(server)
    assert verify(server, layers=b"newer").holds


def test_another_deployments_signature_is_none(server, tmp_path):
    other = Deployment(tmp_path / "other", "another")
    sign(other, lambda signing: signing.vouch("medium/1", LAYERS))
    with pytest.raises(MetadataForged):
        verify(server, metadata=bundle(other))


def test_without_a_root_on_the_key_medium_nothing_is_believed(server):
    with pytest.raises(NoTrustedRoot):
        verify(server, root=b"")


def test_without_metadata_nobody_vouches(server):
    with pytest.raises(MediumNotSigned, match=r"no metadata\.json"):
        verify(server, metadata=b"")


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"timestamp.json": 5}', b"\xff", b"[" * 100000])
def test_junk_is_malformed(server, metadata):
    with pytest.raises(MetadataMalformed):
        verify(server, metadata=metadata)


def test_a_part_of_the_metadata_is_not_enough(server):
    files = json.loads(bundle(server))
    del files["targets.json"]
    with pytest.raises(MetadataMixed):
        verify(server, metadata=json.dumps(files).encode())


def test_its_limit_what_was_signed_once_passes_whenever_that_was(server):
    """Before the key is used nobody can say what time it is."""
    sign(server, lambda signing: signing.sign_again(["targets"]), now=time.time() - 4000 * DAY)
    assert verify(server).holds


def test_metadata_are_those_that_the_timestamp_leads_to(server):
    before = bundle(server)
    folder = server.state.metadata
    later = newest(folder, "targets")
    (folder / "99.targets.json").write_bytes(later.read_bytes())
    assert bundle(server) == before


def test_a_medium_that_is_plugged_in_is_not_asked(server):
    facts = Facts((Media(boot=("/dev/sda",)), TrustedRoot(b"")))
    assert VerifyMedium().observe(Context(None, facts)).holds


def test_what_came_over_the_network_does_not_say_whose_signatures_count(tmp_path, monkeypatch):
    own = tmp_path / "root.json"
    own.write_bytes(b"of the downloaded system")
    key = (Candidate("/dev/sdb", "/dev/sdb", "plnode.txt", KEY_FILE, b"of the key medium"),)
    assert trusted_root_of(key, own).data == b"of the downloaded system"
    monkeypatch.setattr(trusted_root_of, "__defaults__", (own,))
    host = Host(None, None, Events("t"), Console([]), Options(), tmp_path)
    for came, root in ((None, b"of the downloaded system"), (Fetched(LAYERS, b""), b"of the key medium")):
        facts = Facts((Media(candidates=key, fetched=came),))
        found = ReadConfiguration().observe(Context(host, facts)).facts
        assert TrustedRoot(root) in found


def test_what_the_initial_ramdisk_left_is_found(tmp_path):
    assert fetched(tmp_path) is None
    (tmp_path / "layers.sha256").write_bytes(LAYERS)
    assert fetched(tmp_path) == Fetched(LAYERS, b"")
    (tmp_path / "metadata.json").write_bytes(b"{}")
    assert fetched(tmp_path) == Fetched(LAYERS, b"{}")
