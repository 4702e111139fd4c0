"""The main job: a blank machine becomes a node, and later reinstalls itself from its dongle."""

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.artifacts import BUILD
from tests.vm.harness.expect import assert_node_is_up, network_bytes
from tests.vm.harness.installed import MainJob
from tests.vm.harness.leaks import holders, node_key, server_secrets
from tests.vm.harness.roles import SLIVER
from tests.vm.harness.site import NODE

SERIAL_BAUD = 115200


def test_blank_machine_becomes_a_node(main_job: MainJob) -> None:
    # That run level boot came, and that slivers and services answered from outside, was awaited on the way.
    assert main_job.told("state.entered", state="inst")
    assert main_job.told("chain.started", how="kexec")
    assert not main_job.told("confirm.asked")
    assert sum(event["network_bytes"] for event in main_job.told("transfer", image="base")) > 100 * 2**20
    assert main_job.told("peak")[0]["memory_bytes"] < 1000 * 2**20
    assert (main_job.node["boot_state"], main_job.node["run_level"]) == ("boot", "boot")
    assert set(main_job.said["volumes"].split()) == {"swap", "root", "slivers"}
    assert len(main_job.said["physical"].split()) == 2
    assert "/boot" in main_job.said["mounts"]
    assert "/var/lib/slivers" in main_job.said["mounts"]
    assert main_job.said["swap"]
    # The slice's key opens its sliver, whose user becomes root there.
    assert main_job.said["sliver"].split() == [SLIVER, SLIVER, "root"]


def test_the_serial_console_costs_a_twentieth_of_the_boot_at_most(main_job: MainJob) -> None:
    # At 115200 baud, of ten bits a byte. A machine that is not emulated needs a fifth of the time.
    assert main_job.serial_bytes / (SERIAL_BAUD / 10) < 0.05 * main_job.seconds / 5


def test_secrets_are_where_they_belong_and_nowhere_else(main_job: MainJob) -> None:
    # The folder has the disks, the dongle, the server, and the record of all events; the logs lie apart.
    folder, places = main_job.folder, [main_job.folder, BUILD / "vm/main-job"]
    key = folder / "key.img"
    for file, secret in {key: node_key(key), **server_secrets(folder / "server")}.items():
        assert holders(secret, places) == [file]
    assert main_job.said["key_found_at"] == ""
    assert main_job.said["canary_found_at"] == "/run/canary", "the search on the node finds what is there"


def test_node_reinstalls_itself_from_its_dongle(installed: MakeSite) -> None:
    site = installed()
    machine, server = site.machine, site.server
    first_run = server.node(NODE)["run_id"]
    server.set_state(NODE, "rins")

    site.power_on()
    machine.wait_event("state.entered", state="rins", timeout=limits.BOOT)
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert_node_is_up(site)
    assert machine.events("transfer", cache_bytes=lambda count: count > 0)
    assert network_bytes(machine) == 0
    assert server.node(NODE)["boot_state"] == "boot"
    assert server.node(NODE)["run_id"] != first_run

    machine.cut_power()
    assert holders(node_key(site.key), [site.folder, site.logs]) == [site.key]
