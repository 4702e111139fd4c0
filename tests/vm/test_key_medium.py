"""The key medium missing, damaged, doubled, of another node; a key that the server refuses."""

import base64

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.hardware import Bus, Disk
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import Site


def stick(site: Site, name: str, text: str) -> Disk:
    image = media.key_medium(site.folder / f"{name}.img", text)
    return Disk(name, image, name.upper(), Bus.USB, read_only=True, removable=True)


def key_text(site: Site) -> str:
    return media.run("mtype", "-i", site.key, "::plnode.txt").decode()


def test_technician_tries_one_stick_after_another(new_site: MakeSite) -> None:
    site = new_site()
    machine, good = site.machine, key_text(site)
    key = next(disk for disk in machine.hardware.disks if disk.name == "key")
    site.without("key")

    site.power_on()
    machine.wait_error("no-key-medium", timeout=limits.BOOT)

    malformed = good.replace('IP_METHOD="dhcp"', 'IP_METHOD="dhcp')
    number = 1 + malformed.splitlines().index('IP_METHOD="dhcp')
    machine.plug(stick(site, "malformed", malformed))
    asked = machine.wait_event("debug.asked", code="malformed-node-configuration", timeout=limits.SOON)
    assert f"plnode.txt, line {number}:" in asked["detail"]

    machine.unplug("malformed")
    other = good.replace('NODE_ID="', 'NODE_ID="7')
    machine.plug(stick(site, "other", other))
    machine.plug(key)
    asked = machine.wait_event("debug.asked", code="conflicting-configurations", timeout=limits.SOON)
    assert asked["detail"].count("plnode.txt") == 2, asked
    both = str(asked["detail"])
    wait_until("both names on the console", lambda: both in machine.console(), limits.SOON)
    assert not any(text in machine.console() for text in good.split('"') if len(text) > 40), "key on console"

    machine.unplug("other")
    machine.wait_event("state.entered", state="inst", timeout=limits.SOON)
    assert "Traceback" not in machine.console()


@pytest.mark.slow
def test_refused_three_times_across_reboots_then_silence(new_site: MakeSite) -> None:
    site = new_site()
    machine, right = site.machine, key_text(site)
    key = next(line for line in right.splitlines() if line.startswith("NODE_KEY="))
    unknown_node = right.replace('NODE_ID="', 'NODE_ID="99')
    wrong_key = right.replace(key, f'NODE_KEY="{base64.b64encode(bytes(range(32))).decode()}"')

    media.key_medium(site.key, unknown_node)
    site.power_on()
    machine.wait_error("authentication-refused", timeout=limits.BOOT)
    # At once, before debug mode asks again.
    machine.cut_power()

    media.key_medium(site.key, wrong_key)
    site.power_on()
    machine.wait_error("authentication-refused", timeout=limits.BOOT)
    machine.wait_event("debug.asked", code="authentication-refused", timeout=limits.SOON)
    # Unknown node and wrong key look alike from outside; together these were three.
    assert attempts(site) == 3

    site.power_cycle()
    failed = machine.wait_error("calls-paused", timeout=limits.BOOT)
    assert "3 times" in failed["detail"]
    assert attempts(site) == 3


def attempts(site: Site) -> int:
    return site.server.log.read_text().count("begins a session as node")
