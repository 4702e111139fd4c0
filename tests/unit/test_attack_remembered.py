"""The copy of the configuration on the dongle: forged, of another node, older than what the node knows."""

import shutil
from dataclasses import replace

import pytest

from bootmanager import remembered as module
from bootmanager.remembered import NAME, remember, remembered
from host.events import Events
from host.mark import Mark, NotInstalled
from host.run import CommandTimedOut, Runner
from images.cache import Cache
from images.documents import Document, Documents
from steps.base import Facts
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey
from wire.structure import unstructure

KEY = NodeKey(b"k" * 32)
DETAILS = NodeDetails(
    node_id=7,
    hostname="node7",
    boot_state=TargetState.BOOT,
    run_id="r",
    generation=5,
    base_image=ImageRef("base", "b" * 64),
    ssh_keys=("ssh-ed25519 AAAA who-may-come-in",),
)


class Node:
    def __init__(self, folder, monkeypatch):
        self.cache = Cache(folder, Events("test"))
        self.mark = NotInstalled("nothing there")
        monkeypatch.setattr(module, "read_mark", lambda run: self.read())

    def read(self):
        if isinstance(self.mark, Exception):
            raise self.mark
        return self.mark

    def facts(self, *more, key=KEY, node_id=7):
        configuration = NodeConfiguration(node_id, key, "http://x", NetworkSettings())
        return Facts((self.cache, configuration, *more))

    def told(self, **changes):
        """The server answers; returns the newest generation known."""
        return remember(self.facts(replace(DETAILS, **changes)))

    def offline(self, **who):
        """What a later boot without the server goes by."""
        return remembered(self.facts(**who), Runner())

    def installed(self, generation, node_id=7):
        self.mark = Mark("r", node_id, (), "", generation)


@pytest.fixture
def node(tmp_path, monkeypatch):
    (tmp_path / "dongle").mkdir()
    return Node(tmp_path / "dongle", monkeypatch)


def test_what_the_server_said_is_known_without_it(node):
    assert node.offline() is None
    assert node.told() == 5
    assert node.offline() == DETAILS
    assert node.told(generation=6, hostname="other") == 6
    assert node.offline().hostname == "other"


def test_the_copy_never_goes_back(node):
    node.told(generation=6)
    assert node.told(generation=5, hostname="older") == 6
    assert node.offline() == replace(DETAILS, generation=6)


def put_back(node, act):
    """Keep the dongle as it is, act, and put the old one back."""
    kept = node.cache.folder.with_name("kept")
    shutil.copytree(node.cache.folder, kept)
    act()
    shutil.rmtree(node.cache.folder)
    kept.rename(node.cache.folder)


def test_an_older_copy_put_back_is_none_to_a_node_installed_since(node):
    node.told(generation=5)
    put_back(node, lambda: node.told(generation=8))
    node.installed(generation=8)
    assert node.offline() is None
    assert node.told(generation=8) == 8
    assert node.offline().generation == 8


def test_the_limit_of_it(node):
    """Newer than the installation, and kept by somebody: the node cannot know better without its server."""
    node.installed(generation=4)
    node.told(generation=5)
    put_back(node, lambda: node.told(generation=8))
    assert node.offline().generation == 5


@pytest.mark.parametrize("mark", [NotInstalled("x"), CommandTimedOut("x"), Mark("r", 8, (), "", 99)])
def test_a_disk_that_says_nothing_of_this_node_asks_for_nothing(node, mark):
    node.told()
    node.mark = mark
    assert node.offline() == DETAILS


def test_another_nodes_copy_is_none(node):
    node.told()
    assert node.offline(key=NodeKey(b"x" * 32)) is None


def test_another_nodes_copy_is_none_also_when_both_have_one_key(node):
    node.told()
    assert node.offline(node_id=8) is None


@pytest.mark.parametrize("body", [None, [], "x", {}, {**unstructure(DETAILS), "node_id": "7"}])
def test_a_copy_by_a_program_with_other_messages_is_none(node, body):
    Documents(node.cache, KEY).write(NAME, Document(9, body))
    assert node.offline() is None


def test_a_key_that_was_added_on_the_dongle_lets_nobody_in(node):
    node.told()
    path = node.cache.folder / f"documents/{NAME}.json"
    path.write_text(path.read_text().replace("who-may-come-in", "who-may-not"))
    assert node.offline() is None
