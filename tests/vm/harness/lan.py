"""A LAN of its own for one machine, with dnsmasq as the server configures it. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.vm.harness.hardware import inside
from tests.vm.harness.media import run
from tests.vm.harness.server import GUESTS_HOST
from tests.vm.harness.site import Site

_FIRST, _LAST, _NETMASK = "10.0.2.50", "10.0.2.59", "255.255.255.0"


@contextmanager
def on_a_lan(site: Site, without: str = "") -> Iterator[None]:
    """Move server and machine, which is off, into a namespace; the server is where QEMU's network has it.

    dnsmasq's configuration lacks the lines that hold the text `without`.
    """
    name = f"vm{os.getpid()}"
    with ExitStack() as stack:
        run("ip", "netns", "add", name)
        stack.callback(run, "ip", "netns", "delete", name)
        # QEMU attaches itself to it.
        run("ip", "-n", name, "tuntap", "add", "dev", "tap0", "mode", "tap")
        run("ip", "-n", name, "address", "add", f"{GUESTS_HOST}/24", "dev", "tap0")
        for device in ("lo", "tap0"):
            run("ip", "-n", name, "link", "set", device, "up")
        site.server.stop()
        site.server.within, site.server.listen = ("ip", "netns", "exec", name), GUESTS_HOST
        site.server.start()
        stack.callback(site.server.stop)
        file = site.folder / "dnsmasq.conf"
        where = ["--url", site.server.netboot_url, "--interface", "tap0", "--gateway", GUESTS_HOST]
        site.server.cli(
            "netboot", "dnsmasq", *where, "--range", _FIRST, _LAST, _NETMASK, "--output", str(file)
        )
        if without:
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if without not in line))
        line = [*inside(name), "dnsmasq", "--keep-in-foreground", "--user=root", "-C", str(file)]
        line += [f"--dhcp-leasefile={site.folder / 'leases'}", "--log-facility=-"]
        log = stack.enter_context((site.logs / "dnsmasq.log").open("w"))
        dnsmasq = subprocess.Popen(line, stderr=log)
        stack.callback(dnsmasq.wait)
        stack.callback(dnsmasq.kill)
        site.change(namespace=name)
        stack.callback(site.machine.cut_power)
        yield
