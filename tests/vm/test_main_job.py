"""The main job: a blank machine becomes a node, and later reinstalls itself from its dongle."""

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up, network_bytes
from tests.vm.harness.installed import MainJob
from tests.vm.harness.leaks import holders, node_key
from tests.vm.harness.site import NODE


def test_blank_machine_becomes_a_node(main_job: MainJob) -> None:
    # That run level boot came and the sliver answered from outside was awaited on the way.
    assert main_job.told("state.entered", state="inst")
    assert main_job.told("chain.started", how="kexec")
    assert not main_job.told("confirm.asked")
    assert sum(event["network_bytes"] for event in main_job.told("transfer", image="base")) > 100 * 2**20
    assert main_job.told("peak")[0]["memory_bytes"] < 1000 * 2**20
    assert (main_job.node["boot_state"], main_job.node["run_level"]) == ("boot", "boot")
    assert set(main_job.said["volumes"].split()) == {"swap", "root", "slivers"}
    assert len(main_job.said["physical"].split()) == 2
    assert "/boot" in main_job.said["mounts"]
    assert "/var/lib/machines" in main_job.said["mounts"]
    assert main_job.said["swap"]

    key, folder = node_key(main_job.folder / "key.img"), main_job.folder
    assert holders(key, [folder]) == [folder / "key.img"]


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
