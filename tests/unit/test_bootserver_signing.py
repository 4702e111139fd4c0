"""The server's side of signed images: what it signs, for how long, and what it needs for that."""

import logging
import time

import pytest
from click.testing import CliRunner
from tuf.api.metadata import Metadata

from bootserver import cli, metadata, signing
from bootserver.metadata import NotSigning
from bootserver.periods import DAY, Periods
from bootserver.rootkeys import load_root_keys, make_root_keys
from bootserver.signing import ONLINE, Signing, StoredMetadataDamaged
from bootserver.state import initialise
from tests.unit.bootserver_deployment import Deployment
from tests.unit.image_trees import manifest_of
from wire.pem import BadSigningKey
from wire.sealing import MasterKey

MANIFEST = manifest_of("base")


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


def sign(server, do, now=None, **how):
    with server.state.database.write() as session:
        return do(Signing(server.state.metadata, session, server.state.master, now=now, **how))


def versions(server):
    return {row["role"]: row["version"] for row in server.cli_json("keys", "list")}


def test_all_roles_are_there_from_the_start(server):
    rows = {row["role"]: row for row in server.cli_json("keys", "list")}
    assert list(rows) == ["root", "targets", "snapshot", "timestamp"]
    assert (len(rows["root"]["keys"]), rows["root"]["threshold"]) == (3, 2)
    assert len({key for row in rows.values() for key in row["keys"]}) == 6
    for role, row in rows.items():
        assert row["expires"] == pytest.approx(time.time() + getattr(Periods(), role) * DAY, abs=600)
    assert "timestamp" in server.cli("keys", "list")


def test_publishing_again_signs_nothing_new(server):
    assert sign(server, lambda it: it.publish(MANIFEST))
    before = versions(server)
    assert not sign(server, lambda it: it.publish(MANIFEST))
    assert versions(server) == before == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}


def test_what_has_lived_half_of_its_days_is_signed_again(server):
    now = time.time()
    sign(server, lambda it: it.sign_again(ONLINE), now)
    assert sign(server, lambda it: it.renew(), now + Periods().timestamp * DAY / 2 - 60) == ()
    before = versions(server)
    assert sign(server, lambda it: it.renew(), now + Periods().timestamp * DAY / 2 + 60) == ("timestamp",)
    assert versions(server) == before | {"timestamp": before["timestamp"] + 1}
    assert sign(server, lambda it: it.renew(), now + Periods().snapshot * DAY) == ("snapshot", "timestamp")
    assert sign(server, lambda it: it.renew(), now + Periods().targets * DAY) == ONLINE


def test_the_server_says_when_root_must_be_renewed(server, caplog):
    with caplog.at_level(logging.WARNING):
        signing.renew(server.state)
        assert caplog.messages == []
        sign(server, lambda it: it.renew_root(), time.time() - 340 * DAY, root_keys=keys(server, 1, 2))
        signing.renew(server.state)
    assert "root expires in 25 days" in caplog.messages[0]


def keys(server, *numbers):
    return load_root_keys([server.folder / "root-keys" / f"root-{number}.pem" for number in numbers])


def test_periods_are_settings(server):
    assert server.cli_json("keys", "expiry")[0]["offline"] == 30
    before = versions(server)
    shown = server.cli_json("keys", "expiry", "--timestamp", "1", "--offline", "0")[0]
    assert shown == {"root": 365, "targets": 90, "snapshot": 14, "timestamp": 1, "offline": 0}
    assert versions(server) == {role: n + (role != "root") for role, n in before.items()}
    timestamp = Metadata.from_file(str(server.state.metadata / "timestamp.json")).signed
    assert timestamp.unrecognized_fields == {"x-offline-seconds": 0}
    server.cli("keys", "expiry", "--timestamp", "0", status=2)


def test_old_versions_go_but_those_of_root(server):
    for _ in range(12):
        sign(server, lambda it: it.sign_again(ONLINE))
        sign(server, lambda it: it.renew_root(), root_keys=keys(server, 1, 2))
    files = server.state.metadata
    assert len(metadata.versions(files, "root")) == 13
    for role in ("targets", "snapshot"):
        assert sorted(metadata.versions(files, role)) == list(range(6, 14))


