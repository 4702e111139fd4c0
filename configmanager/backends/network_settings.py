"""What the node's operator sets for the network of slivers, and over which links it goes."""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path

from host.run import Runner
from wire.errors import ConfigurationError

FILE = Path("etc/configmanager.conf")
SECTION = "network"
# Of a link that does not say how fast it is; also what net_max is by default.
UNKNOWN_RATE = 1_000_000_000
_LEAST_RATE = 1000
_MBIT = 1_000_000


class BadNetworkSettings(ConfigurationError):
    """The operator's file has something that cannot be."""

    code = "bad-network-settings"
    title = "The settings of the slivers' network are wrong"
    hint = f"Correct /{FILE} (docs/limits.md); until then the last good ones are in force."


@dataclass(frozen=True)
class NetworkSettings:
    """`rate`: bit/s that slivers together send to destinations that are not `exempt`, 0 for the link's."""

    rate: int = 0
    exempt: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True)
class Link:
    """An interface to the outside and its rate in bit/s."""

    interface: str
    rate: int


def read_settings(path: Path) -> NetworkSettings:
    """Read the file; without one nothing is set. Raises BadNetworkSettings."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
        given = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise BadNetworkSettings(f"{path}: {' '.join(str(error).split())}") from None
    if unknown := sorted(given.keys() - {"rate", "exempt"}):
        raise BadNetworkSettings(f"{path}: there is no setting {', '.join(unknown)}")
    try:
        networks = [IPv4Network(word) for word in given.get("exempt", "").replace(",", " ").split()]
        rate = int(given.get("rate", "0"))
    except ValueError as error:
        raise BadNetworkSettings(f"{path}: {error}") from None
    if rate != 0 and rate < _LEAST_RATE:
        raise BadNetworkSettings(f"{path}: rate is {rate} bit/s, the least is {_LEAST_RATE}")
    return NetworkSettings(rate, tuple(collapse_addresses(networks)))


def outgoing(run: Runner, root: Path) -> tuple[Link, ...]:
    """Return the links that have a default route. Raises CommandFailed."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]).stdout or "[]")
    interfaces = sorted({route["dev"] for route in routes if "dev" in route})
    return tuple(Link(interface, _rate(root, interface)) for interface in interfaces)


def _rate(root: Path, interface: str) -> int:
    try:
        speed = int((root / "sys/class/net" / interface / "speed").read_text())
    except (OSError, ValueError):
        # Virtual ones refuse to be read, or say -1.
        speed = 0
    return speed * _MBIT if speed > 0 else UNKNOWN_RATE
