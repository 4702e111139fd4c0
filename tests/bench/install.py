"""The install phase, from partitioning to GRUB, against a shell script, in the same guest."""

from __future__ import annotations

import functools
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.result import Result
from tests.vm.harness import limits
from tests.vm.harness.artifacts import Artifacts
from tests.vm.harness.site import NODE, make_site
from tests.vm.harness.timeline import Event

BY_HAND = Path(__file__).with_name("by_hand.sh")
_DISKS = "/dev/disk/by-id/virtio-SYSTEM01 /dev/disk/by-id/virtio-DATA01"
_PHASE = ("partition", "format", "unpack", "configure", "bootloader")


def install_against_script(built: Artifacts, accelerator: str) -> Result:
    """Install by hand, blank the disks, let bootmanager install; both fetch from this host."""
    site = make_site("bench", built, accelerator)
    machine = site.machine
    try:
        site.server.set_state(NODE, "dbg")
        site.power_on()
        machine.wait_event("debug.entered", timeout=limits.BOOT)
        with _served(built) as url:
            layers = f"{built.base.name} {built.project.name}"
            script = site.shell.argv("sh", "-s", "--", *_DISKS.split(), url, *layers.split())
            by_hand = _seconds(script, site.logs / "by_hand.log")
        site.server.set_state(NODE, "inst")
        machine.wait_event("step.started", step="partition", timeout=limits.SOON)
        machine.wait_event("step.done", step=_PHASE[-1], timeout=limits.INSTALL)
        ours = _phase_seconds(machine.events())
    finally:
        site.close()
    return Result("install_phase_against_script", ours / by_hand, 1.3, {"ours": ours, "by_hand": by_hand})


def _seconds(script: list[str], log: Path) -> float:

    with BY_HAND.open() as text, log.open("w") as errors:
        done = subprocess.run(
            script, stdin=text, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=limits.INSTALL,
            check=False,
        )  # fmt: skip
    found = re.search(r"^seconds: ([0-9.]+)$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"the script failed with status {done.returncode}, see {log}")
    return float(found[1])


def _phase_seconds(events: list[Event]) -> float:
    """Return the seconds of the steps that the script does too."""
    done = [event for event in events if event["event"] == "step.done"]
    return sum(float(event["seconds"]) for event in done if event["step"] in _PHASE)


@contextmanager
def _served(built: Artifacts) -> Iterator[str]:
    """Serve the layers as plain files to the guest."""
    folder = built.base.parents[2]
    files = {f"/{path.name}": path for path in (built.base, built.project)}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(files.get(path, folder / "nothing"))

        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://10.0.2.2:{server.server_address[1]}"
        finally:
            server.shutdown()
