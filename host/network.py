"""The network by systemd-networkd: one .network file, on the boot medium and on the installed node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from host.run import CommandFailed, Runner
from wire.errors import TransientError
from wire.nodeconf import IpMethod, NetworkSettings

FILE_NAME = "10-bootmanager.network"
RUNTIME_FOLDER = Path("/run/systemd/network")
INSTALLED_FOLDER = Path("etc/systemd/network")
WAIT_ONLINE = "/usr/lib/systemd/systemd-networkd-wait-online"


class NoNetwork(TransientError):
    """No interface got an address and a route."""

    code = "no-network"
    title = "The network does not come up"
    hint = "Check the cable and the switch port; then IP_METHOD and the addresses on the key medium."


@dataclass(frozen=True)
class NetworkUp:
    """The interface that leads to the server."""

    interface: str
    mac: str
    address: str
    gateway: str


def render(settings: NetworkSettings) -> str:
    """Return the text of the .network file (systemd.network(5))."""
    lines = ["# Written by bootmanager from the node's configuration.", "[Match]"]
    if ":" in settings.device:
        lines.append(f"PermanentMACAddress={settings.device.lower()}")
    elif settings.device:
        lines.append(f"Name={settings.device}")
    else:
        # Veth pairs of slivers are of type ether too, but have a kind, which hardware lacks.
        lines += ["Type=ether", "Kind=!*"]
    lines += ["", "[Network]"]
    if settings.method is IpMethod.DHCP:
        lines += ["DHCP=ipv4", "", "[DHCPv4]", "ClientIdentifier=mac", "UseHostname=no"]
    else:
        lines += [f"Address={settings.address}/{settings.prefix_length}", f"Gateway={settings.gateway}"]
        lines += [f"DNS={address}" for address in settings.dns]
    return "\n".join(lines) + "\n"


def configured(settings: NetworkSettings, folder: Path = RUNTIME_FOLDER) -> bool:
    """Say whether the file already says this."""
    path = folder / FILE_NAME
    return path.exists() and path.read_text() == render(settings)


def write(settings: NetworkSettings, folder: Path = RUNTIME_FOLDER) -> None:
    """Write the file durably; it holds no secret."""
    write_atomic(folder / FILE_NAME, render(settings))


def bring_up(run: Runner, settings: NetworkSettings, *, seconds: int) -> None:
    """Write the file and wait until an interface is routable. Raises NoNetwork."""
    write(settings)
    run(["systemctl", "start", "systemd-networkd.service"])
    run(["networkctl", "reload"])
    try:
        run(
            [WAIT_ONLINE, "--any", "--operational-state=routable", "--ipv4", f"--timeout={seconds}"],
            timeout=seconds + 30,
        )
    except CommandFailed:
        raise NoNetwork(f"waited {seconds} s for {_wanted(settings)}; {_seen(run)}") from None


def current(run: Runner) -> NetworkUp | None:
    """Return the interface of the default route, or None."""
    routes = json.loads(run(["ip", "-j", "-4", "route", "show", "default"]).stdout or "[]")
    for route in routes:
        # Without -4: with it, ip leaves the MAC address out.
        for link in json.loads(run(["ip", "-j", "addr", "show", "dev", route["dev"]]).stdout):
            addresses = [found["local"] for found in link["addr_info"] if found["family"] == "inet"]
            if addresses:
                mac, gateway = link["address"].upper(), route.get("gateway", "")
                return NetworkUp(route["dev"], mac, addresses[0], gateway)
    return None


def _wanted(settings: NetworkSettings) -> str:
    device = settings.device or "any wired interface"
    how = "an address by DHCP" if settings.method is IpMethod.DHCP else f"the address {settings.address}"
    return f"{how} on {device}"


def _seen(run: Runner) -> str:
    links = json.loads(run(["ip", "-j", "link"]).stdout)
    seen = [
        f"{link['ifname']} {link['address'].upper()} {link['operstate'].lower()}"
        for link in links
        if link["link_type"] == "ether"
    ]
    return "interfaces: " + (", ".join(seen) or "none")
