"""What nodes of scenarios are for: slivers and services, and how each is seen at work from outside the node.

Most scenarios want one sliver and one service. All roles at once are three slices, of which two serve pages
and one asks the node by vsys, with limits; a service of the node with a health check, and files of the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.vm.harness.server import Server

SLIVER = "web"
ANSWER = "the sliver answers"
SERVICE = "beacon"
_INITSCRIPT = """#!/bin/sh
mkdir -p /srv/www
{prepare}
exec busybox httpd -p 80 -h /srv/www
"""
_UNIT = """[Unit]
Description=Shows that the node runs services of its own
[Service]
ExecStart=/usr/bin/python3 -m http.server --directory /srv/beacon 9000
DynamicUser=yes
[Install]
WantedBy=multi-user.target
"""
_HEALTH = "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:9000/\")'"
_VSYS = """#!/bin/sh
read -r question
echo "$1 asked the node for its $question: $(uname -n)"
"""


@dataclass(frozen=True)
class Slice:
    """One slice: the port of the node that leads to its page, how the page is made, its other attributes."""

    name: str
    port: int
    prepare: str
    attributes: tuple[str, ...] = ()

    @property
    def ports(self) -> str:
        """Return the attribute that says which port leads there."""
        return f"ports=tcp:{self.port}:80"


WEB = Slice(SLIVER, 8080, f"echo '{ANSWER}' > /srv/www/index.html", ("cpu_share=64", "pids_max=512"))
# In bytes, and bit/s: about three seconds' worth.
MIRROR_BYTES, MIRROR_RATE = 400_000, 1_000_000
MIRROR = Slice(
    "mirror",
    8081,
    f"head -c {MIRROR_BYTES} /dev/urandom > /srv/www/index.html",
    (f"net_max={MIRROR_RATE}", "memory_max=131072"),
)
# The service may come later than the sliver.
PROBE = Slice(
    "probe",
    8082,
    "until [ -p /vsys/whoami.in ]; do sleep 1; done\n"
    "echo name > /vsys/whoami.in\n"
    "cat /vsys/whoami.out > /srv/www/index.html",
)
SERVICE_PORT = 9000
SERVICE_ANSWER = "the node serves"
PORTS = (WEB.port, MIRROR.port, PROBE.port, SERVICE_PORT)


def probe_answer(node: str) -> str:
    """Return what the probe shows when the node answered it."""
    return f"{PROBE.name} asked the node for its name: {node}"


def give_sliver_and_service(server: Server, node: str, folder: Path, technician: Path) -> None:
    """Give the node one sliver that serves a page, and one service of its own."""
    _add_slice(server, node, folder, technician, WEB)
    unit = folder / "unit"
    unit.write_text(_UNIT)
    _add_file(server, node, folder, "/srv/beacon/index.html", SERVICE_ANSWER + "\n", "--service", SERVICE)
    server.cli("service", "add", node, SERVICE, "--unit", str(unit), "--health", _HEALTH)


def give_all_roles(server: Server, node: str, folder: Path, technician: Path) -> None:
    """Give a node that has one sliver and one service two slivers more, one of them with a vsys service."""
    for each in (MIRROR, PROBE):
        _add_slice(server, node, folder, technician, each)
    _add_file(server, node, folder, "/vsys/whoami.acl", f"{PROBE.name} rw\n")
    _add_file(server, node, folder, "/vsys/whoami", _VSYS, "--mode", "0755")


def _add_slice(server: Server, node: str, folder: Path, technician: Path, wanted: Slice) -> None:
    script = folder / f"{wanted.name}.sh"
    script.write_text(_INITSCRIPT.format(prepare=wanted.prepare))
    options = [word for value in (wanted.ports, *wanted.attributes) for word in ("--attribute", value)]
    server.cli(
        "slice", "add", wanted.name, "--image", "sliver", "--key", f"{technician}.pub",
        "--initscript", str(script), *options,
    )  # fmt: skip
    server.cli("slice", "add-node", wanted.name, node)


def _add_file(server: Server, node: str, folder: Path, place: str, content: str, *options: str) -> None:
    source = folder / "conf-file"
    source.write_text(content)
    server.cli("conf-file", "add", place, "--node", node, "--from", str(source), *options)
