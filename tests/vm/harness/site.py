"""A site: a server, one node registered there, its media and its machine. What most scenarios start from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.vm.harness import media
from tests.vm.harness.artifacts import BUILD, Artifacts, run_name
from tests.vm.harness.hardware import Bus, DirectKernel, Disk, Hardware
from tests.vm.harness.machine import Machine
from tests.vm.harness.roles import PORTS, give_sliver_and_service
from tests.vm.harness.server import Follower, Server, last_event_id, published
from tests.vm.harness.ssh import Shell, free_port, make_key

NODE = "node1.example.org"
_CONSOLE = "console=tty0 console=ttyS0,115200"
# Without hardware virtualization these two defences are half of the time that a guest takes to start; and an
# emulated timer on a busy host may be too late for the kernel's test of it, which then gives up.
_FAST = "init_on_alloc=0 mitigations=off no_timer_check"
# What build/iso/grub.cfg passes, but for the medium's name.
_ARGUMENTS = (
    "boot=live live-media=/dev/disk/by-label/BMBOOT nopersistence noeject panic=60 quiet loglevel=4 "
    f"systemd.show_status=false {_CONSOLE} {_FAST} bm.events=/dev/ttyS1"
)


def kernel_arguments(**options: str) -> str:
    """Return the arguments for a direct kernel boot of the medium; `options` become bm.NAME=VALUE."""
    return " ".join([_ARGUMENTS, *(f"bm.{name}={value}" for name, value in options.items())])


@dataclass
class Site:
    """One node with all that belongs to it. Disk images lie in `folder`, logs in `logs`."""

    built: Artifacts
    server: Server
    folder: Path
    logs: Path
    machine: Machine
    technician: Path
    _followers: list[Follower] = field(default_factory=list)

    @property
    def system(self) -> Path:
        """Return the image of the system disk."""
        return self.folder / "system.img"

    @property
    def data(self) -> Path:
        """Return the image of the data disk."""
        return self.folder / "data.img"

    @property
    def dongle(self) -> Path:
        """Return the image of the cache dongle."""
        return self.folder / "dongle.img"

    @property
    def key(self) -> Path:
        """Return the image of the key medium."""
        return self.folder / "key.img"

    @property
    def shell(self) -> Shell:
        """Return how a technician reaches the machine."""
        return Shell(self._forward(22), self.technician)

    def url(self, port: int) -> str:
        """Return where a port of the node is reached from this host."""
        return f"http://127.0.0.1:{self._forward(port)}/"

    def change(self, **changes: Any) -> None:
        """Change the machine's hardware while it is off, such as memory_mib=512."""
        self.machine.hardware = replace(self.machine.hardware, **changes)

    def without(self, *names: str) -> None:
        """Take disks or dongles out."""
        self.change(disks=tuple(disk for disk in self.machine.hardware.disks if disk.name not in names))

    def with_disk(self, disk: Disk) -> None:
        """Put a disk in, in the place of one with the same name if there is one."""
        kept = tuple(old for old in self.machine.hardware.disks if old.name != disk.name)
        self.change(disks=(*kept, disk))

    def power_on(self) -> None:
        """Power the machine on; its timeline has what it says on the serial line and to the server."""
        after = last_event_id(self.server, NODE) if self.server.is_up else 0
        self._stop_following()
        self.machine.power_on()
        self._followers.append(Follower(self.server, NODE, self.machine.timeline, after=after))

    def power_cycle(self) -> None:
        """Cut the power and give it back."""
        self.machine.cut_power()
        self.power_on()

    def processes(self) -> tuple[int, ...]:
        """Return the process ids of machine and server, as far as they run."""
        return tuple(number for number in (self.machine.process, self.server.process) if number)

    def close(self) -> None:
        """Pull all plugs, keep the logs, remove the disks."""
        self._stop_following()
        self.machine.save_events()
        self.machine.cut_power()
        self.server.stop()
        shutil.rmtree(self.folder)

    def _stop_following(self) -> None:
        while self._followers:
            self._followers.pop().close()

    def _forward(self, guest: int) -> int:
        return next(host for inside, host in self.machine.hardware.forwards if inside == guest)


def make_site(name: str, built: Artifacts, accelerator: str, *, state: str = "inst") -> Site:
    """Make a site whose node shall go to `state`, with blank disks; the machine is off, the server on."""
    folder, logs = empty_folders(name)
    server = Server.copied(published(built), folder / "server", logs / "server.log")
    server.start()
    technician = make_key(folder)
    server.cli(
        "node", "add", NODE, "--state", state, "--system-disk", "SYSTEM01", "--image", "sliver",
        "--kernel-arguments", f"{_CONSOLE} {_FAST}",
        "--ssh-key", f"{technician}.pub",
    )  # fmt: skip
    give_sliver_and_service(server, NODE, folder, technician)
    server.cli("media", "key", NODE, str(folder / "key.img"), "--server", server.url)
    media.blank(folder / "system.img", 8192)
    media.blank(folder / "data.img", 4096)
    media.ext4(folder / "dongle.img", 1024, "BMCACHE")
    return assemble(built, server, folder, logs, accelerator)


def assemble(
    built: Artifacts,
    server: Server,
    folder: Path,
    logs: Path,
    accelerator: str,
    *,
    disk_format: str = "raw",
) -> Site:
    """Put a machine together from the media that lie in `folder`."""
    disks = (
        Disk("system", folder / "system.img", "SYSTEM01", format=disk_format),
        Disk("data", folder / "data.img", "DATA01", format=disk_format),
        Disk("key", folder / "key.img", "KEY01", Bus.USB, read_only=True, removable=True),
        Disk("dongle", folder / "dongle.img", "CACHE01", Bus.USB, removable=True),
    )
    forwards = tuple((port, free_port()) for port in (22, *PORTS))
    hardware = Hardware(direct_kernel(built), disks, forwards=forwards)
    machine = Machine(hardware, logs, accelerator)
    return Site(built, server, folder, logs, machine, folder / "technician")


def empty_folders(name: str) -> tuple[Path, Path]:
    """Return a new folder for disks, removed with the site, and one for logs, which stay."""
    folder, logs = BUILD / "vm-disks" / f"{name}-{run_name()}", BUILD / "vm" / name
    for old in (folder, logs):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir(parents=True)
    return folder, logs


def direct_kernel(built: Artifacts, **options: str) -> DirectKernel:
    """Return the fast way to start the medium."""
    return DirectKernel(built.kernel, built.initrd, kernel_arguments(**options), built.iso)
