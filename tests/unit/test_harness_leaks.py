"""The search for leaked secrets finds them: in every form, anywhere in a file, and in no other file."""

import base64

import pytest

from bootserver.state import initialise
from tests.vm.harness.leaks import holders, server_secrets

SECRET = bytes(range(7, 39))
FORMS = {
    "raw": SECRET,
    "base64": base64.b64encode(SECRET),
    "hex": SECRET.hex().encode(),
    "HEX": SECRET.hex().upper().encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("offset", [0, 1000, 4 * 2**20 - 10, 9 * 2**20])
def test_a_secret_is_found(tmp_path, form, offset):
    (tmp_path / "innocent").write_bytes(b"x" * 100)
    guilty = tmp_path / "folder/guilty"
    guilty.parent.mkdir()
    with guilty.open("wb") as file:
        file.seek(offset)
        file.write(FORMS[form])
    assert holders(SECRET, [tmp_path]) == [guilty]


def test_nothing_is_found_where_nothing_is(tmp_path):
    (tmp_path / "innocent").write_bytes(bytes(range(256)) * 3)
    assert holders(SECRET[::-1], [tmp_path, tmp_path / "absent"]) == []


def test_the_secrets_of_a_server(tmp_path):
    state = initialise(tmp_path / "server", {})
    state.tls.make(("localhost",))
    state.database.close()
    found = server_secrets(tmp_path / "server")
    assert len(found) == 3
    for file, secret in found.items():
        assert holders(secret, [tmp_path]) == [file]
