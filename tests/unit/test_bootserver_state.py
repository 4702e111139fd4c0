"""The server's folder, and secrets at rest."""

import os
import sqlite3
import struct

import pytest

from bootserver import nodes
from bootserver.database import DatabaseUnusable, WrongSchema
from bootserver.state import (
    AlreadyInitialised,
    NoMasterKey,
    NotInitialised,
    UnsafeMasterKey,
    initialise,
    open_state,
)
from wire.messages import TargetState
from wire.sealing import CannotUnseal, MasterKey


@pytest.fixture
def folder(tmp_path):
    initialise(tmp_path / "s", {"server": "http://x"}).database.close()
    return tmp_path / "s"


def add(state, name="n"):
    with state.database.write() as session:
        node = nodes.add(session, state.master, name, TargetState.NEW, "base")
        return nodes.key_of(state.master, node), node.sealed_key


def test_only_the_owner_reads_it(folder):
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600


def test_it_is_made_once(folder):
    before = (folder / "master.key").read_bytes()
    with pytest.raises(AlreadyInitialised):
        initialise(folder, {})
    assert (folder / "master.key").read_bytes() == before
    assert open_state(folder).setting("server") == "http://x"


def test_a_folder_without_one(tmp_path):
    with pytest.raises(NotInitialised):
        open_state(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_master_key_that_others_may_use_is_refused(folder, mode):
    (folder / "master.key").chmod(mode)
    with pytest.raises(UnsafeMasterKey, match=f"{mode:o}"):
        open_state(folder)


@pytest.fixture
def credential(folder, tmp_path, monkeypatch):
    """The master key moved out of the folder, to where systemd hands it in."""
    given = tmp_path / "credentials"
    given.mkdir(mode=0o700)
    (folder / "master.key").rename(given / "bootserver-master-key")
    (given / "bootserver-master-key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    return given / "bootserver-master-key"


def test_the_master_key_can_be_a_credential(folder, credential):
    state = open_state(folder)
    key, _ = add(state)
    assert state.master.secret == credential.read_bytes()
    assert key.secret
    assert "secret" not in repr(state)


@pytest.mark.parametrize("mode", [0o440, 0o404])
def test_a_credential_that_others_may_read_is_refused(folder, credential, mode):
    credential.chmod(mode)
    with pytest.raises(UnsafeMasterKey, match=f"{mode:o}"):
        open_state(folder)


def acl(*entries):
    """As linux/posix_acl_xattr.h has it: version 2, then tag, rights and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_credential_for_one_user_by_an_access_list_is_what_systemd_makes(folder, credential):
    anyone = 0xFFFFFFFF
    rights = acl((1, 4, anyone), (2, 4, 12345), (4, 0, anyone), (16, 4, anyone), (32, 0, anyone))
    os.setxattr(credential, "system.posix_acl_access", rights)
    assert credential.stat().st_mode & 0o777 == 0o440, "the mask shows in the place of the group's rights"
    assert open_state(folder).master


def test_the_credential_wins_over_the_file(folder, credential):
    (folder / "master.key").write_bytes(bytes(32))
    (folder / "master.key").chmod(0o600)
    assert open_state(folder).master.secret == credential.read_bytes()


def test_a_folder_made_with_a_credential_has_no_master_key(tmp_path, credential):
    state = initialise(tmp_path / "other", {})
    assert not (tmp_path / "other/master.key").exists()
    assert state.master.secret == credential.read_bytes()


def test_without_a_master_key_only_what_needs_none_goes_on(folder, credential, monkeypatch):
    add(open_state(folder), "one")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    state = open_state(folder)
    with state.database.write() as session:
        nodes.set_intent(nodes.find(session, "one"), TargetState.BOOT)
        with pytest.raises(NoMasterKey):
            nodes.key_of(state.master, nodes.find(session, "one"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_master_key_is_refused(folder, size):
    (folder / "master.key").write_bytes(b"x" * size)
    with pytest.raises(UnsafeMasterKey):
        open_state(folder)


def test_another_format_is_refused(folder):
    with sqlite3.connect(folder / "bootserver.db") as database:
        database.execute("UPDATE settings SET value = '999' WHERE key = 'schema'")
    database.close()
    with pytest.raises(WrongSchema, match="999"):
        open_state(folder)


def test_a_file_that_is_no_database_is_refused(folder):
    (folder / "bootserver.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        open_state(folder)


def test_keys_are_sealed_in_the_database(folder):
    state = open_state(folder)
    key, _ = add(state)
    state.database.close()
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for form in (key.secret, key.to_text().encode(), key.secret.hex().encode()):
        assert form not in stored


def test_a_sealed_key_does_not_open_as_another_nodes(folder):
    state = open_state(folder)
    _, sealed = add(state, "one")
    add(state, "two")
    with state.database.write() as session:
        two = nodes.find(session, "two")
        two.sealed_key = sealed
        with pytest.raises(CannotUnseal):
            nodes.key_of(state.master, two)


def test_another_master_key_opens_nothing():
    sealed = MasterKey.generate().seal(b"secret", "p")
    with pytest.raises(CannotUnseal):
        MasterKey.generate().unseal(sealed, "p")


@pytest.mark.parametrize("position", [0, 12, -1])
def test_a_sealed_secret_that_was_changed_does_not_open(position):
    master = MasterKey.generate()
    sealed = bytearray(master.seal(b"secret", "p"))
    sealed[position] ^= 1
    with pytest.raises(CannotUnseal):
        master.unseal(bytes(sealed), "p")
    with pytest.raises(CannotUnseal):
        master.unseal(b"", "p")


def test_a_secret_opens_with_its_key_and_purpose():
    master = MasterKey.generate()
    assert master.unseal(master.seal(b"secret", "p"), "p") == b"secret"
    with pytest.raises(CannotUnseal):
        master.unseal(master.seal(b"secret", "p"), "q")
    assert "secret=" not in repr(master)


def test_the_id_of_a_removed_node_is_not_given_again(folder):
    state = open_state(folder)
    add(state, "one")
    with state.database.write() as session:
        first = nodes.find(session, "one")
        number = first.id
        session.delete(first)
    add(state, "two")
    with state.database.read() as session:
        assert nodes.find(session, "two").id > number
