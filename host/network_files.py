"""The network as files of systemd-networkd, the same on the boot medium and on the installed node.

From the bottom: the interfaces that are a bond, the one that carries a VLAN, the one with the address. See
systemd.network(5) and systemd.netdev(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from host.files import sync_folder, write_atomic
from wire.nodenet import IpMethod, NetworkSettings

RUNTIME_FOLDER = Path("/run/systemd/network")
INSTALLED_FOLDER = Path("etc/systemd/network")
BOND = "bond0"

_BOND, _MEMBERS, _VLAN, _CARRIER, _ADDRESS = NAMES = (
    "10-bootmanager-bond.netdev",
    "10-bootmanager-members.network",
    "10-bootmanager-vlan.netdev",
    "10-bootmanager-carrier.network",
    "10-bootmanager.network",
)
"""Every file that any settings make; one that the present settings do not make must not be there."""

# Slivers' interfaces and bonds have a kind, which hardware lacks.
_HARDWARE = "Kind=!*"


def render(settings: NetworkSettings) -> dict[str, str]:
    """Return the text of each file, by its name."""
    files: dict[str, list[str]] = {}
    match = _hardware(settings)
    if settings.bond:
        # Its first member's address, and none made of the system's id: it is the same at each boot.
        about = [f"Name={BOND}", "Kind=bond", f"MACAddress={settings.bond[0].lower()}"]
        sharing = ["[Bond]", f"Mode={settings.bond_mode}", "MIIMonitorSec=100ms"]
        files[_BOND] = ["[NetDev]", *about, "", *sharing]
        files[_MEMBERS] = [*match, "", "[Network]", f"Bond={BOND}"]
        match = ["[Match]", f"Name={BOND}"]
    if settings.vlan:
        name = f"vlan{settings.vlan}"
        files[_VLAN] = ["[NetDev]", f"Name={name}", "Kind=vlan", "", "[VLAN]", f"Id={settings.vlan}"]
        nothing = ["LinkLocalAddressing=no", "IPv6AcceptRA=no"]
        files[_CARRIER] = [*match, "", "[Network]", f"VLAN={name}", *nothing]
        match = ["[Match]", f"Name={name}"]
    files[_ADDRESS] = [*match, "", "[Network]", *_addresses(settings)]
    head = "# Written by bootmanager from the node's configuration."
    return {name: "\n".join([head, *lines]) + "\n" for name, lines in files.items()}


def differing(settings: NetworkSettings, found: Mapping[str, str | None]) -> list[str]:
    """Return the names of files that are not as the settings make them; `found` has their texts."""
    wanted = render(settings)
    return [name for name in NAMES if found.get(name) != wanted.get(name)]


def configured(settings: NetworkSettings, folder: Path = RUNTIME_FOLDER) -> bool:
    """Say whether the files say this already."""
    paths = [folder / name for name in NAMES]
    return not differing(settings, {path.name: path.read_text() for path in paths if path.exists()})


def write(settings: NetworkSettings, folder: Path = RUNTIME_FOLDER) -> None:
    """Write the files durably and remove those of other settings; they hold no secret."""
    wanted = render(settings)
    for name in NAMES:
        if name in wanted:
            write_atomic(folder / name, wanted[name])
        else:
            with suppress(FileNotFoundError):
                (folder / name).unlink()
    sync_folder(folder)


def made_interfaces(settings: NetworkSettings) -> set[str]:
    """Return the names of the interfaces that these settings make."""
    made = {BOND} if settings.bond else set()
    return made | ({f"vlan{settings.vlan}"} if settings.vlan else set())


def _hardware(settings: NetworkSettings) -> list[str]:
    macs = settings.bond or ((settings.device,) if ":" in settings.device else ())
    if macs:
        # Not the present address: members of a bond share one.
        return ["[Match]", f"PermanentMACAddress={' '.join(macs).lower()}", _HARDWARE]
    if settings.device:
        return ["[Match]", f"Name={settings.device}", _HARDWARE]
    return ["[Match]", "Type=ether", _HARDWARE]


def _addresses(settings: NetworkSettings) -> list[str]:
    lines = []
    if settings.method is IpMethod.STATIC:
        lines += [f"Address={settings.address}/{settings.prefix_length}", f"Gateway={settings.gateway}"]
    if settings.address6:
        lines += [f"Address={settings.address6}", f"Gateway={settings.gateway6}"]
    lines += [f"DNS={address}" for address in settings.dns]
    # Said aloud, because networkd hears routers only where nothing forwards, and nodes with slivers do.
    lines.append(f"IPv6AcceptRA={'no' if settings.address6 else 'yes'}")
    # With several interfaces the answer comes back to the one that asked, whatever the routes say.
    lines.append("IPv4ReversePathFilter=loose")
    # DHCPv6 is asked where a router says so in any case. Said aloud too, because an interface whose address
    # comes by that alone would never count as configured.
    versions = [4] if settings.method is IpMethod.DHCP else []
    versions += [] if settings.address6 else [6]
    if versions:
        lines.append(f"DHCP={'yes' if len(versions) == 2 else f'ipv{versions[0]}'}")
    # By the hardware's address, not the system's id: the boot medium and the node get the same address.
    lines += ["", "[DHCPv4]", "ClientIdentifier=mac", "UseHostname=no"]
    return [*lines, "", "[DHCPv6]", "DUIDType=link-layer", "UseHostname=no"]
