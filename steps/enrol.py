"""Get an identity from the server, where the medium has none."""

from __future__ import annotations

from pathlib import Path

from host.enrol import announce
from host.files import write_atomic
from host.http import Dates, http_of
from host.network import NetworkUp
from steps.base import Context, Effect, Observation, Step, holds
from wire.enrolment import EnrolmentKey, fingerprint
from wire.errors import ConfigurationError
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration

# In RAM: the key pair of this boot, so that who was admitted is who asks again.
KEY_FILE = "enrolment.key"


class WaitsForAdmission(ConfigurationError):
    """The server has not given this node an identity; debug mode goes on asking."""

    code = "waits-for-admission"
    title = "This node waits to be admitted"
    hint = "At the server: compare `bootserver node waiting`, then bootserver node admit FINGERPRINT NAME."


class Enrol(Step):
    """It is known which node this is: by its key medium, or for this boot by the server."""

    name = "enrol"
    title = "Know which node this is"
    effect = Effect.READS
    needs = (NetworkUp,)
    gives = (NodeConfiguration,)

    def observe(self, context: Context) -> Observation:
        known = context.facts.get(NodeConfiguration)
        if known is not None:
            return holds(known)
        wanted, up = context.facts[EnrolmentConfiguration], context.facts[NetworkUp]
        key = _key(context.host.state_dir / KEY_FILE)
        # No date is judged: the clock may be wrong, and there is no key yet to learn the time with.
        given = announce(http_of(wanted, Dates.POSTPONED), wanted, key, up.mac)
        if given is None:
            raise WaitsForAdmission(f"MAC {up.mac}, fingerprint {fingerprint(key.public)}")
        return holds(given)


def _key(path: Path) -> EnrolmentKey:
    """Return the key pair of this boot, made at the first time."""
    try:
        return EnrolmentKey.from_bytes(path.read_bytes())
    except FileNotFoundError:
        key = EnrolmentKey.generate()
        write_atomic(path, key.to_bytes(), mode=0o600)
        return key
