"""A reinstallation without a dongle takes files from the root that is there, but none that was changed."""

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.installed import MainJob
from tests.vm.harness.site import NODE

pytestmark = pytest.mark.slow


def test_little_is_fetched_and_nothing_tampered_with_is_taken_over(
    installed: MakeSite, main_job: MainJob
) -> None:
    site = installed()
    site.without("dongle")
    site.power_on()
    assert_node_is_up(site)
    tar = site.shell.output("sha256sum /usr/bin/tar")
    site.shell.output(
        "dd if=/dev/zero of=/usr/bin/tar bs=64 count=1 conv=notrunc && echo evil > /usr/bin/evil"
    )
    site.shell.output("chmod 4777 /usr/bin/env && sync")
    site.server.set_state(NODE, "rins")

    site.power_cycle()
    machine = site.machine
    machine.wait_event("root.kept", image="base", timeout=limits.BOOT + limits.SOON)
    machine.wait_event("chain.started", timeout=limits.INSTALL)
    assert_node_is_up(site)
    whole = sum(event["network_bytes"] for event in main_job.told("transfer", image="base"))
    again = [event for event in machine.events("transfer") if event["image"] == "base"]
    # The index, and the packs of what a node changes in /etc and /var and of what was tampered with.
    assert 0 < sum(event["network_bytes"] for event in again) < whole / 10
    assert site.shell.output("sha256sum /usr/bin/tar") == tar
    assert site.shell.output("stat -c %a /usr/bin/env").strip() == "755"
    assert site.shell.output("ls -A / | grep former; ls /usr/bin | grep evil; true").strip() == ""