def test_a_key_that_was_prepared_and_then_forgotten_does_no_harm(server):
    """The power fails between a key and the root that should name it."""
    sign(server, lambda it: it.prepare("timestamp"))
    sign(server, lambda it: it.sign_again(("timestamp",)))
    sign(server, lambda it: it.prepare("timestamp"))
    sign(server, lambda it: it.rotate("timestamp"), root_keys=keys(server, 1, 2))
    sign(server, lambda it: it.sign_again(("timestamp",)))
    root = Metadata.from_file(str(server.state.metadata / "2.root.json"))
    timestamp = Metadata.from_file(str(server.state.metadata / "timestamp.json"))
    root.signed.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)


def test_a_replaced_key_does_not_come_back_after_a_rotation_that_was_cut_off(server, monkeypatch):
    """The power fails when root has named the new key, and the rotation is made again."""

    def named():
        return metadata_of_root(server).roles["timestamp"].keyids

    first = named()
    sign(server, lambda it: it.prepare("timestamp"))
    present = keys(server, 1, 2)
    with monkeypatch.context() as cut:
        cut.setattr(Signing, "sign_again", power_cut)
        with pytest.raises(KeyboardInterrupt):
            sign(server, lambda it: it.rotate("timestamp"), root_keys=present)
    second = named()
    sign(server, lambda it: it.prepare("timestamp"))
    sign(server, lambda it: it.rotate("timestamp"), root_keys=keys(server, 1, 2))
    third = named()
    assert len({*first, *second, *third}) == 3
    with server.state.database.read() as session:
        query = signing.select(signing.SigningKey.keyid).where(signing.SigningKey.role == "timestamp")
        assert list(session.scalars(query)) == third


def metadata_of_root(server):
    return Metadata.from_bytes(metadata.trusted_root(server.state.metadata)).signed


def power_cut(*words):
    raise KeyboardInterrupt


def test_a_server_without_roles_says_so(tmp_path):
    state = initialise(tmp_path / "bare", {})
    with pytest.raises(NotSigning), state.database.write() as session:
        Signing(state.metadata, session, state.master).publish(MANIFEST)
    with pytest.raises(NotSigning):
        metadata.trusted_root(state.metadata)


def test_damaged_metadata_are_said(server):
    (server.state.metadata / "1.root.json").write_text("{}")
    assert "stored-metadata-damaged" in server.cli("keys", "list", status=1)
    with pytest.raises(StoredMetadataDamaged):
        sign(server, lambda it: it.sign_again(ONLINE))


def test_online_keys_are_sealed_for_their_role(server):
    with server.state.database.read() as session:
        rows = list(session.scalars(signing.select(signing.SigningKey)))
    assert sorted(row.role for row in rows) == sorted(ONLINE)
    assert all(b"PRIVATE" not in row.sealed for row in rows)
    other = MasterKey(server.state.master.secret)
    for row in rows:
        assert b"PRIVATE KEY" in other.unseal(row.sealed, f"signing {row.role}")


def test_root_keys_are_files_that_only_their_owner_reads(tmp_path):
    made = make_root_keys(tmp_path / "keys", 2, b"secret")
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    again = load_root_keys(files, b"secret")
    assert [key.public_key.keyid for key in again] == [key.public_key.keyid for key in made]
    for passphrase, text in ((b"wrong", "wrong passphrase"), (b"", "is encrypted")):
        with pytest.raises(BadSigningKey, match=text):
            load_root_keys(files, passphrase)
    with pytest.raises(BadSigningKey, match="File exists"):
        make_root_keys(tmp_path / "keys", 2)


def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path):
    for words in (["--root-threshold", "4"], ["--root-keys", str(tmp_path)]):
        done = CliRunner().invoke(cli.main, ["init", str(tmp_path / "s"), *words])
        assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    done = CliRunner().invoke(cli.main, ["init", str(tmp_path / "s")])
    assert f"Take {tmp_path}/s/root-keys away" in done.stdout


def test_root_and_online_roles_are_rotated_in_their_own_ways(server, tmp_path):
    key = ["--root-key", str(server.folder / "root-keys/root-1.pem")]
    server.cli("keys", "rotate", "root", *key, status=2)
    server.cli("keys", "rotate", "timestamp", *key, "--new-keys", str(tmp_path / "new"), status=2)
    assert not (tmp_path / "new").exists()
