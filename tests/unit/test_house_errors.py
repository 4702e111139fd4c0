"""Every error has a stable code, a title and a hint, and stands in the manual."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import bootmanager
import bootserver
import configmanager
import host
import hwdetect
import images
import steps
import wire
from wire.errors import BootError, ConfigurationError

ROOT = Path(__file__).parents[2]


def all_errors():
    for package in (wire, host, hwdetect, images, steps, bootmanager, configmanager, bootserver):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return sorted(code for code, kind in BootError.registry.items() if not kind.__module__.startswith("test"))


def test_codes_are_words_with_dashes():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in all_errors())


def test_every_code_stands_in_the_manual():
    manual = (ROOT / "docs/errors.md").read_text()
    assert [code for code in all_errors() if f"`{code}`" not in manual] == []


def test_a_code_is_used_once():
    with pytest.raises(TypeError, match="is used by"):
        type("Again", (ConfigurationError,), {"code": "bad-node-key", "title": "t", "hint": "h"})


def test_a_leaf_needs_title_and_hint():
    with pytest.raises(TypeError, match="title and a hint"):
        type("Mute", (ConfigurationError,), {"code": "test-mute"})
