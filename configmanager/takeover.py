"""Taking over from bootmanager: what it left on the disk, the key on its medium, the network, the dongle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configmanager.records import WrongNode
from host import network
from host.classic_client import client_for
from host.events import Events
from host.http import HttpClient
from host.network import NoNetwork
from host.run import CommandFailed, Runner
from host.server import ServerClient
from hwdetect import media
from images.cache import Cache
from images.unpack import install
from steps.read_configuration import configuration_of
from wire import handoff
from wire.errors import CommandError, ConfigurationError, TransientError
from wire.handoff import Handoff
from wire.messages import ImageRef
from wire.nodeconf import NodeConfiguration

CACHE_FOLDER = Path("/var/lib/configmanager/cache")
# USB media need a moment after the kernel starts. Longer waits come by asking again, with growing pauses.
KEY_SECONDS = 15.0
NETWORK_SECONDS = 30


class NotTakenOver(ConfigurationError):
    """There is nothing that bootmanager left."""

    code = "not-taken-over"
    title = "This system was not installed by bootmanager"
    hint = "Install the node by the boot medium; configmanager runs on nothing else."


class KeyMediumAbsent(TransientError):
    """The key medium is not plugged in; it may come."""

    code = "key-medium-absent"
    title = "The key medium is not plugged in"
    hint = "Plug in the node's key medium and leave it there; what the node has goes on running meanwhile."


@dataclass(frozen=True)
class Link:
    """The way to the server, proven by the node's key."""

    client: ServerClient
    configuration: NodeConfiguration


def read_handoff(root: Path = Path("/")) -> Handoff:
    """Return what bootmanager left. Raises NotTakenOver, MalformedMessage."""
    path = root / handoff.PATH
    try:
        return handoff.load_handoff(path.read_text())
    except FileNotFoundError:
        raise NotTakenOver(f"there is no {path}") from None


def connect(run: Runner, events: Events, expected: Handoff) -> Link:
    """Find the key and the network.

    Raises KeyMediumAbsent, ConflictingConfigurations, MalformedNodeConfiguration, WrongNode, NoNetwork.
    """
    configuration = _configuration(run, events)
    if configuration.node_id != expected.node_id:
        raise WrongNode(f"the key medium is node {configuration.node_id}'s, this is node {expected.node_id}")
    return Link(client_for(configuration, _wait_for_address(run)), configuration)


def _configuration(run: Runner, events: Events) -> NodeConfiguration:
    found = media.survey(run)
    if not found.candidates:
        events.tell("wait.started", **{"for": "the key medium", "seconds": KEY_SECONDS})
        found = media.survey(run, seconds=KEY_SECONDS)
    if not found.candidates:
        raise KeyMediumAbsent(f"waited {KEY_SECONDS:.0f} s for a medium with the node's configuration")
    for candidate in found.candidates:
        events.tell("media.found", what="key", device=candidate.device, file=candidate.filename)
    return configuration_of(found.candidates)


def _wait_for_address(run: Runner) -> str:
    words = [network.WAIT_ONLINE, "--any", "--operational-state=routable", "--ipv4"]
    try:
        run([*words, f"--timeout={NETWORK_SECONDS}"], timeout=NETWORK_SECONDS + 30)
    except CommandFailed:
        raise NoNetwork(f"waited {NETWORK_SECONDS} s for a route") from None
    up = network.current(run)
    if up is None:
        raise NoNetwork("there is an address but no route")
    return up.address


class Images:
    """Unpacks images for the backends: from the dongle where it has them, else from the server.

    The dongle is mounted only meanwhile: images are seldom needed, and a dongle may be pulled out.
    """

    def __init__(
        self, run: Runner, events: Events, connect: Callable[[], HttpClient], folder: Path = CACHE_FOLDER
    ) -> None:
        """`connect` makes the way to the server; it may be replaced when a better one is known."""
        self._run = run
        self._events = events
        self._folder = folder
        self.connect = connect

    def unpack(self, ref: ImageRef, target: Path) -> None:
        """Lay an image into `target`. Raises what images.unpack.install() raises."""
        with self._cache() as cache:
            moved = install(ref, target, self.connect(), cache, self._run)
        self._events.tell(
            "transfer", image=ref.name, network_bytes=moved.network_bytes, cache_bytes=moved.cache_bytes
        )

    @contextmanager
    def _cache(self) -> Iterator[Cache]:
        dongle = media.survey(self._run).dongle
        if dongle is None:
            self._events.tell("media.missing", what="cache")
            yield Cache(None, self._events)
            return
        try:
            writable = media.mount_dongle(self._run, dongle, self._folder)
        except CommandError as error:
            self._events.tell("media.unusable", what="cache", device=dongle.device, detail=error.detail)
            yield Cache(None, self._events)
            return
        try:
            yield Cache(self._folder, self._events, writable=writable)
        finally:
            media.unmount_dongle(self._run, self._folder)
