"""What tests in the guest get: a node as backends see it, with real images, and slivers to make of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from configmanager.backends.base import Node
from host.events import Event, Events
from host.halt import Halt
from host.run import Runner
from images.cache import Cache
from images.manifest import Manifest, SignedImage, parse
from images.plan import OldTree
from images.store import BlobStore
from images.unpack import install
from tests.guest.node_system import lay_over, run
from wire.messages import ImageRef

HERE = Path(__file__).parent
# What tests.vm.guest brought: the slivers' image.
STORE = Path("/var/tmp/store")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here; nothing of it may touch a machine that is not the guest."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.guest)
            if not os.environ.get("BM_GUEST"):
                raise pytest.UsageError("tests/guest runs in the guest: python -m tests.vm.guest run")


class Stored:
    """The images that were made here, as a source to install from."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def get(self, digest: str, _limit: int, _halt: Halt) -> bytes:
        """Return a blob."""
        return self._store.get(digest)


@dataclass(frozen=True)
class Guest:
    """This system as a node: `node` for backends, `told` what they have told, `image` the slivers' image."""

    node: Node
    told: list[Event]
    image: ImageRef


@pytest.fixture
def told() -> list[Event]:
    """What backends tell."""
    return []


@pytest.fixture
def bare(told: list[Event]) -> Node:
    """This system as a node, for backends that unpack nothing: making the slivers' image takes minutes."""

    def unpack(ref: ImageRef, _target: Path, _trees: Sequence[OldTree]) -> None:
        raise AssertionError(f"no image was needed, {ref.name} was asked for")

    return Node(Runner(), Events("guest", (told.append,)), unpack)


def make_guest(sliver_image: Manifest, source: type[Stored] = Stored) -> Guest:
    """Return this system as a node that has told nothing yet.

    Its image is unpacked once; from then on it is links to what was unpacked, which nothing writes to.
    """
    told: list[Event] = []
    events = Events("guest", (told.append,))

    def bring(ref: ImageRef, target: Path, trees: Sequence[OldTree]) -> None:
        tree = next((tree for tree in trees if tree.digest == ref.manifest), None)
        signed = SignedImage(ref.name, ref.manifest, None)
        install(signed, target, source(BlobStore(STORE)), Cache(None, events), tree=tree)

    def unpack(ref: ImageRef, target: Path, trees: Sequence[OldTree]) -> None:
        if source is not Stored or target.stat().st_dev != STORE.stat().st_dev:
            bring(ref, target, trees)
            return
        whole, beside = (STORE.with_name(f"{name}-{ref.manifest}") for name in ("tree", "tree-new"))
        if not whole.exists():
            run("rm", "-rf", str(beside))
            beside.mkdir()
            bring(ref, beside, ())
            beside.rename(whole)
        run("cp", "--archive", "--link", f"{whole}/.", str(target))

    return Guest(Node(Runner(), events, unpack), told, ImageRef(sliver_image.name, sliver_image.digest))


@pytest.fixture(scope="session")
def sliver_image() -> Manifest:
    """The slivers' image."""
    return parse(BlobStore(STORE).get((STORE / "sliver.digest").read_text()))


@pytest.fixture
def guest(sliver_image: Manifest) -> Guest:
    """This system as a node."""
    return make_guest(sliver_image)


@pytest.fixture(scope="module")
def guest_of_module(sliver_image: Manifest) -> Guest:
    """The same for tests that share what they make."""
    return make_guest(sliver_image)


@pytest.fixture(scope="session")
def node_system() -> None:
    """The units and programs of a node."""
    lay_over()


@pytest.fixture(scope="session")
def slice_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key of a slice's owner."""
    key = tmp_path_factory.mktemp("keys") / "slice"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    return key
