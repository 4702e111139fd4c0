"""Taking over from bootmanager: what it left on the disk, the key on its medium, the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from configmanager.records import WrongNode
from host import network, ways
from host.classic_client import client_for
from host.events import Events
from host.run import Runner
from host.server import ServerClient
from hwdetect import media
from hwdetect.media import Candidate
from steps.read_configuration import configuration_of, trusted_root_of
from wire import handoff
from wire.errors import ConfigurationError, TransientError
from wire.handoff import Handoff
from wire.nodeconf import NodeConfiguration
from wire.tickets import TicketKey
from wire.trust import TrustedRoot

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
    # This node's own, as the server knows it.
    address: str
    root: TrustedRoot = field(default=TrustedRoot(b""), repr=False)


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
    candidates = _candidates(run, events)
    configuration = _expected(candidates, expected)
    address = _way_out(run, events, configuration)
    client = client_for(configuration, address)
    return Link(client, configuration, address, trusted_root_of(candidates))


def ticket_key(run: Runner, events: Events, expected: Handoff) -> TicketKey:
    """Return what tickets for this node are signed with, from the key medium; needs no server.

    Raises KeyMediumAbsent, ConflictingConfigurations, MalformedNodeConfiguration, WrongNode.
    """
    configuration = _expected(_candidates(run, events), expected)
    return TicketKey.derive(configuration.key, configuration.node_id)


def identity(run: Runner, events: Events) -> tuple[NodeConfiguration, TrustedRoot]:
    """Return what the key medium says of the node, and whom the node trusts.

    Raises KeyMediumAbsent, ConflictingConfigurations, MalformedNodeConfiguration.
    """
    candidates = _candidates(run, events)
    return configuration_of(candidates), trusted_root_of(candidates)


def _expected(candidates: tuple[Candidate, ...], expected: Handoff) -> NodeConfiguration:
    configuration = configuration_of(candidates)
    if configuration.node_id != expected.node_id:
        raise WrongNode(f"the key medium is node {configuration.node_id}'s, this is node {expected.node_id}")
    return configuration


def _candidates(run: Runner, events: Events) -> tuple[Candidate, ...]:
    found = media.survey(run)
    if not found.candidates:
        events.tell("wait.started", **{"for": "the key medium", "seconds": KEY_SECONDS})
        found = media.survey(run, seconds=KEY_SECONDS)
    if not found.candidates:
        raise KeyMediumAbsent(f"waited {KEY_SECONDS:.0f} s for a medium with the node's configuration")
    for candidate in found.candidates:
        events.tell("media.found", what="key", device=candidate.device, file=candidate.filename)
    return found.candidates


def _way_out(run: Runner, events: Events, configuration: NodeConfiguration) -> str:
    """Return this node's own address towards the server. Raises NoNetwork."""
    settings, goal = configuration.network, ways.goal_of(configuration)
    up = network.current(run, goal.version)
    if up is None:
        what = network.wanted(settings)
        events.tell("wait.started", **{"for": what, "seconds": NETWORK_SECONDS})
        up = network.wait(run, settings, goal.version, seconds=NETWORK_SECONDS)
    if ways.has_choice(run, settings):
        # No link is waited for: whoever asks will ask again.
        ways.lead_out(run, events, goal, seconds=0)
        up = network.current(run, goal.version) or up
    return up.address
