"""Every error has a stable code, a title and a hint, and stands in the manual."""

import re

import pytest

from tests.unit.errors_manual import MANUAL, all_errors, manual
from wire.errors import ConfigurationError


def test_codes_are_words_with_dashes():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code) for kind in all_errors())


def test_the_manual_is_up_to_date():
    """If this fails: python -m tests.unit.errors_manual."""
    assert MANUAL.read_text() == manual()


def test_a_code_is_used_once():
    with pytest.raises(TypeError, match="is used by"):
        type("Again", (ConfigurationError,), {"code": "bad-node-key", "title": "t", "hint": "h"})


def test_a_leaf_needs_title_and_hint():
    with pytest.raises(TypeError, match="title and a hint"):
        type("Mute", (ConfigurationError,), {"code": "test-mute"})
