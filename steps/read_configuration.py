"""Read the node's configuration from the key medium."""

from __future__ import annotations

from hwdetect.media import Candidate, Media
from steps.base import Context, Effect, Observation, Step, holds
from wire import nodeconf
from wire.errors import ConfigurationError
from wire.nodeconf import NetworkSettings, NodeConfiguration


class NoKeyMedium(ConfigurationError):
    """No medium holds a node configuration."""

    code = "no-key-medium"
    title = "No key medium found"
    hint = "Plug in the node's key medium. To write one at the server: bootserver media key NODE FILE."


class ConflictingConfigurations(ConfigurationError):
    """Several media hold configurations that differ."""

    code = "conflicting-configurations"
    title = "Two different node configurations were found"
    hint = "Leave only this node's own key medium plugged in."


class ReadConfiguration(Step):
    """It is known how this node reaches its server, and which node it is unless it has to be enrolled."""

    name = "read_configuration"
    title = "Read the node's configuration"
    effect = Effect.READS
    needs = (Media,)
    gives = (NetworkSettings,)

    def observe(self, context: Context) -> Observation:
        candidate = _agreed(context.facts[Media].candidates)
        found = nodeconf.parse_any(candidate.text, _place(candidate))
        # NodeConfiguration, or EnrolmentConfiguration; the step enrol makes the one of the other.
        return holds(found, found.network)


def configuration_of(candidates: tuple[Candidate, ...]) -> NodeConfiguration:
    """Return the one identity that all candidates agree on.

    Raises NoKeyMedium, ConflictingConfigurations, MalformedNodeConfiguration.
    """
    candidate = _agreed(candidates)
    return nodeconf.parse(candidate.text, _place(candidate))


def _agreed(candidates: tuple[Candidate, ...]) -> Candidate:
    if not candidates:
        raise NoKeyMedium("no medium holds a file " + " or ".join(nodeconf.FILE_NAMES))
    if len({candidate.text for candidate in candidates}) > 1:
        raise ConflictingConfigurations(" and ".join(_place(candidate) for candidate in candidates))
    return candidates[0]


def _place(candidate: Candidate) -> str:
    return f"{candidate.device}:{candidate.filename}"
