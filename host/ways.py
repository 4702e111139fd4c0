"""Which of several ways leads to the server: tried, one after the other, where the preferred one does not."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from host import network
from host.events import Events
from host.network import NetworkUp
from host.run import Runner
from host.texts import _
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration
from wire.nodenet import NetworkSettings

# A switch that learns of a new link forwards nothing for half a minute.
LATE_SECONDS = 45
_CONNECT_SECONDS = 3.0
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Goal:
    """What has to be reached: the server, or the proxy before it."""

    host: str
    port: int

    @property
    def version(self) -> int:
        """4 or 6 where it is an address, 0 where it is a name."""
        try:
            return ip_address(self.host).version
        except ValueError:
            return 0


def goal_of(configuration: NodeConfiguration | EnrolmentConfiguration) -> Goal:
    """Return what the first connection goes to."""
    url = urlsplit(configuration.proxy or configuration.server)
    return Goal(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))


def has_choice(run: Runner, settings: NetworkSettings) -> bool:
    """Say whether there are several ways, or interfaces that may become another one."""
    if settings.device or settings.bond:
        return False
    leading = {way.interface for way in network.ways(run)}
    return len(leading | set(network.idle_links(run))) > 1


def reached_from(goal: Goal, interface: str = "") -> str:
    """Return the own address of a connection to the goal, "" if nobody takes one.

    It is made through that interface, or as the routes are.
    """
    try:
        found = socket.getaddrinfo(goal.host, goal.port, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    return next(filter(None, (_connect(family, place, interface) for family, *_, place in found)), "")


def lead_out(run: Runner, events: Events, goal: Goal, *, seconds: float) -> None:
    """Prefer a way by which the goal answers; where none does, all stays as it is.

    Links that have no address yet are waited for, at most so long.
    """
    refused: set[NetworkUp] = set()
    deadline = time.monotonic() + seconds
    told = False
    while True:
        known = network.ways(run, goal.version)
        own = reached_from(goal)
        if own:
            # Lest the next connection takes another of equal rank.
            for way in known:
                if way.address == own and len(known) > 1:
                    network.prefer(run, way)
            return
        for way in known:
            if reached_from(goal, way.interface):
                network.prefer(run, way)
                return
            if way not in refused:
                refused.add(way)
                where = {"interface": way.interface, "gateway": way.gateway}
                events.tell("network.dead_end", **where, goal=f"{goal.host} port {goal.port}")
        late = network.idle_links(run)
        if not late or time.monotonic() > deadline:
            return
        if not told:
            told = True
            what = _("another way out, by {interfaces}", interfaces=", ".join(late))
            events.tell("wait.started", **{"for": what, "seconds": seconds})
        time.sleep(_PAUSE_SECONDS)


def _connect(family: int, place: Any, interface: str) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.settimeout(_CONNECT_SECONDS)
        try:
            if interface:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            tried.connect(place)
        except OSError:
            return ""
        return str(tried.getsockname()[0])
