"""An operator at another end of the world has a node installed again, with no hand on it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.host.loopback import serving
from tests.redfish_bmc import PASSWORD, USER, RedfishBmc
from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.artifacts import ROOT
from tests.vm.harness.expect import assert_node_is_up, network_bytes
from tests.vm.harness.hardware import FirstDisk
from tests.vm.harness.site import NODE, Site, direct_kernel


class Chassis:
    """The node's machine as its controller has it: by itself it starts its disk, and the medium by order."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def is_on(self) -> bool:
        return self._site.machine.is_on

    def turn_on(self, source: str | None) -> None:
        self._site.change(boot=direct_kernel(self._site.built) if source == "Usb" else FirstDisk())
        self._site.power_on()

    def turn_off(self) -> None:
        self._site.machine.cut_power()


@contextmanager
def controlled(site: Site) -> Iterator[None]:
    """Let the server control the node's power, by a controller in the machine's place."""
    with serving(RedfishBmc(site.folder, Chassis(site))) as bmc:
        secret = site.folder / "password"
        secret.write_text(PASSWORD)
        site.server.cli(
            "node", "power", NODE, "set", "--redfish", bmc.url, "--user", USER,
            "--fingerprint", bmc.fingerprint, "--password-file", str(secret),
        )  # fmt: skip
        yield


def reinstalled(site: Site, *words: str) -> list[str]:
    """Give the real command and follow it to its end; return the lines that it printed."""
    line = [sys.executable, "-m", "bootserver", "--state", str(site.server.folder), "node", "reinstall", NODE]
    seconds = limits.BOOT + limits.INSTALL + limits.NODE_UP
    done = subprocess.run(
        [*line, "--yes", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_machine_that_starts_nothing_is_installed_by_its_controller(new_site: MakeSite) -> None:
    site = new_site(state="boot")
    with controlled(site):
        site.server.cli("node", "power", NODE, "on")
        said = reinstalled(site, "--from", "usb")
        node = site.server.node(NODE)
        assert said[-1] == f"{NODE} is up: run level boot, run {node['run_id']}"
        assert any("== rins" in line for line in said)
        assert any(line.split()[1:3] == ["unpack", "done"] for line in said)
        assert (node["boot_state"], node["run_level"]) == ("boot", "boot")
        assert not site.machine.events("confirm.asked")
        assert_node_is_up(site)


@pytest.mark.slow
def test_a_node_is_power_cycled_reinstalls_and_is_followed_to_its_end(installed: MakeSite) -> None:
    site = installed()
    former = site.server.node(NODE)["run_id"]
    with controlled(site):
        # It runs from its disk, without a boot medium: it would come back as it is.
        site.server.cli("node", "power", NODE, "on")
        assert_node_is_up(site)
        site.shell.output("touch /root/left-over && sync")

        said = reinstalled(site, "--from", "usb")
        node = site.server.node(NODE)
        assert node["run_id"] != former
        assert (node["boot_state"], node["run_level"]) == ("boot", "boot")
        assert said[-1] == f"{NODE} is up: run level boot, run {node['run_id']}"
        assert any("== rins" in line for line in said)
        assert any(line.split()[1:3] == ["unpack", "done"] for line in said)
        assert site.shell.run("test -e /root/left-over").returncode == 1
        assert network_bytes(site.machine) == 0
        assert_node_is_up(site)


@pytest.mark.slow
def test_a_node_that_is_up_reboots_for_it_without_a_controller(installed: MakeSite) -> None:
    site = installed()
    site.power_on()
    assert_node_is_up(site)
    lines = [json.loads(line) for line in reinstalled(site, "--format", "json")]
    assert lines[-1] == {"outcome": "up", "run": site.server.node(NODE)["run_id"]}
    assert [line for line in lines if line.get("event") == "reboot" and "again" in line["reason"]]
