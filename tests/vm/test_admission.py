"""A machine that its server does not know yet, and one whose server speaks the classic protocol."""

import json

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.hardware import DirectKernel
from tests.vm.harness.server import wait_until
from tests.vm.harness.site import NODE, Site, kernel_arguments

pytestmark = pytest.mark.slow


def key_text(site: Site) -> str:
    return media.run("mtype", "-i", site.key, "::plnode.txt").decode()


def test_a_machine_without_identity_waits_for_the_operator(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    server.cli("media", "enrol", str(site.key), "--server", server.url)
    # Whose images are right is known from the boot medium alone, which is this deployment's own.
    media.key_medium(site.key, key_text(site))
    iso = site.folder / "ours.iso"
    server.cli("media", "make", str(site.built.iso), str(iso))
    site.change(boot=DirectKernel(site.built.kernel, site.built.initrd, kernel_arguments(), iso))
    blank = media.digest(site.system)

    site.power_on()
    failed = machine.wait_error("waits-for-admission", timeout=limits.BOOT)
    (waiting,) = json.loads(server.cli("node", "waiting", "--format", "json"))
    assert waiting["mac"] == machine.hardware.mac
    assert f"fingerprint {waiting['fingerprint']}" in failed["detail"]
    assert waiting["fingerprint"] in machine.console(), "what the operator compares"
    assert not server.events(NODE)
    assert media.digest(site.system) == blank

    server.cli("node", "admit", waiting["fingerprint"], NODE, "--known", "--state", "inst")
    again = machine.wait_event("state.entered", state="inst", timeout=limits.SOON, after=failed)
    machine.wait_event("step.done", step="verify_images", timeout=limits.SOON, after=again)
    machine.wait_event("step.done", step="partition", timeout=limits.SOON, after=again)


def test_a_token_admits_without_a_person_once(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    token = site.folder / "token"
    token.write_text(server.cli("token", "new", "--site", "example.org", "--state", "dbg"))
    server.cli("media", "enrol", str(site.key), "--server", server.url, "--token-file", str(token))

    site.power_on()
    machine.wait_event("state.entered", state="dbg", timeout=limits.BOOT)
    (used,) = json.loads(server.cli("token", "list", "--format", "json"))
    assert (used["remaining"], used["usable"]) == (0, False)
    names = [node["name"] for node in json.loads(server.cli("node", "list", "--format", "json"))]
    assert len(names) == 2
    assert all(name.endswith("example.org") for name in names)
    assert token.read_text().strip() not in machine.console()

    # The identity was for that run, in its memory; the token is used up.
    site.power_cycle()
    machine.wait_error("waits-for-admission", timeout=limits.BOOT)


def test_a_node_of_a_classic_server(new_site: MakeSite) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    server.cli("node", "classic", NODE, "--on")
    images = json.loads(server.cli("image", "list", "--format", "json"))
    base = next(image["manifest"] for image in images if image["name"] == "base")
    media.key_medium(site.key, key_text(site) + f'PROTOCOL="plcapi"\nBASE_IMAGE="base@{base}"\n')
    # The classic protocol cannot name a disk: there has to be only one.
    site.without("data")

    site.power_on()
    machine.wait_event("chain.started", timeout=limits.BOOT + limits.INSTALL)
    node = server.node(NODE)
    assert (node["boot_state"], node["run_level"]) == ("boot", "boot")
    # Nor can it bring a technician's key, so this is the first that shows.
    wait_until("a login prompt", lambda: "node1 login:" in machine.console(), limits.NODE_UP)
