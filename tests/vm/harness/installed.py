"""An installed node, made once by a real installation and then the starting point of many scenarios."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.harness import media
from tests.vm.harness.artifacts import SHARED, Artifacts
from tests.vm.harness.server import Server
from tests.vm.harness.shared import once
from tests.vm.harness.site import NODE, Site, assemble, empty_folders, make_site

INSTALL_SECONDS = 600


def installed_site(name: str, built: Artifacts, accelerator: str) -> Site:
    """Make a site of its own whose node is installed and whose dongle is warm; intent boot, machine off."""

    def install(folder: Path) -> None:
        _install(folder, built, accelerator)

    origin = once(SHARED, f"installed-{built.key}", install)
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
    site = make_site("installed", built, accelerator)
    try:
        site.power_on()
        site.machine.wait_event("chain.started", timeout=INSTALL_SECONDS)
        site.machine.cut_power()
        site.server.stop()
        for file in ("system.img", "data.img", "dongle.img", "technician", "technician.pub", "server"):
            shutil.move(site.folder / file, target / file)
    finally:
        site.close()
