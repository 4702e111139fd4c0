"""The network by systemd-networkd: brought up as the node's configuration says, and the ways out of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from host.network_files import made_interfaces, write
from host.run import CommandFailed, Runner
from host.texts import _
from wire.errors import TransientError
from wire.nodenet import IpMethod, NetworkSettings

_WAIT_ONLINE = "/usr/lib/systemd/systemd-networkd-wait-online"
_PAUSE_SECONDS = 1.0
_FAMILIES = {4: "inet", 6: "inet6"}


class NoNetwork(TransientError):
    """No interface got an address and a route."""

    code = "no-network"
    title = "The network does not come up"
    hint = "Check the cable and the switch port; then IP_METHOD and the addresses on the key medium."


@dataclass(frozen=True)
class NetworkUp:
    """An interface that leads out: its own address and MAC address, and the gateway, "" without one."""

    interface: str
    mac: str
    address: str
    gateway: str

    @property
    def version(self) -> int:
        """4 or 6, of the addresses."""
        return 6 if ":" in self.address else 4


def bring_up(run: Runner, settings: NetworkSettings) -> None:
    """Let systemd-networkd do what the settings say."""
    write(settings)
    run(["systemctl", "start", "systemd-networkd.service"])
    kept = made_interfaces(settings)
    for link in _links(run):
        # networkd never removes what it made for other settings.
        if link.get("linkinfo", {}).get("info_kind") in ("bond", "vlan") and link["ifname"] not in kept:
            run(["ip", "link", "delete", link["ifname"]])
    run(["networkctl", "reload"])


def wait(run: Runner, settings: NetworkSettings, version: int, *, seconds: int) -> NetworkUp:
    """Return the way out when there is one, by IP of that version, by any if it is 0. Raises NoNetwork.

    An interface with an address but no gateway is none; others that have a link are then waited for as well,
    `seconds` at most for all.
    """
    until = time.monotonic() + seconds
    words = [_WAIT_ONLINE, "--any", "--operational-state=routable", f"--timeout={seconds}"]
    try:
        run([*words, *([f"--ipv{version}"] if version else [])], timeout=seconds + 30)
    except CommandFailed:
        raise NoNetwork(f"waited {seconds} s for {wanted(settings)}; {_seen(run)}") from None
    late: tuple[str, ...] = ()
    while (up := current(run, version)) is None:
        # One look more where a link was late: it has its address a moment before its route.
        before, late = late, _late_links(run, settings, version)
        if not (before or late):
            raise NoNetwork(f"there is an address but no gateway; {_seen(run)}")
        if time.monotonic() >= until:
            by = ", ".join(late or before)
            raise NoNetwork(
                f"there is an address but no gateway; waited {seconds} s for another by {by}; {_seen(run)}"
            )
        time.sleep(_PAUSE_SECONDS)
    return up


def wanted(settings: NetworkSettings) -> str:
    """Say in words what is waited for."""
    device = settings.device or _("any interface")
    if settings.bond:
        device = _("the bond of {interfaces}", interfaces=", ".join(settings.bond))
    if settings.vlan:
        device = _("VLAN {number} on {device}", number=settings.vlan, device=device)
    # Short: with what the console adds it is a line of a serial terminal.
    if settings.method is IpMethod.DHCP:
        return _("an address by DHCP on {device}", device=device)
    address = settings.address if settings.method is IpMethod.STATIC else settings.address6
    if not address:
        return _("an IPv6 address on {device}", device=device)
    return _("the address {address} on {device}", address=address, device=device)


def current(run: Runner, version: int = 0) -> NetworkUp | None:
    """Return the way that is taken by default, or None."""
    return next(iter(ways(run, version)), None)


def ways(run: Runner, version: int = 0) -> tuple[NetworkUp, ...]:
    """Return the ways of all default routes, the preferred one first; 0 is any version of IP, IPv4 first."""
    # Without -4 or -6: with one, ip leaves the MAC addresses out.
    links = {link["ifname"]: link for link in json.loads(run(["ip", "-j", "addr"]).stdout)}
    found = []
    for each in (version,) if version else _FAMILIES:
        said = run(["ip", "-j", f"-{each}", "route", "show", "default"]).stdout
        routes = sorted(json.loads(said or "[]"), key=lambda route: int(route.get("metric", 0)))
        # Routes of equal metric by several routers are one in IPv6, with several hops.
        hops = [hop for route in routes for hop in route.get("nexthops", [route])]
        found += [_way(links[hop["dev"]], hop, _FAMILIES[each]) for hop in hops if hop.get("dev") in links]
    return tuple(dict.fromkeys(way for way in found if way is not None))


def prefer(run: Runner, way: NetworkUp) -> None:
    """Let this way be taken before all others."""
    via = ["via", way.gateway] if way.gateway else []
    run(["ip", f"-{way.version}", "route", "replace", "default", *via, "dev", way.interface, "metric", "1"])


def idle_links(run: Runner) -> tuple[str, ...]:
    """Return the wired interfaces with a link that may still lead out, but do not yet."""
    leading = {way.interface for way in ways(run)}
    return tuple(
        link["ifname"]
        for link in _links(run)
        if link["link_type"] == "ether" and "LOWER_UP" in link["flags"]
        # Neither what slivers have nor members of a bond.
        if "linkinfo" not in link and "master" not in link and link["ifname"] not in leading
    )


def _late_links(run: Runner, settings: NetworkSettings, version: int) -> tuple[str, ...]:
    """Return the interfaces with a link that shall have an address of that version, and have none yet."""
    if settings.device or settings.bond:
        return ()
    families = [_FAMILIES[each] for each in ((version,) if version else _FAMILIES)]
    links = json.loads(run(["ip", "-j", "addr"]).stdout)
    has_one = {link["ifname"] for link in links if any(_own(link, family) for family in families)}
    return tuple(name for name in idle_links(run) if name not in has_one)


def _way(link: dict[str, Any], hop: dict[str, Any], family: str) -> NetworkUp | None:
    own = _own(link, family)
    return NetworkUp(link["ifname"], link["address"].upper(), own[0], hop.get("gateway", "")) if own else None


def _own(link: dict[str, Any], family: str) -> list[str]:
    return [
        found["local"]
        for found in link["addr_info"]
        if found["family"] == family and found["scope"] == "global" and not found.get("tentative")
    ]


def _links(run: Runner) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(run(["ip", "-j", "-d", "link"]).stdout)
    return links


def _seen(run: Runner) -> str:
    seen = [
        f"{link['ifname']} {link['address'].upper()} {link['operstate'].lower()}"
        for link in _links(run)
        if link["link_type"] == "ether"
    ]
    return "interfaces: " + (", ".join(seen) or "none")
