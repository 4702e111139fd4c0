"""What bootmanager leaves is what configmanager reads."""

from __future__ import annotations

import pytest

from wire.handoff import Handoff, dump_handoff, load_handoff
from wire.messages import ImageRef
from wire.structure import MalformedMessage

HANDOFF = Handoff("0f" * 16, 7, "node1.example.org", "http://192.0.2.1:8080", (ImageRef("base", "ab" * 32),))


def test_it_comes_back_the_same() -> None:
    assert load_handoff(dump_handoff(HANDOFF)) == HANDOFF


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000, '{"run_id": 1}'])
def test_a_torn_or_foreign_file_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        load_handoff(text)
