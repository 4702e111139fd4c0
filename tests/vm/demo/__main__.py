"""The demo: exit status 0 only if slivers and services answer from outside, before and after a reinstall."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import threading
import time
from dataclasses import replace

from rich.console import Console

from tests.vm.demo.figures import Figures, measure
from tests.vm.demo.view import View
from tests.vm.harness import limits, media
from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, ROOT, Artifacts, artifacts, forget_run
from tests.vm.harness.expect import answer, assert_all_roles, assert_node_is_up, mirror_rate, network_bytes
from tests.vm.harness.hardware import UsbStick
from tests.vm.harness.roles import (
    MIRROR,
    MIRROR_RATE,
    PROBE,
    SERVICE,
    SERVICE_PORT,
    SLIVER,
    WEB,
    give_all_roles,
)
from tests.vm.harness.site import NODE, Site, make_site

RESULT = BUILD / "demo.json"


def main() -> int:
    """Run the main job and the reinstallation; return the exit status."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave server and node running at the end")
    keep = parser.parse_args().keep
    view = View(Console())
    built, accel = artifacts(), accelerator(BUILD)
    view.say(f"accelerator {accel}; starting bootserver, publishing images, registering {NODE}")
    site = _site(built, accel)
    view.say(
        f"the server's page : http://127.0.0.1:{site.server.operator_port}/   log: {_short(site.server.log)}"
    )
    view.say(f"serial console    : tail -f {_short(site.machine.console_log)}")
    runs: list[Figures] = []
    good = False
    try:
        with view:
            view.say("1. power on: a blank machine, intent inst", "bold")
            runs.append(_install(site, view, "install"))
            view.say("2. intent rins, power cycle: it reinstalls itself from the dongle", "bold")
            site.server.set_state(NODE, "rins")
            site.machine.cut_power()
            runs.append(_install(site, view, "reinstall"))
            if network_bytes(site.machine):
                raise AssertionError(f"{network_bytes(site.machine)} image bytes came over the network")
        good = True
    except AssertionError as error:
        view.say(str(error), "bold red")
    finally:
        site.machine.save_events()
        _write(runs, built, good)
        if not (keep and good):
            site.close()
            forget_run()
    if runs:
        view.table(runs)
    _tell_sizes(view, built)
    if good:
        _tell_shells(view, site, keep)
    return 0 if good else 1


def _site(built: Artifacts, accel: str) -> Site:
    """Make the site; its machine boots the medium from a USB stick, through the firmware and GRUB."""
    site = make_site("demo", built, accel)
    stick = media.layered(site.folder / "stick.qcow2", built.iso, "raw")
    site.change(boot=UsbStick(stick, "qcow2"), screen=True)
    give_all_roles(site.server, NODE, site.folder, site.technician)
    return site


def _install(site: Site, view: View, name: str) -> Figures:
    started = time.monotonic()
    view.waiting("firmware, GRUB, kernel and systemd start from the stick")
    site.power_on()
    machine, done = site.machine, threading.Event()
    watcher = threading.Thread(target=_watch, args=(site, view, done), daemon=True)
    watcher.start()
    try:
        machine.wait_event("chain.started", timeout=limits.BOOT + limits.INSTALL)
        assert_node_is_up(site)
        seconds = time.monotonic() - started
        assert_all_roles(site)
    finally:
        done.set()
        watcher.join(5)
    _tell_answers(site, view)
    return measure(name, machine.events(), seconds, answered=True)


def _tell_answers(site: Site, view: View) -> None:
    view.say("asked from outside the node:", "bold")
    for what, port in (
        (f"sliver {WEB.name}", WEB.port),
        (f"sliver {PROBE.name}, by vsys", PROBE.port),
        (f"service {SERVICE}", SERVICE_PORT),
    ):
        view.say(f"   {what:<22} {answer(site, port)!r}", "bold green")
    rate, most = mirror_rate(site) / 1e6, MIRROR_RATE / 1e6
    view.say(
        f"   {'sliver ' + MIRROR.name:<22} sends {rate:.2f} Mbit/s, its limit is {most:.2f}", "bold green"
    )


def _watch(site: Site, view: View, done: threading.Event) -> None:
    shown = 0
    while not done.wait(0.2):
        events = site.machine.events()
        for event in events[shown:]:
            view.event(event)
        shown = len(events)


def _write(runs: list[Figures], built: Artifacts, good: bool) -> None:
    result = {
        "ok": good,
        "runs": [run.to_plain() for run in runs],
        "phases": runs[0].to_plain()["phases"] if runs else [],
        "network_bytes": sum(run.network_bytes for run in runs),
        "cache_bytes": sum(run.cache_bytes for run in runs),
        "peak_memory_bytes": max((run.peak_memory_bytes for run in runs), default=0),
        "image_sizes": built.sizes,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _tell_sizes(view: View, built: Artifacts) -> None:
    wanted = ("boot.iso", "base.tar.zst", "project.tar.zst", "sliver.tar.zst")
    sizes = ", ".join(f"{name} {built.sizes[name] / 1e6:.1f} MB" for name in wanted)
    view.say(f"images: {sizes}; figures in {_short(RESULT)}")


def _tell_shells(view: View, site: Site, keep: bool) -> None:
    node = shlex.join(site.shell.argv())
    view.say(f"a shell on the node   : {node}")
    view.say(f"a shell in the sliver : {shlex.join(replace(site.shell, user=SLIVER).argv())}")
    if keep:
        processes = " ".join(str(number) for number in site.processes())
        view.say(f"left running; to end  : kill {processes}")
    else:
        view.say("all is switched off; `make demo KEEP=1` leaves the node running for these commands")


def _short(path: object) -> str:
    return str(path).removeprefix(f"{ROOT}/")


if __name__ == "__main__":
    sys.exit(main())
