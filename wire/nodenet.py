"""The network in a node configuration file: address, VLAN, bond.

The classic keys are read as the original boot managers did. Added to them: VLAN_ID, the VLAN that the
node's address is in; BOND_DEVICES and BOND_MODE, interfaces that are one; IPV6_ADDRESS and IPV6_GATEWAY,
where routers do not announce them; and IP_METHOD "none" for no IPv4.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wire.nodefile import Values

# In the order in which a person is asked for them.
NETWORK_KEYS = (
    *("BOND_DEVICES", "BOND_MODE", "NET_DEVICE", "VLAN_ID", "IP_METHOD", "IP_ADDRESS", "IP_NETMASK"),
    *("IP_GATEWAY", "IPV6_ADDRESS", "IPV6_GATEWAY", "IP_DNS1", "IP_DNS2"),
)
_MAC = re.compile(r"([0-9A-F]{2}:){5}[0-9A-F]{2}")


class IpMethod(StrEnum):
    """How the node gets its IPv4 address."""

    STATIC = "static"
    DHCP = "dhcp"
    NONE = "none"


class BondMode(StrEnum):
    """How the interfaces of a bond share the work, by the kernel's names."""

    ACTIVE_BACKUP = "active-backup"
    LACP = "802.3ad"
    BALANCE_RR = "balance-rr"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"


@dataclass(frozen=True)
class NetworkSettings:
    """The node's own interface.

    `device` is a MAC address, an interface name, or "" for any wired one; `bond` the MAC addresses of those
    that are one interface in its place; `vlan` the VLAN on it, 0 for none. `address6` is ADDRESS/LENGTH, ""
    for what routers announce.
    """

    method: IpMethod = IpMethod.DHCP
    device: str = ""
    address: str = ""
    netmask: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    vlan: int = 0
    bond: tuple[str, ...] = ()
    bond_mode: BondMode = BondMode.ACTIVE_BACKUP
    address6: str = ""
    gateway6: str = ""

    @property
    def prefix_length(self) -> int:
        """Bits of the netmask."""
        return ipaddress.ip_network(f"0.0.0.0/{self.netmask}").prefixlen


def matters(key: str, given: Mapping[str, str]) -> bool:
    """Say whether a key means anything beside those before it in NETWORK_KEYS that are `given`."""
    static = given.get("IP_METHOD") == IpMethod.STATIC
    match key:
        case "BOND_MODE":
            return "BOND_DEVICES" in given
        case "NET_DEVICE":
            return "BOND_DEVICES" not in given
        case "VLAN_ID":
            return "BOND_DEVICES" in given or "NET_DEVICE" in given
        case "IP_ADDRESS" | "IP_NETMASK" | "IP_GATEWAY":
            return static
        case "IPV6_GATEWAY":
            return "IPV6_ADDRESS" in given
        case "IP_DNS1" | "IP_DNS2":
            return static or "IPV6_ADDRESS" in given
    return True


def parse_network(text: str, source: str) -> NetworkSettings:
    """Read lines with NETWORK_KEYS only, as a person gives them for one boot.

    Raises MalformedNodeConfiguration; `source` is named in it.
    """
    return read_network(Values(text, source))


def read_network(values: Values) -> NetworkSettings:
    """Return what a file says of the network. Raises MalformedNodeConfiguration."""
    method = _method(values)
    static, address6 = method is IpMethod.STATIC, _address6(values)
    dns = ("IP_DNS1", "IP_DNS2") if static or address6 else ()
    bond, device = _bond(values), _device(values)
    return NetworkSettings(
        method,
        device,
        _address(values, "IP_ADDRESS", 4) if static else "",
        _netmask(values) if static else "",
        _address(values, "IP_GATEWAY", 4) if static else "",
        tuple(_address(values, key) for key in dns if values.text(key)),
        _vlan(values, bool(bond or device)),
        bond,
        _bond_mode(values, bond),
        address6,
        _address(values, "IPV6_GATEWAY", 6) if address6 else "",
    )


def _method(values: Values) -> IpMethod:
    try:
        return IpMethod(values.text("IP_METHOD") or IpMethod.DHCP)
    except ValueError:
        raise values.wrong("IP_METHOD", f"is none of {', '.join(IpMethod)}") from None


def _device(values: Values) -> str:
    device = values.text("NET_DEVICE")
    if device and values.text("BOND_DEVICES"):
        raise values.wrong("NET_DEVICE", "is not wanted with BOND_DEVICES")
    return device.upper() if ":" in device else device


def _bond(values: Values) -> tuple[str, ...]:
    if not values.text("BOND_DEVICES"):
        return ()
    found = tuple(values.text("BOND_DEVICES").upper().replace(",", " ").split())
    # Not by name: the kernel of the boot medium and the node's may number interfaces otherwise.
    if not all(map(_MAC.fullmatch, found)) or len(set(found)) != len(found) or len(found) < 2:
        raise values.wrong("BOND_DEVICES", "is not a list of two or more MAC addresses")
    return found


def _bond_mode(values: Values, bond: tuple[str, ...]) -> BondMode:
    text = values.text("BOND_MODE")
    if text and not bond:
        raise values.wrong("BOND_MODE", "needs BOND_DEVICES")
    try:
        return BondMode(text or BondMode.ACTIVE_BACKUP)
    except ValueError:
        raise values.wrong("BOND_MODE", f"is none of {', '.join(BondMode)}") from None


def _vlan(values: Values, on_something: bool) -> int:
    text = values.text("VLAN_ID")
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 4094:
        raise values.wrong("VLAN_ID", "is not a number from 1 to 4094")
    if not on_something:
        raise values.wrong("VLAN_ID", "needs NET_DEVICE or BOND_DEVICES")
    return int(text)


def _address6(values: Values) -> str:
    text = values.text("IPV6_ADDRESS")
    if not text:
        if values.text("IPV6_GATEWAY"):
            raise values.wrong("IPV6_GATEWAY", "needs IPV6_ADDRESS")
        return ""
    try:
        found = ipaddress.IPv6Interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or "%" in text:
        raise values.wrong("IPV6_ADDRESS", "is not of the form ADDRESS/LENGTH")
    return str(found)


def _address(values: Values, key: str, version: int = 0) -> str:
    text = values.need(key)
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or version not in (0, found.version) or "%" in text:
        raise values.wrong(key, f"is not an IP{f'v{version}' if version else ''} address")
    return str(found)


def _netmask(values: Values) -> str:
    text = values.need("IP_NETMASK")
    try:
        ipaddress.ip_network(f"0.0.0.0/{text}")
    except ValueError:
        raise values.wrong("IP_NETMASK", "is not a netmask") from None
    return text
