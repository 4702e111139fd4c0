"""A node's volumes as files that the real tools make, check and mount; a node that is installed on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host import filesystems, target
from host.events import Events
from host.mark import Mark, write_mark
from host.mounts import mounted
from host.options import Options
from host.ports import Host
from host.run import Completed, Runner
from host.storage import Layout, LayoutDisk
from images.cache import Cache
from images.manifest import Manifest, SignedImage
from images.trust import SignedImages
from steps import validate
from steps.base import Context, Facts, Step
from steps.format import Format
from steps.unpack import Unpack
from tests.host.image_server import BlobServer, describe
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

MIB = 1024 * 1024
NAMES = ("root", "boot", "slivers", "swap")


class Run(Runner):
    """The real tools, as Debian 13 configures them, but no udev; `before` hears of each command."""

    def __init__(self) -> None:
        self.before: Callable[[Sequence[str]], None] = lambda argv: None

    def __call__(self, argv: Sequence[Any], **how: Any) -> Completed:
        words = [str(word) for word in argv]
        if words[0] == "udevadm":
            return Completed(tuple(words), 0, "", "", 0.0)
        if words[0] == "mkfs.ext4":
            words[1:1] = ["-O", "metadata_csum_seed", "-b", "4096"]
        self.before(words)
        return super().__call__(words, **how)


class Volumes:
    """Four loop devices in place of the partition and the logical volumes."""

    def __init__(self, folder: Path, root_mib: int) -> None:
        self.folder = folder
        self.run = Run()
        self.devices: dict[str, str] = {}
        for name in NAMES:
            with self.file(name).open("wb") as file:
                file.truncate((root_mib if name == "root" else 32) * MIB)
            self.devices[name] = Runner()(["losetup", "--find", "--show", self.file(name)]).stdout.strip()

    def close(self) -> None:
        for device in self.devices.values():
            Runner()(["losetup", "--detach", device])

    def file(self, name: str) -> Path:
        """Return what is behind a device: what has been written out to it."""
        return self.folder / f"{name}.img"

    def write(self, name: str, content: bytes) -> None:
        """Replace what is on a device."""
        with Path(self.devices[name]).open("wb") as device:
            device.write(content)
            device.flush()
            os.fsync(device.fileno())

    @contextmanager
    def root(self) -> Iterator[Path]:
        """Mount root and /boot, for writing."""
        with (
            mounted(Runner(), self.devices["root"], fstype="ext4") as root,
            mounted(Runner(), self.devices["boot"], root / "boot", fstype="ext4"),
        ):
            yield root


@contextmanager
def volumes_at(folder: Path, monkeypatch: pytest.MonkeyPatch, *, root_mib: int = 96) -> Iterator[Volumes]:
    """Make a node's volumes in `folder`; what bootmanager mounts and makes is there meanwhile."""
    made = Volumes(folder, root_mib)
    monkeypatch.setattr(Layout, "volume_device", lambda _, name: made.devices[name])
    monkeypatch.setattr(Layout, "boot_device", property(lambda _: made.devices["boot"]))
    # The kernel of a testing machine may know no quotas; an installed node's does.
    monkeypatch.setattr(filesystems, "PROJECT_QUOTAS", ())
    for module in (target, validate):
        monkeypatch.setattr(module, "boot_of_root", lambda run: made.devices["boot"])
        for name in ("root", "slivers"):
            monkeypatch.setattr(module, f"{name.upper()}_DEVICE", made.devices[name])
    try:
        yield made
    finally:
        made.close()


def image_of(tree: Path) -> dict[str, tuple[object, ...]]:
    """Describe a tree but for what an installation makes besides the image, or changes the time of."""
    ours = ("etc/bootmanager", "var/lib", "lost+found", "boot/lost+found")
    found = {path: what for path, what in describe(tree).items() if not path.startswith(ours)}
    del found["etc"]
    return found


class Storage:
    """Partitions and volumes are as they shall be."""

    def keeps(self, _: Layout) -> bool:
        return True


class Node:
    """A node whose file systems are made and unpacked by the real steps, from a server on the loopback."""

    def __init__(self, volumes: Volumes, server: BlobServer, base: Manifest, *others: Manifest) -> None:
        self.volumes, self.server, self.base, self.others = volumes, server, base, others
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.progress: list[float | None] = []
        self.events = Events("test", (lambda event: self.heard.append((event.event, event.data)),))
        self.cache = Cache(None, self.events)

    def context(self, run_id: str = "run1", **more: Any) -> Context:
        details = NodeDetails(
            **{
                "node_id": 1,
                "hostname": "node",
                "boot_state": TargetState.RINS,
                "run_id": run_id,
                "generation": 1,
                "base_image": ImageRef(self.base.name, self.base.digest),
                "images": tuple(ImageRef(each.name, each.digest) for each in self.others),
                **more,
            }
        )
        signed = [
            SignedImage(each.name, each.digest, len(each.to_bytes())) for each in (self.base, *self.others)
        ]
        host = Host(self.volumes.run, Storage(), self.events, None, Options())
        facts = (
            details,
            NodeConfiguration(1, NodeKey(b"k" * 32), self.server.url, NetworkSettings()),
            SignedImages({image.name: image for image in signed}),
            self.cache,
            Layout(run_id, LayoutDisk("/dev/none", "S", 0, ""), (), 32, 32, 96),
        )
        return Context(host, Facts(facts), lambda fraction, text: self.progress.append(fraction))

    def install(self, run_id: str = "run1", **more: Any) -> None:
        """Do what an installation does, as far as images are concerned, to the mark."""
        for step in (Format(), Unpack()):
            self.do(step, self.context(run_id, **more))
        with self.volumes.root() as root:
            write_mark(root, Mark(run_id, 1, (), ""))

    def do(self, step: Step, context: Context) -> None:
        if not step.observe(context).holds:
            step.run(context)
            assert step.observe(context).holds

    def told(self, name: str) -> list[dict[str, Any]]:
        return [data for event, data in self.heard if event == name]

    def laid(self) -> dict[str, tuple[object, ...]]:
        """Describe what is on root and /boot, without what the installation makes besides the image."""
        with self.volumes.root() as root:
            return image_of(root)

    def forget(self) -> None:
        """Begin a new record of what was told and served."""
        self.heard.clear()
        self.server.served.clear()

    def copy(self, to: Path) -> None:
        """Keep what is on the disks now: what a power cut at this instant would leave."""
        to.mkdir(exist_ok=True)
        for name in NAMES:
            Runner()(["cp", "--sparse=always", self.volumes.file(name), to / name])

    def put_back(self, kept: Path) -> None:
        """Make the disks what they were."""
        for name in NAMES:
            self.volumes.write(name, (kept / name).read_bytes())
