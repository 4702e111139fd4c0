"""A node that systemd gave up on is started again."""

from pathlib import Path

import pytest

from tests.guest.node_system import run

UNITS = "systemd/system"
SOON = "[Service]\nExecStartPre=\nExecStartPre=sleep 1\n"
REBOOTED = 133


@pytest.mark.usefixtures("node_system")
def test_a_system_in_emergency_mode_is_started_again(guest, tmp_path):
    tree, drop_in = tmp_path / "tree", tmp_path / "soon.conf"
    tree.mkdir()
    guest.node.unpack(guest.image, tree, ())
    drop_in.write_text(SOON)
    binds = [
        f"{Path('/usr/lib', UNITS, name)}:{Path('/run', UNITS, name)}"
        for name in ("leave-emergency.service", "emergency.target.wants")
    ]
    binds.append(f"{drop_in}:/run/{UNITS}/leave-emergency.service.d/soon.conf")
    unit = ("systemd-run", "--quiet", "--wait", "--property=Delegate=yes", "--property=RuntimeMaxSec=200")
    nspawn = ("systemd-nspawn", "--quiet", "--keep-unit", "--register=no", "--volatile=overlay", "--boot")
    words = (*(f"--bind-ro={bind}" for bind in binds), f"--directory={tree}", "systemd.unit=emergency.target")
    assert run(*unit, *nspawn, *words, ok=False).returncode == REBOOTED
