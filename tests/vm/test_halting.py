"""A node that is halted lets its slivers end well."""

import subprocess

import pytest

from tests.guest.halting import NOTE
from tests.vm import guest
from tests.vm.harness import limits
from tests.vm.harness.artifacts import BUILD
from tests.vm.harness.server import wait_until
from tests.vm.harness.ssh import Shell

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.mark.slow
def test_a_halted_node_ends_its_slivers_before_the_network_goes() -> None:
    with guest.booted(BUILD / "vm/halting") as shell:
        guest.bring(shell)
        shell.output(f"cd {guest.PROJECT} && python3 -m tests.guest.halting", timeout=900)
        assert shell.run(f"test -e {NOTE}").returncode == 1
        before = shell.output(BOOT_ID)
        shell.run("systemctl reboot")
        wait_until("another boot", lambda: boot_id(shell) not in ("", before), limits.BOOT)
        assert "inet 100.64.0.6/30" in shell.output(f"cat {NOTE}")


def boot_id(shell: Shell) -> str:
    """The number of this boot, "" while nobody answers."""
    try:
        return shell.run(BOOT_ID, timeout=30).stdout
    except subprocess.TimeoutExpired:
        return ""
