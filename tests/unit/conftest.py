"""A unit test runs no process and opens no network connection: here both are errors."""

import gc
import os
import socket
import subprocess

import pytest
from hypothesis import settings

from host import texts
from tests.unit import quick_requests

# How long an example takes says more about the machine's load than about the code. A developer's loop tries
# fewer of them.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# What was imported and collected stays until the end: to look through it for garbage frees nothing.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_sessionfinish():
    quick_requests.close()


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch):
    def refuse(*words, **_):
        raise AssertionError(f"a unit test must not reach outside: {words[:2]}")

    # Nobody cuts the power here, and waiting for the disk is half of the time that files take.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


class Clock:
    """A clock that a test sets: seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(tmp_path):
    """A bootserver that knows one node, node1."""
    # Most tests need no bootserver, and it takes a second to import.
    from tests.unit.bootserver_deployment import Deployment

    deployment = Deployment(tmp_path / "state")
    deployment.add()
    return deployment


@pytest.fixture
def texts_of(monkeypatch, tmp_path):
    """Let texts be shown by translations that a test gives, or with none given by one of every text."""
    from tests.unit import pseudo_texts

    folder = tmp_path / "texts"
    folder.mkdir()

    def one(translations=None):
        if translations is None:
            pseudo_texts.use_all(monkeypatch, folder)
        else:
            pseudo_texts.use(monkeypatch, folder, translations)

    yield one
    texts.catalogue.cache_clear()
