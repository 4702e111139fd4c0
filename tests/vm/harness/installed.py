"""The main job, done once by whichever worker comes first: a blank machine becomes a node.

What happened is kept for the test that judges it, the disks are the start of every scenario that needs an
installed node. Done anew in each test run: it depends on more than the built images.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.vm.harness import limits, media
from tests.vm.harness.artifacts import SHARED, Artifacts, run_name
from tests.vm.harness.expect import assert_all_roles, assert_node_is_up
from tests.vm.harness.leaks import node_key, places_on_node
from tests.vm.harness.roles import SLIVER, give_all_roles
from tests.vm.harness.server import Server
from tests.vm.harness.shared import once
from tests.vm.harness.site import NODE, Site, assemble, empty_folders, make_site
from tests.vm.harness.timeline import Event

_RECORD = "record.json"
# No secret: what the search for one on the node has to find.
CANARY = bytes(range(100, 132))
_IMAGES = ("system.img", "data.img", "dongle.img", "key.img")


@dataclass(frozen=True)
class MainJob:
    """The installation as it went: all events, what the server knew at the end, what the node's tools said.

    `folder` holds the disks of the node, which was shut down properly, and `server` in it its server's state.
    It took `seconds` from power-on until the node was up, and `serial_bytes` on the serial console.
    """

    folder: Path
    events: list[Event]
    node: dict[str, Any]
    said: dict[str, str]
    seconds: float
    serial_bytes: int

    def told(self, name: str, **wanted: Any) -> list[Event]:
        """Return the events of that name with these values."""
        named = (event for event in self.events if event["event"] == name)
        return [event for event in named if all(event.get(key) == value for key, value in wanted.items())]


def main_job(built: Artifacts, accelerator: str) -> MainJob:
    """Return the main job of this test run, which is done now if it was not yet."""
    folder = once(SHARED, f"installed-{run_name()}", lambda target: _install(target, built, accelerator))
    return MainJob(folder, **json.loads((folder / _RECORD).read_text()))


def installed_site(name: str, built: Artifacts, accelerator: str) -> Site:
    """Make a site of its own whose node is installed and whose dongle is warm; intent boot, machine off."""
    origin = main_job(built, accelerator).folder
    folder, logs = empty_folders(name)
    for disk in ("system", "data"):
        media.layered(folder / f"{disk}.img", origin / f"{disk}.img", "raw")
    # Raw, because scenarios damage it with tools that know no qcow2.
    media.copy(origin / "dongle.img", folder / "dongle.img")
    for file in ("technician", "technician.pub"):
        shutil.copy2(origin / file, folder / file)
    server = Server.copied(origin / "server", folder / "server", logs / "server.log")
    server.start()
    # The node's key stays; where the server is has changed.
    server.cli("media", "key", NODE, str(folder / "key.img"), "--server", server.url)
    return assemble(built, server, folder, logs, accelerator, disk_format="qcow2")


def _install(target: Path, built: Artifacts, accelerator: str) -> None:
    site = make_site("main-job", built, accelerator)
    machine = site.machine
    try:
        give_all_roles(site.server, NODE, site.folder, site.technician)
        started = time.monotonic()
        site.power_on()
        machine.wait_event("state.entered", state="inst", timeout=limits.BOOT)
        machine.wait_event("chain.started", timeout=limits.INSTALL)
        assert_node_is_up(site)
        seconds, serial_bytes = time.monotonic() - started, machine.console_log.stat().st_size
        assert_all_roles(site)
        said = {
            "volumes": site.shell.output("lvs --noheadings -o lv_name bmnode"),
            "physical": site.shell.output("pvs --noheadings -o pv_name"),
            "mounts": site.shell.output("findmnt -n -o TARGET,SOURCE --real"),
            "swap": site.shell.output("swapon --show --noheadings"),
            "sliver": replace(site.shell, user=SLIVER).output("id -un; hostname; su -c whoami", timeout=180),
            "key_found_at": " ".join(places_on_node(node_key(site.key), site.shell)),
        }
        site.shell.output("cat > /run/canary", stdin=CANARY.hex())
        said["canary_found_at"] = " ".join(places_on_node(CANARY, site.shell))
        record = {"events": machine.events(), "node": site.server.node(NODE), "said": said}
        record |= {"seconds": seconds, "serial_bytes": serial_bytes}
        site.shell.run("systemctl poweroff")
        machine.wait_off(limits.SOON)
        site.server.stop()
        (target / _RECORD).write_text(json.dumps(record))
        for file in (
            "system.img",
            "data.img",
            "dongle.img",
            "key.img",
            "technician",
            "technician.pub",
            "server",
        ):
            shutil.move(site.folder / file, target / file)
    finally:
        site.close()
