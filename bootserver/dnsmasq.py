"""A configuration for dnsmasq that leads machines to this server: dnsmasq(8)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from bootserver.netboot_app import LOADERS
from wire.errors import ConfigurationError

_URL = re.compile(r"http://([0-9.]+)(:[0-9]{1,5})?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


class BadNetbootNetwork(ConfigurationError):
    """What was said of the network cannot be."""

    code = "bad-netboot-network"
    title = "This network cannot be served"
    hint = "See `bootserver netboot dnsmasq --help`; addresses are of version 4."


@dataclass(frozen=True)
class Addresses:
    """What dnsmasq gives out where nothing else does: addresses from `first` to `last`. "" for none."""

    first: str
    last: str
    netmask: str
    gateway: str = ""
    dns: str = ""


def configuration(url: str, interface: str, network: Addresses | str) -> str:
    """Return the text. `network` without Addresses is that of the site's own DHCP, which is left as it is.

    Raises BadNetbootNetwork.
    """
    if not (match := _URL.fullmatch(url)) or not _is_address(match[1]):
        raise BadNetbootNetwork(f"{url!r} is not of the form http://ADDRESS:PORT")
    if not _INTERFACE.fullmatch(interface):
        raise BadNetbootNetwork(f"{interface!r} cannot be an interface")
    script = f"{url}/netboot/boot.ipxe"
    lines = [
        "# Written by `bootserver netboot dnsmasq`. No DNS, only what machines start by.",
        "port=0",
        f"interface={interface}",
        "bind-dynamic",
        "log-dhcp",
        "",
        "# iPXE, as Debian's package ipxe has it, for firmware that knows TFTP only.",
        "enable-tftp",
        f"tftp-root={LOADERS}",
        "",
        "# Who asks: iPXE itself, or firmware of a kind (RFC 4578, 93).",
        "dhcp-match=set:ipxe,175",
        "dhcp-userclass=set:ipxe,iPXE",
        "dhcp-match=set:bios,option:client-arch,0",
        "dhcp-match=set:efi,option:client-arch,7",
        "dhcp-match=set:efi,option:client-arch,9",
        "dhcp-match=set:http,option:client-arch,16",
        "",
    ]
    lines += _full(network, url, script) if isinstance(network, Addresses) else _proxy(network, script)
    return "\n".join(lines) + "\n"


def _full(network: Addresses, url: str, script: str) -> list[str]:
    given = (network.first, network.last, network.netmask, network.gateway, network.dns)
    for text in filter(None, given):
        if not _is_address(text):
            raise BadNetbootNetwork(f"{text!r} is no address")
    return [
        "# This is the network's DHCP server.",
        f"dhcp-range={network.first},{network.last},{network.netmask},12h",
        # An option without a value is not given; otherwise dnsmasq would name itself.
        f"dhcp-option=option:router{',' if network.gateway else ''}{network.gateway}",
        f"dhcp-option=option:dns-server{',' if network.dns else ''}{network.dns}",
        "",
        f"dhcp-boot=tag:ipxe,{script}",
        "dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe",
        "dhcp-boot=tag:!ipxe,tag:efi,snponly.efi",
        "# Firmware that boots by HTTP takes an answer only that says so.",
        f"dhcp-boot=tag:!ipxe,tag:http,{url}/netboot/snponly.efi",
        "dhcp-option-force=tag:!ipxe,tag:http,option:vendor-class,HTTPClient",
    ]


def _proxy(network: str, script: str) -> list[str]:
    if not _is_address(network):
        raise BadNetbootNetwork(f"{network!r} is no network's address")
    return [
        "# Another server gives addresses; this one adds what to start.",
        f"dhcp-range={network},proxy",
        f"dhcp-boot=tag:ipxe,{script}",
        'pxe-service=tag:!ipxe,x86PC,"bootserver",undionly.kpxe',
        'pxe-service=tag:!ipxe,x86-64_EFI,"bootserver",snponly.efi',
        'pxe-service=tag:!ipxe,BC_EFI,"bootserver",snponly.efi',
    ]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
