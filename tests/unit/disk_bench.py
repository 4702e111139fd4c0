"""A machine with one disk, which is a file, and a server that has the image of another disk."""

from dataclasses import replace

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Runner
from hwdetect.content import MIB, DiskState
from hwdetect.inventory import Firmware, Inventory, Machine
from hwdetect.media import Media
from images.cache import Cache
from images.disk_make import make_disk_image
from images.manifest import SignedImage
from images.store import BlobStore
from images.trust import SignedImages
from steps import write_disk_image as module
from steps.base import Context, Facts
from tests.disk_images import gpt_head, sparse
from tests.unit.image_trees import manifest_of
from tests.unit.made_disks import BLANK
from tests.unit.signed_site import KEY
from wire.messages import NO_DISK_ORDER, ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings

DISK_BYTES = 4 * MIB
TABLE = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


class Bench:
    """Records what is told; `taken_down` has the disks that were released before they were written."""

    def __init__(self, folder, monkeypatch):
        self.disk = sparse(folder / "vda", 5 * MIB, {0: b"old", 3 * MIB: b"precious"})
        self.before = self.disk.read_bytes()
        self.image = sparse(folder / "image", DISK_BYTES, {0: gpt_head(TABLE), 2 * MIB: b"root" * 1000})
        self.store = BlobStore(folder / "store")
        self.dongle = folder / "dongle"
        self.dongle.mkdir()
        self.told, self.taken_down = [], []
        self.base = manifest_of("base", b"1")
        self.store.put(self.base.to_bytes())
        made = make_disk_image("appliance", self.image, self.store, Runner())
        self.signed = {each.name: SignedImage(each.name, each.digest, None) for each in (made, self.base)}
        monkeypatch.setattr(module, "source_of", lambda *_: self)
        monkeypatch.setattr(module, "refuse_in_use", self.taken_down.append)
        monkeypatch.setattr(module, "release", lambda run, disk: self.taken_down.append(disk))

    def get(self, digest, limit, halt):
        assert self.store.path(digest).stat().st_size <= limit
        return self.store.get(digest)

    def context(self, media=None, order=NO_DISK_ORDER, told=(), **more):
        usual = {"serial": "S-1", "size_bytes": 5 * MIB}
        usual |= {"state": DiskState.FOREIGN, "content": ("ext4 precious",)}
        disk = replace(BLANK, path=str(self.disk), **(usual | more))
        events = Events("test", (lambda event: self.told.append((event.event, event.data)),))
        facts = (
            NodeConfiguration(1, KEY, "http://server", NetworkSettings()),
            NodeDetails(
                1,
                "n",
                TargetState.DBG,
                "r",
                1,
                ImageRef("base", self.base.digest),
                disk_image=order,
                disk_records=told,
            ),
            Cache(self.dongle, events),
            SignedImages(self.signed),
            Inventory(Machine("", "", ""), Firmware.BIOS, 1, 1, (disk,), (), ()),
            media or Media(),
        )
        return Context(Host(None, None, events, Console([]), Options()), Facts(facts))
