"""Read the node's configuration from the key medium."""

from __future__ import annotations

import time

from hwdetect.inventory import Inventory, detect
from hwdetect.media import Candidate, Media, survey
from steps.base import Context, Effect, Observation, Step, holds
from wire import nodeconf
from wire.errors import ConfigurationError
from wire.nodeconf import NodeConfiguration

# USB media need a moment after the kernel starts to be found; their hubs need more.
WAIT_SECONDS = 15.0
LOOK_EVERY_SECONDS = 1.0


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
    needs = (Inventory, Media)
    gives = (NodeConfiguration, Inventory, Media)

    def observe(self, context: Context) -> Observation:
        inventory, media = _wait_for_candidates(context)
        for candidate in media.candidates:
            context.host.events.tell("media.found", device=candidate.device, file=candidate.filename)
        return holds(configuration_of(media.candidates), inventory, media)


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


def _wait_for_candidates(context: Context) -> tuple[Inventory, Media]:
    """Look again until there is a medium or the time is over."""
    inventory, media = context.facts[Inventory], context.facts[Media]
    deadline = time.monotonic() + WAIT_SECONDS
    while not media.candidates and time.monotonic() < deadline:
        context.progress(None, "waiting for the key medium")
        time.sleep(LOOK_EVERY_SECONDS)
        inventory = detect(context.host.run)
        media = survey(context.host.run, inventory)
    return inventory, media
