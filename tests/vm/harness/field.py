"""Networks as they are in the field: a network namespace with LANs, their DHCP servers, a router, the server.

The namespace is the router of its LANs, and the server is behind it: at addresses that are on none of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm.harness.artifacts import ROOT
from tests.vm.harness.hardware import Cable
from tests.vm.harness.server import GUESTS_HOST
from tests.vm.harness.site import NODE, Site

SERVER6 = "fd00:2::2"
_END_SECONDS = 20


@dataclass(frozen=True)
class Lan:
    """A LAN: the router's addresses there (with length), and what its DHCP server is told (dnsmasq(8))."""

    name: str
    addresses: tuple[str, ...]
    dhcp: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """A network card of the machine: which LAN it is plugged into, and the VLAN of the port, 0 for none."""

    mac: str
    lan: Lan
    vlan: int = 0


class Field:
    """The namespace of a site's network."""

    def __init__(self, site: Site, within: Sequence[str], stack: ExitStack) -> None:
        self._site = site
        self._within = tuple(within)
        self._stack = stack

    def key(self, *words: str, host: str = GUESTS_HOST) -> None:
        """Write the node's key medium with these options; `host` is the server's address in its URL."""
        server = self._site.server
        url = f"https://{f'[{host}]' if ':' in host else host}:{server.port}"
        server.cli("media", "key", NODE, str(self._site.key), "--server", url, *words)

    def link(self, number: int, *, up: bool) -> None:
        """Plug the cable of a card in or out; the machine has to be on."""
        self._site.machine.qmp("set_link", name=f"net{number}", up=up)

    def run(self, *words: str) -> None:
        """Run a command in the namespace."""
        subprocess.run([*self._within, *words], check=True, capture_output=True)

    def start(self, name: str, *words: str) -> None:
        """Start a program in the namespace, which ends with the site's network."""
        log = self._stack.enter_context((self._site.logs / f"{name}.log").open("ab"))
        self._stack.callback(_end, subprocess.Popen([*self._within, *words], stdout=log, stderr=log))

    def proxy(self, address: str, port: int) -> None:
        """Start an HTTP proxy."""
        file = self._site.folder / "tinyproxy.conf"
        file.write_text(f"Listen {address}\nPort {port}\nTimeout 600\n")
        self.start("proxy", "tinyproxy", "-d", "-c", str(file))

    def plug(self, cards: Sequence[Card], folder: Path) -> None:
        """Make the LANs, and plug the machine's cards in."""
        cables = tuple(Cable(card.mac, folder / f"port{number}") for number, card in enumerate(cards))
        lans = {card.lan.name: card.lan for card in cards}
        ports = [
            f"{cable.port}={card.lan.name}:{card.vlan}" for cable, card in zip(cables, cards, strict=True)
        ]
        line = [sys.executable, "-m", "tests.vm.harness.switch", *ports]
        switch = subprocess.Popen([*self._within, *line], cwd=ROOT, stdout=subprocess.PIPE)
        self._stack.callback(_end, switch)
        assert switch.stdout is not None
        assert switch.stdout.readline(), "the switch did not start"
        for lan in lans.values():
            for address in lan.addresses:
                nodad = ["nodad"] if ":" in address else []
                self.run("ip", "address", "add", address, "dev", lan.name, *nodad)
            self.run("ip", "link", "set", lan.name, "up")
            alone = ["--conf-file=/dev/null", "--port=0", "--leasefile-ro", "--user=root", "--group=root"]
            options = ["--keep-in-foreground", "--log-facility=-", "--log-dhcp", f"--interface={lan.name}"]
            self.start(f"dhcp-{lan.name}", "dnsmasq", *alone, *options, "--bind-interfaces", *lan.dhcp)
        self._site.change(cables=cables)


@contextmanager
def field(site: Site, *cards: Card) -> Iterator[Field]:
    """Give a site such a network for the length of a with block, and its server a place in it."""
    with ExitStack() as stack:
        server = site.server
        server.stop()
        user = ["--user", "--map-root-user"] if os.geteuid() else []
        holder = subprocess.Popen(
            ["unshare", *user, "--net", "sh", "-c", "echo there; exec sleep infinity"], stdout=subprocess.PIPE
        )
        stack.callback(_end, holder)
        assert holder.stdout is not None
        assert holder.stdout.readline(), "no network namespace can be made"
        entering = ["--user", "--preserve-credentials"] if os.geteuid() else []
        within = ["nsenter", f"--target={holder.pid}", *entering, "--net"]
        made = Field(site, within, stack)
        made.run("ip", "link", "set", "lo", "up")
        # Of a machine that does not forward, nodes take no IPv6 route.
        made.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        for address in (f"{GUESTS_HOST}/32", f"{SERVER6}/128"):
            made.run("ip", "address", "add", address, "dev", "lo")
        made.plug(cards, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bm-net-"))))
        server.cli("tls", "renew", "--name", GUESTS_HOST, "--name", SERVER6)
        server.within, server.listen = tuple(within), "[::]"
        server.start()
        stack.callback(server.stop)
        # Its cables end here.
        stack.callback(site.machine.cut_power)
        yield made


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(_END_SECONDS)
