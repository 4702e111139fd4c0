"""Who is at the other end of a request."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from starlette.requests import Request


def peer_of(request: Request) -> str:
    """Return the address, "" where there is none; an IPv4 one as such, whatever the socket is."""
    if request.client is None:
        return ""
    try:
        found = ip_address(request.client.host)
    except ValueError:
        return request.client.host
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
