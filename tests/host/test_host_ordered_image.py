"""A disk image that was ordered, on a real block device: the writer is killed, and the next boot goes on."""

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from host import disks
from host.disks import claim_and_empty, read_table, refuse_in_use, release
from host.ports import Host
from host.run import Runner
from host.storage import DiskRole, LayoutDisk, claim_guid
from hwdetect.content import MIB, DiskState, contents_of, read
from hwdetect.inventory import Inventory
from hwdetect.written import recognised
from images import disk_make
from images.disk_make import make_disk_image
from images.disk_record import DiskRecords
from images.disk_write import write_disk
from images.manifest import SignedImage
from steps import write_disk_image as module
from steps.base import Context
from steps.write_disk_image import WriteOrderedImage
from tests.disk_images import change
from tests.unit.disk_bench import Bench
from wire.messages import DiskOrder, ImageRef

pytestmark = pytest.mark.host

RUN = Runner()
IMAGE_BYTES = 24 * MIB
DISK_BYTES = 32 * MIB
ORDER = DiskOrder("o1", ImageRef("appliance", "0" * 64))


class Device(Bench):
    """A loop device with the size of its file; what is on it is looked at anew each time."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder, monkeypatch)
        monkeypatch.setattr(module, "refuse_in_use", refuse_in_use)
        monkeypatch.setattr(module, "release", release)
        monkeypatch.setattr(disk_make, "WINDOW_BYTES", 4 * MIB)
        self._image(folder)
        self.disk.write_bytes(bytes(DISK_BYTES))
        self.step = WriteOrderedImage()
        self.device = ""

    def _image(self, folder):
        """A real table, with a file system's worth of data behind it and a copy of the table at the end."""
        self.image.write_bytes(bytes(IMAGE_BYTES))
        script = b"label: gpt\nstart=2048,size=32768\n"
        RUN(["sfdisk", "--quiet", str(self.image)], input=script)
        change(self.image, {place * MIB: os.urandom(MIB) for place in range(1, 16, 3)})
        made = make_disk_image("appliance", self.image, self.store, RUN)
        self.signed["appliance"] = SignedImage("appliance", made.digest, None)
        self.table = read_table(RUN, str(self.image)).guid

    def boot(self):
        """Return what a boot knows of the machine."""
        found = contents_of(read(RUN, self.device, size_bytes=DISK_BYTES))
        seen = {"state": found.state, "table_type": found.table_type, "table_guid": found.table_guid}
        context = self.context(order=ORDER, size_bytes=DISK_BYTES, content=found.texts, **seen)
        (disk,) = context.facts[Inventory].disks
        inventory = replace(context.facts[Inventory], disks=(replace(disk, path=self.device),))
        host = Host(RUN, None, context.host.events, context.host.console, context.host.options)
        return Context(host, context.facts.plus(inventory))

    def known(self, context):
        return DiskRecords(context.facts, context.host.events).known()

    @property
    def content(self):
        return Path(self.device).read_bytes()


@pytest.fixture
def device(tmp_path, monkeypatch):
    made = Device(tmp_path, monkeypatch)
    with loop(made.disk) as path:
        made.device = path
        yield made


@contextmanager
def loop(backing):
    device = RUN(["losetup", "--find", "--show", str(backing)]).stdout.strip()
    try:
        yield device
    finally:
        RUN(["losetup", "--detach", device])


def kill_writer(device, monkeypatch, after):
    """Run the step in a process of its own that is killed when so many blobs were given to the writer."""
    context = device.boot()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:

        def write(manifest, path, supply, progress):
            class Stops:
                def ahead(self, blobs):
                    for number, blob in enumerate(supply.ahead(blobs)):
                        if number == after:
                            # What was given so far is written meanwhile.
                            time.sleep(0.3)
                            os.write(writer, b"x")
                            time.sleep(60)
                        yield blob

            write_disk(manifest, path, Stops(), progress)

        monkeypatch.setattr(module, "write_disk", write)
        try:
            device.step.run(context)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_killed_writer_is_noticed_and_the_writing_begun_again(device, monkeypatch, after):
    kill_writer(device, monkeypatch, after)
    assert device.content[:MIB] == bytes(MIB)
    begun = device.boot()
    (record,) = device.known(begun)
    assert not record.whole
    (disk,) = recognised(begun.facts[Inventory], (record,)).disks
    # Not blank any more, where a copy of the table is at the end or data in between; ours all the same.
    assert disk.state in (DiskState.BLANK, DiskState.OURS)
    assert not device.step.observe(begun).holds
    device.step.run(begun)
    assert device.content == device.image.read_bytes() + bytes(DISK_BYTES - IMAGE_BYTES)
    assert device.step.observe(device.boot()).holds


def test_the_disk_is_claimed_again_though_it_bears_no_mark(device, monkeypatch):
    # There is no udev here that would have to be waited for.
    monkeypatch.setattr(disks, "settle", lambda run: None)
    device.step.run(device.boot())
    after = device.boot()
    (disk,) = after.facts[Inventory].disks
    assert (disk.state, disk.table_guid) == (DiskState.FOREIGN, device.table)
    (ours,) = recognised(after.facts[Inventory], device.known(after)).disks
    assert ours.state is DiskState.OURS
    claim = claim_guid("next", DiskRole.SYSTEM, "S-1")
    claim_and_empty(RUN, LayoutDisk(device.device, "S-1", DISK_BYTES, claim, ours.table_guid))
    assert contents_of(read(RUN, device.device, size_bytes=DISK_BYTES)).state is DiskState.OURS
    # Somebody else's disk, under the same serial number, is not taken for it.
    RUN(["sfdisk", "--quiet", "--wipe", "always", device.device], input=b"label: gpt\nstart=2048\n")
    RUN(["mkfs.ext4", "-q", "-F", "-E", "offset=1048576", device.device, "8M"])
    strange = device.boot()
    assert strange.facts[Inventory].disks[0].state is DiskState.FOREIGN
    inventory = strange.facts[Inventory]
    assert recognised(inventory, device.known(strange)) == inventory
