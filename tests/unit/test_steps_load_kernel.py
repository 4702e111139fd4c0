"""How the installed system is started: by kexec, and by a reboot where that is wanted or kexec is refused."""

from contextlib import contextmanager

import pytest

from host import boot
from host.boot import Chain, ChainHow
from host.events import Events
from host.installed import InstalledKernel
from host.options import Options
from host.ports import Host
from host.run import CommandFailed, Completed
from steps import load_kernel
from steps.base import Context, Facts
from steps.load_kernel import LoadKernel

KERNEL = InstalledKernel("6.1", "root=/dev/bmnode/root ro quiet")


class Machine:
    """Has an installed system in a folder, and a kernel that takes another one or refuses to."""

    def __init__(self, folder, monkeypatch):
        self.root, self.loaded = folder / "root", folder / "kexec_loaded"
        (self.root / "boot/grub").mkdir(parents=True)
        self.loaded.write_text("0\n")
        self.refuses, self.ran, self.told = False, [], []
        monkeypatch.setattr(boot, "KEXEC_LOADED", self.loaded)
        monkeypatch.setattr(load_kernel, "target", self.mounted)
        monkeypatch.setattr(load_kernel, "target_read_only", self.mounted)

    @contextmanager
    def mounted(self, run):
        assert run == self.run
        yield self.root

    def run(self, argv, *, root=None):
        words = tuple(str(word) for word in argv)
        self.ran.append(words)
        if words[0] == "kexec":
            if self.refuses:
                raise CommandFailed(words, 255, "kexec_load failed: Operation not permitted")
            self.loaded.write_text("1\n")
        else:
            assert (words[0], words[2], root) == ("grub-editenv", "set", self.root)
            (root / words[1].lstrip("/")).write_text(f"# GRUB Environment Block\n{words[3]}\n")
        return Completed(words, 0, "", "", 0.0)

    def context(self, **options):
        events = Events("test", (self.told.append,))
        return Context(Host(self.run, None, events, None, Options(**options)), Facts((KERNEL,)))

    def chained(self, **options):
        """Do what the engine does; return how the installed system starts then."""
        context = self.context(**options)
        before = LoadKernel().observe(context)
        assert (before.holds, before.facts) == (False, ())
        LoadKernel().run(context)
        after = LoadKernel().observe(context)
        assert after.holds
        return after.facts


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_the_kernel_is_loaded_with_its_initramfs_and_arguments(machine):
    assert machine.chained() == (Chain(ChainHow.KEXEC),)
    assert machine.ran == [
        (
            "kexec",
            "--load",
            f"--initrd={machine.root}/boot/initrd.img-6.1",
            f"--command-line={KERNEL.arguments}",
            f"{machine.root}/boot/vmlinuz-6.1",
        )
    ]


def test_who_watches_this_boot_watches_the_installed_system_too(machine):
    machine.chained(events="/dev/ttyS1")
    assert f"--command-line={KERNEL.arguments} bm.events=/dev/ttyS1" in machine.ran[0]


def test_where_kexec_is_refused_the_disk_starts_by_itself(machine):
    machine.refuses = True
    assert machine.chained() == (Chain(ChainHow.REBOOT),)
    assert [words[0] for words in machine.ran] == ["kexec", "grub-editenv"]
    (told,) = machine.told
    assert told.event == "kexec.refused"
    assert "Operation not permitted" in told.data["detail"]


def test_a_reboot_that_is_wanted_tries_no_kexec(machine):
    assert machine.chained(chain="reboot") == (Chain(ChainHow.REBOOT),)
    assert [words[0] for words in machine.ran] == ["grub-editenv"]


def test_a_kernel_that_was_not_started_is_unloaded(machine):
    boot.unload_kernel(machine.run)
    assert machine.ran == []
    machine.loaded.write_text("1\n")
    boot.unload_kernel(machine.run)
    assert machine.ran == [("kexec", "--unload")]
