"""The main job: a blank machine becomes a node, and later reinstalls itself from its dongle."""

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up, network_bytes
from tests.vm.harness.leaks import holders, node_key
from tests.vm.harness.site import NODE


def test_blank_machine_becomes_a_node_and_reinstalls_from_its_dongle(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server

    site.power_on()
    machine.wait_event("state.entered", state="inst", timeout=limits.BOOT)
    machine.wait_event("chain.started", how="kexec", timeout=limits.INSTALL)
    assert network_bytes(machine) >= site.built.sizes["base.tar.zst"]
    assert not machine.events("confirm.asked")
    assert machine.events("peak")[0]["memory_bytes"] < 1000 * 2**20
    assert_node_is_up(site)
    node = server.node(NODE)
    assert (node["boot_state"], node["run_level"]) == ("boot", "boot")
    first_run = node["run_id"]
    volumes = site.shell.output("lvs --noheadings -o lv_name,devices bmnode")
    assert "slivers" in volumes
    assert len(set(site.shell.output("pvs --noheadings -o pv_name").split())) == 2

    server.set_state(NODE, "rins")
    site.power_cycle()
    machine.wait_event("state.entered", state="rins", timeout=limits.BOOT)
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert_node_is_up(site)
    assert machine.events("transfer", cache_bytes=lambda count: count > 0)
    assert network_bytes(machine) == 0
    assert server.node(NODE)["boot_state"] == "boot"
    assert server.node(NODE)["run_id"] != first_run

    machine.cut_power()
    key = node_key(site.key)
    assert holders(key, [site.key]) == [site.key]
    assert holders(key, [site.system, site.data, site.dongle, site.logs, server.folder]) == []
