"""The search for leaked secrets finds them: in every form, anywhere in a file, and in no other file."""

import base64

import pytest

from tests.vm.harness.leaks import holders

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
