"""What makes the unpacked system this node: what is written, and when it counts as done."""

from contextlib import contextmanager

import pytest

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Completed
from host.storage import filesystem_uuid
from hwdetect.inventory import Firmware, Inventory
from hwdetect.inventory import Machine as Model
from steps import configure
from steps.base import Context, Facts
from steps.configure import Configure
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey


class Machine:
    """An unpacked tree in a folder; its ssh-keygen makes what is missing or empty, like the real one."""

    def __init__(self, folder, monkeypatch):
        self.root = folder / "root"
        (self.root / "etc/ssh").mkdir(parents=True)
        monkeypatch.setattr(configure, "target", self.mounted)
        monkeypatch.setattr(configure, "read_all_installed", self.read_all)

    def read_all(self, run, paths):
        places = {path: self.root / path for path in paths}
        return {path: place.read_text() if place.exists() else None for path, place in places.items()}

    @contextmanager
    def mounted(self, run):
        yield self.root

    def run(self, argv, **_):
        assert argv[:3] == ["ssh-keygen", "-A", "-f"]
        for kind in ("rsa", "ed25519"):
            private = argv[3] / f"etc/ssh/ssh_host_{kind}_key"
            if not private.exists() or not private.stat().st_size:
                private.write_text(f"private {kind}")
                private.chmod(0o600)
                private.with_suffix(".pub").write_text(f"public {kind}")
        return Completed(tuple(map(str, argv)), 0, "", "", 0.0)

    def context(self, run_id="run"):
        facts = (
            NodeConfiguration(1, NodeKey(b"k" * 32), "http://server", NetworkSettings()),
            NodeDetails(1, "n", TargetState.INST, run_id, 1, ImageRef("b", "0")),
            Inventory(Model("", "", ""), Firmware.EFI, 1, 1, (), (), ()),
        )
        return Context(Host(self.run, None, Events("test"), Console([]), Options()), Facts(facts))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_boot_is_mounted_by_the_uuid_of_this_run_which_no_other_disk_has(machine):
    assert not Configure().observe(machine.context()).holds
    Configure().run(machine.context())
    lines = (machine.root / "etc/fstab").read_text().splitlines()
    (boot,) = (line for line in lines if " /boot " in line)
    assert boot == f"UUID={filesystem_uuid('run', 'bm-boot')} /boot ext4 nosuid,nodev 0 2"
    assert Configure().observe(machine.context()).holds
    assert not Configure().observe(machine.context("another")).holds
