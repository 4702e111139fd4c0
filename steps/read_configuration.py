"""Read the node's configuration from the key medium."""

from __future__ import annotations

from pathlib import Path

from host.this_boot import for_this_boot
from hwdetect.media import Candidate, Media
from steps.base import Context, Effect, Observation, Step, holds
from wire import nodeconf
from wire.errors import ConfigurationError
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.trust import BOOT_MEDIUM_ROOT, MAXIMUM_ROOT_BYTES, ROOT_FILE, TrustedRoot


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
    gives = (NetworkSettings, TrustedRoot)

    def observe(self, context: Context) -> Observation:
        media = context.facts[Media]
        candidates = media.candidates
        candidate = _agreed(candidates)
        found = nodeconf.parse_any(candidate.text, _place(candidate))
        # NodeConfiguration, or EnrolmentConfiguration; the step enrol makes the one of the other.
        settings = for_this_boot(context.host.state_dir) or found.network
        # What came over the network does not say itself whose signatures count.
        root = trusted_root_of(candidates, None) if media.fetched else trusted_root_of(candidates)
        return holds(found, settings, root)


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


def trusted_root_of(
    candidates: tuple[Candidate, ...], boot_medium: Path | None = "/" / BOOT_MEDIUM_ROOT
) -> TrustedRoot:
    """Return the root metadata of the boot medium, else those beside the node's configuration, else none.

    Raises ConflictingConfigurations where two key media differ in them.
    """
    if boot_medium is not None and boot_medium.is_file():
        return TrustedRoot(boot_medium.read_bytes())
    found = {candidate.root: candidate for candidate in candidates if candidate.root}
    if len(found) > 1:
        raise ConflictingConfigurations(
            f"{ROOT_FILE} differs beside " + " and ".join(map(_place, found.values()))
        )
    data = next(iter(found), b"")
    return TrustedRoot(data if len(data) <= MAXIMUM_ROOT_BYTES else b"")


def _place(candidate: Candidate) -> str:
    return f"{candidate.device}:{candidate.filename}"
