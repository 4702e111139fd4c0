"""Waiting until a service is healthy."""

from __future__ import annotations

import time

from configmanager.backends import units
from configmanager.backends.commands import NodeCommandFailed, run_command
from host.run import Runner
from wire.errors import CommandError
from wire.slivers import NodeService

PAUSE_SECONDS = 1.0


class ServiceUnhealthy(CommandError):
    """A service's health check does not succeed in its time."""

    code = "service-unhealthy"
    title = "A service does not become healthy"
    hint = "Correct the service or its check at the server; `journalctl -u bm-NAME` on the node says more."


def wait_healthy(run: Runner, service: NodeService, unit: str) -> None:
    """Return when the service's check succeeds and its unit ("" for none) is still up.

    One without a check is healthy when it has started. Raises ServiceUnhealthy.
    """
    if not service.health:
        return
    until = time.monotonic() + service.health_seconds
    while True:
        said = _failure(run, service, unit, max(1, int(until - time.monotonic())))
        if not said:
            return
        if time.monotonic() + PAUSE_SECONDS >= until:
            raise ServiceUnhealthy(f"{service.name}: not healthy in {service.health_seconds} s: {said}")
        time.sleep(PAUSE_SECONDS)


def _failure(run: Runner, service: NodeService, unit: str, seconds: int) -> str:
    """Look at it once; return what is wrong, "" if nothing is."""
    said = []
    try:
        run_command(run, f"configmanager-health-{service.name}.service", service.health, seconds)
    except NodeCommandFailed as error:
        said.append(error.detail)
    if unit and not units.state(run, unit).up:
        said.append(f"it ended: {units.last_words(run, unit) or 'it said nothing'}")
    return "; ".join(said)
