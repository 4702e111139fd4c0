"""A node between two outside networks, with slivers' networks at it: all of it in network namespaces.

The rules are the real ones, in the real packet filter. What loads them on a node is in tests/guest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from configmanager.backends.network_rules import Member, ruleset
from configmanager.slots import Slot
from wire.rspec import RSpec
from wire.slivers import PortForward

# The node's address in each of two networks, and who else is there.
NODE_A, OUTSIDE_A = "203.0.113.1", "203.0.113.2"
NODE_B, OUTSIDE_B = "198.51.100.1", "198.51.100.2"
_NUMBERS = count()

SERVE = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"{peer[0]} {peer[1]}".encode())
    connection.close()
"""
HEAR = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", int(sys.argv[1])))
print("up", flush=True)
while True:
    _, peer = server.recvfrom(100)
    server.sendto(f"{peer[0]} {peer[1]}".encode(), peer)
"""
# From a port of one's own choice, 0 for any.
ASK = """
import socket, sys
kind, host, port, own = socket.SOCK_STREAM, sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if sys.argv[1] == "udp":
    kind = socket.SOCK_DGRAM
client = socket.socket(socket.AF_INET, kind)
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.settimeout(1.5)
client.bind(("", own))
try:
    client.connect((host, port))
    if kind == socket.SOCK_DGRAM:
        client.send(b"x")
    print(client.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def member(name: str, number: int, *ports: str) -> Member:
    """Return a sliver as the network knows it."""
    return Member(name, Slot(number), RSpec(), tuple(map(PortForward.parse, ports)))


@dataclass(frozen=True)
class Space:
    """A network namespace."""

    name: str

    def run(self, *words: object, text: str = "") -> str:
        """Run it there; return what it says."""
        argv = ["ip", "netns", "exec", self.name, *map(str, words)]
        return subprocess.run(argv, check=True, capture_output=True, text=True, input=text).stdout

    @contextmanager
    def running(self, program: str, port: int) -> Iterator[None]:
        """Have a Python program listen there for the length of the block."""
        argv = ["ip", "netns", "exec", self.name, sys.executable, "-c", program, str(port)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield
        finally:
            process.kill()
            process.communicate()

    def ask(self, host: object, port: int, *, own: int = 0, kind: str = "tcp") -> str:
        """Return what a server at an address sees of one who asks from here: address and port."""
        return self.run(sys.executable, "-c", ASK, kind, host, port, own).strip()


@dataclass(frozen=True)
class Site:
    """The node, the slivers 1 and 2, and who is outside."""

    node: Space
    slivers: tuple[Space, Space]
    a: Space
    b: Space

    def rules(self, members: Sequence[Member]) -> None:
        """Put the rules for these slivers in force."""
        self.node.run("nft", "-f", "-", text=ruleset(members, (), ()))


@contextmanager
def joined() -> Iterator[Site]:
    """Make it for the length of the block, without rules; the node forwards. Needs root."""
    name = f"sn{os.getpid()}-{next(_NUMBERS)}"
    with ExitStack() as stack:
        node, a, b, one, two = (_space(stack, f"{name}{short}") for short in ("n", "a", "b", "1", "2"))
        for space, address, outside, link in ((a, NODE_A, OUTSIDE_A, "up0"), (b, NODE_B, OUTSIDE_B, "up1")):
            _link(node, link, f"{address}/24", space, f"{outside}/24")
            # As if the node were the way to all else.
            space.run("ip", "route", "add", "default", "via", address)
        for number, space in enumerate((one, two), 1):
            slot = Slot(number)
            _link(node, slot.interface, f"{slot.gateway}/30", space, f"{slot.address}/30")
            space.run("ip", "route", "add", "default", "via", slot.gateway)
        node.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield Site(node, (one, two), a, b)


def _space(stack: ExitStack, name: str) -> Space:
    subprocess.run(["ip", "netns", "add", name], check=True)
    stack.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
    Space(name).run("ip", "link", "set", "lo", "up")
    return Space(name)


def _link(node: Space, interface: str, address: str, other: Space, others: str) -> None:
    node.run("ip", "link", "add", interface, "type", "veth", "peer", "name", "net0", "netns", other.name)
    for space, link, own in ((node, interface, address), (other, "net0", others)):
        space.run("ip", "address", "add", own, "dev", link)
        space.run("ip", "link", "set", link, "up")
