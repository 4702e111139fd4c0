"""What a boot medium says of itself, in its file live/medium.json."""

from pathlib import Path

import pytest

from wire.medium import FILE, Medium, medium_of
from wire.structure import MalformedMessage

ROOT = Path(__file__).parents[2]


def test_when_it_was_made_and_of_what():
    assert medium_of(b'{"made": 1800000000, "of": "0badcafe"}\n') == Medium(1_800_000_000, "0badcafe")


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'{"made": 5}', b'{"made": "5", "of": ""}', b'{"made": true, "of": ""}']
    + [b'{"made": %d, "of": ""}' % made for made in (0, -1, 2**36)],
)
def test_what_is_none_of_these_is_refused(raw):
    with pytest.raises(MalformedMessage):
        medium_of(raw)


def test_the_recipe_writes_it():
    assert f'"live/{FILE}": told' in (ROOT / "build/images.py").read_text()
