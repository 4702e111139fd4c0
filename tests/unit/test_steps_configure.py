"""What makes the unpacked system this node: what is written, and when it counts as done."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Completed
from host.storage import filesystem_uuid
from host.target import HOST_KEY
from hwdetect.inventory import Firmware, Inventory
from hwdetect.inventory import Machine as Model
from steps import configure
from steps.base import Context, Facts
from steps.configure import Configure
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

PRIVATE = Path("etc/ssh/ssh_host_ed25519_key")


class Machine:
    """An unpacked tree in a folder; its ssh-keygen makes what is missing or empty, like the real one."""

    def __init__(self, folder, monkeypatch):
        self.root, self.made = folder / "root", 0
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
        self.made += 1
        for kind in ("ed25519", "rsa"):
            private = Path(argv[3]) / f"etc/ssh/ssh_host_{kind}_key"
            if not private.exists() or not private.stat().st_size:
                private.write_text(f"{kind} {self.made}, private")
                private.chmod(0o600)
                private.with_suffix(".pub").write_text(f"{kind} {self.made}, public")
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


def keys(machine):
    return {path.name: path.read_text() for path in (machine.root / "etc/ssh").iterdir()}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("")], ids=["missing", "empty"])
@pytest.mark.parametrize("half", [PRIVATE, HOST_KEY], ids=["private", "public"])
def test_a_host_key_of_which_a_power_cut_left_a_half_is_made_anew(machine, half, damage):
    context = machine.context()
    Configure().run(context)
    damage(machine.root / half)
    assert [change.target for change in Configure().observe(context).changes] == [f"/{half}"]
    Configure().run(context)
    assert Configure().observe(context).holds
    assert (machine.root / PRIVATE).read_text() == "ed25519 2, private"
    assert (machine.root / PRIVATE).stat().st_mode & 0o777 == 0o600
    assert (machine.root / HOST_KEY).read_text() == "ed25519 2, public"


def test_whole_host_keys_stay_when_something_else_is_written_anew(machine):
    Configure().run(machine.context())
    before = keys(machine)
    (machine.root / "etc/hostname").unlink()
    Configure().run(machine.context())
    assert keys(machine) == before


def test_cut_off_before_all_host_keys_are_on_the_disk_they_are_made_anew(machine, monkeypatch):
    context, write, whole = machine.context(), configure.write_atomic, 4
    for path, text in ((PRIVATE, ""), (HOST_KEY, "ed25519 0, public")):
        (machine.root / path).write_text(text)
    for number in range(whole):
        written = []

        def cut(path, data, written=written, at=number, **how):
            if path.parent.name == "ssh":
                if len(written) == at:
                    raise KeyboardInterrupt
                written.append(path)
            write(path, data, **how)

        with monkeypatch.context() as patch:
            patch.setattr(configure, "write_atomic", cut)
            with pytest.raises(KeyboardInterrupt):
                Configure().run(context)
        assert not Configure().observe(context).holds
    Configure().run(context)
    assert Configure().observe(context).holds
    assert len(keys(machine)) == whole
    assert {text.split(",")[0].split()[1] for text in keys(machine).values()} == {str(machine.made)}
