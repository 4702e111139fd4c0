"""The steps that look at an installation before it is booted, on real file systems with real damage."""

import re
from dataclasses import replace

import pytest

from host import network_files
from host.events import Events
from host.installed import InstalledKernel
from host.mark import Mark, NotInstalled, write_mark
from host.options import Options
from host.ports import Host
from host.run import Runner
from steps import repair, validate
from steps.base import Context, Facts, Keeps
from steps.repair import Repair
from steps.validate import FilesystemDamaged, ForeignInstallation, Validate
from tests.host.node_disks import volumes_at
from wire.nodeconf import NodeConfiguration
from wire.nodenet import IpMethod, NetworkSettings
from wire.session import NodeKey

pytestmark = pytest.mark.host

MARK = Mark("run1", 1, (), "loglevel=7")
CONFIGURATION = NodeConfiguration(1, NodeKey(bytes(32)), "http://x", NetworkSettings())
STATIC = NetworkSettings(IpMethod.STATIC, "", "10.0.2.15", "255.255.255.0", "10.0.2.2", ())


class Installed:
    """An installation on loop devices; `checks` are the commands that checked or mended one."""

    def __init__(self, volumes):
        self.volumes, self.checks = volumes, []
        volumes.run.before = self.heard

    def heard(self, words):
        if words[0] == "e2fsck":
            self.checks.append(words[1:])

    def context(self, configuration=CONFIGURATION, *facts):
        host = Host(self.volumes.run, None, Events("test", ()), None, Options())
        return Context(host, Facts((configuration, *facts)))

    def debugfs(self, *requests):
        """Change root, which is not mounted, behind the file system's back."""
        for request in requests:
            Runner()(["debugfs", "-w", "-R", request, self.volumes.devices["root"]])

    def found(self):
        """Return what is observed: devices that are to be checked, or nothing."""
        seen = Validate().observe(self.context())
        assert all(change.keeps is Keeps.KEEP for change in seen.changes)
        return seen.holds, [change.target for change in seen.changes]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    with volumes_at(tmp_path, monkeypatch, root_mib=32) as volumes:
        for name in ("root", "boot", "slivers"):
            volumes.run(["mkfs.ext4", "-q", volumes.devices[name]])
        with volumes.root() as root:
            for name in ("vmlinuz-6.1", "initrd.img-6.1"):
                (root / "boot" / name).write_bytes(b"kernel")
            (root / "srv/data").mkdir(parents=True)
            (root / "srv/data/thesis").write_text("the only copy")
            write_mark(root, MARK)
        yield Installed(volumes)


def contents(installed):
    return [installed.volumes.file(name).read_bytes() for name in ("root", "boot", "slivers")]


def test_a_clean_one_is_looked_at_without_a_trace(installed):
    before = contents(installed)
    seen = Validate().observe(installed.context())
    assert seen.holds
    assert seen.facts == (MARK, InstalledKernel("6.1", "root=/dev/bmnode/root ro panic=60 quiet loglevel=7"))
    assert installed.checks == []
    assert contents(installed) == before


def test_after_a_power_cut_its_journal_is_replayed_and_nothing_else_done(installed):
    root = installed.volumes.devices["root"]
    with installed.volumes.root() as mounted:
        (mounted / "srv/data/more").write_text("written just before")
        Runner()(["sync", "--file-system", mounted])
        cut = installed.volumes.file("root").read_bytes()
    installed.volumes.write("root", cut)
    assert installed.found() == (False, [root])
    Validate().run(installed.context())
    assert installed.checks == [["-p", root]]
    assert installed.found() == (True, [])
    with installed.volumes.root() as mounted:
        assert (mounted / "srv/data/more").read_text() == "written just before"


def test_what_is_not_safe_without_asking_is_mended_then(installed):
    root = installed.volumes.devices["root"]
    # A folder is gone, and what was in it belongs nowhere; the kernel noticed.
    installed.debugfs("clri /srv/data", "set_super_value state 2")
    assert installed.found() == (False, [root])
    Validate().run(installed.context())
    assert installed.checks == [["-p", root], ["-f", "-y", root]]
    assert installed.found() == (True, [])
    with installed.volumes.root() as mounted:
        assert [path.read_text() for path in (mounted / "lost+found").iterdir()] == ["the only copy"]


@pytest.mark.parametrize("name", ["root", "boot", "slivers"])
def test_one_that_cannot_be_mended_is_named(installed, name):
    installed.volumes.write(name, bytes(32 * 2**20))
    with pytest.raises(FilesystemDamaged, match=re.escape(installed.volumes.devices[name])):
        Validate().run(installed.context())


def test_another_nodes_is_refused(installed):
    with pytest.raises(ForeignInstallation, match="node 1"):
        Validate().observe(installed.context(replace(CONFIGURATION, node_id=2)))


def test_one_without_a_mark_or_a_volume_is_none(installed, monkeypatch):
    with installed.volumes.root() as root:
        (root / "etc/bootmanager/installation.json").unlink()
    with pytest.raises(NotInstalled, match=r"installation\.json"):
        Validate().observe(installed.context())
    monkeypatch.setattr(validate, "SLIVERS_DEVICE", "/dev/bmnode/nothing")
    with pytest.raises(NotInstalled, match="nothing"):
        Validate().observe(installed.context())


def test_one_whose_boot_partition_holds_no_file_system_is_none(installed):
    installed.volumes.write("boot", bytes(32 * 2**20))
    with pytest.raises(NotInstalled, match=re.escape(installed.volumes.devices["boot"])):
        Validate().observe(installed.context())


def test_its_network_follows_the_key_medium(installed, monkeypatch):
    # The kernel of a testing machine may know no vfat: see tests/guest.
    monkeypatch.setattr(repair, "esp_of_root", lambda run: "/dev/none")
    monkeypatch.setattr(repair, "is_whole", lambda run, device, root, boot: True)
    folder = network_files.INSTALLED_FOLDER
    bond = NetworkSettings(vlan=42, bond=("52:54:00:00:00:01", "52:54:00:00:00:02"))
    for settings in (NetworkSettings(), bond, STATIC):
        context = installed.context(replace(CONFIGURATION, network=settings), MARK)
        changes = Repair().observe(context).changes
        assert f"/{folder}/10-bootmanager.network" in {change.target for change in changes}
        Repair().run(context)
        assert Repair().observe(context).holds
        with installed.volumes.root() as root:
            found = {path.name: path.read_text() for path in (root / folder).iterdir()}
        assert found == network_files.render(settings)
