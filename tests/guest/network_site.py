"""A node's network with two slivers' networks at it, and one beyond the node's link to the outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configmanager.backends.base import Node
from configmanager.backends.network import Network
from configmanager.backends.network_settings import FILE
from configmanager.slots import FILE as SLOTS
from configmanager.slots import Slot
from tests.guest.limited import Space, command, converge, linked, sliver, wanted

NODE, OUTSIDE, EXEMPT = "203.0.113.1", "203.0.113.2", "198.51.100.2"
SETTINGS = Path("/", FILE)
MBIT = 1_000_000


@dataclass(frozen=True)
class Site:
    """Two slivers' networks, one beyond the node's link `up0`, and the backend."""

    network: Network
    a: Space
    b: Space
    outside: Space
    links: ExitStack

    def settle(self, a: dict[str, object] | None = None, b: dict[str, object] | None = None) -> None:
        """Have rules for both, with these attributes."""
        converge(self.network, wanted(sliver("net_a", 1, **(a or {})), sliver("net_b", 2, **(b or {}))))

    def leave(self) -> None:
        """Take the slivers' links away, and then the rules."""
        self.links.close()
        converge(self.network, wanted())


SERVE = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"{sys.argv[2]} {peer[0]}".encode())
    connection.close()
"""
ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as connection:
        print(connection.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def ask(space: Space, address: object, port: int) -> str:
    """What SERVE says at an address to one who asks from there."""
    return space.python(ASK, address, port).strip()


@contextmanager
def joined(bare: Node) -> Iterator[Site]:
    """Make the networks for the length of the block; no rules yet, and none afterwards."""
    network, outside = Network(bare), Space("outside")
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwarding.read_text()
    with ExitStack() as stack:
        command("ip", "netns", "add", outside.name)
        stack.callback(command, "ip", "netns", "delete", outside.name)
        command("ip", "link", "add", "up0", "type", "veth", "peer", "name", "net0", "netns", outside.name)
        stack.callback(command, "ip", "link", "delete", "up0")
        command("ip", "address", "add", f"{NODE}/24", "dev", "up0")
        command("ip", "link", "set", "up0", "up")
        outside.run("ip", "address", "add", f"{OUTSIDE}/24", "dev", "net0")
        outside.run("ip", "address", "add", f"{EXEMPT}/32", "dev", "net0")
        outside.run("ip", "link", "set", "net0", "up")
        outside.run("ip", "link", "set", "lo", "up")
        # The way that goes straight to slivers' addresses, past all published ports.
        outside.run("ip", "route", "add", "100.64.0.0/16", "via", NODE)
        # The link counts as one to the outside by a default route, which the guest's own goes before.
        command("ip", "route", "add", "default", "via", OUTSIDE, "dev", "up0", "metric", "9000")
        command("ip", "route", "add", EXEMPT, "via", OUTSIDE)
        links = stack.enter_context(ExitStack())
        a, b = (links.enter_context(linked(Slot(number))) for number in (1, 2))
        stack.callback(forwarding.write_text, before)
        site = Site(network, a, b, outside, links)
        try:
            yield site
        finally:
            site.leave()
            Path("/", SLOTS).unlink(missing_ok=True)
            SETTINGS.unlink(missing_ok=True)
