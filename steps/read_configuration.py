"""Read the node's configuration from the key medium."""

from __future__ import annotations

from hwdetect.media import Candidate, Media
from steps.base import Context, Effect, Observation, Step, holds
from wire import nodeconf
from wire.errors import ConfigurationError
from wire.nodeconf import NodeConfiguration


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
    """It is known which node this is and how it reaches its server."""

    name = "read_configuration"
    title = "Read the node's configuration"
    effect = Effect.READS
    needs = (Media,)
    gives = (NodeConfiguration,)

    def observe(self, context: Context) -> Observation:
        return holds(configuration_of(context.facts[Media].candidates))


def configuration_of(candidates: tuple[Candidate, ...]) -> NodeConfiguration:
    """Return the one configuration that all candidates agree on.

    Raises NoKeyMedium, ConflictingConfigurations, MalformedNodeConfiguration.
    """
    if not candidates:
        raise NoKeyMedium("no medium holds a file " + " or ".join(nodeconf.FILE_NAMES))
    if len({candidate.text for candidate in candidates}) > 1:
        raise ConflictingConfigurations(" and ".join(_place(candidate) for candidate in candidates))
    return nodeconf.parse(candidates[0].text, _place(candidates[0]))


def _place(candidate: Candidate) -> str:
    return f"{candidate.device}:{candidate.filename}"
