"""A disk image that the operator ordered: written once, noted before and after, and recognised again."""

from dataclasses import replace

import pytest

from host.http import ServerUnreachable
from host.server import ServerClient
from host.storage import DiskRole, claim_guid
from hwdetect.content import MIB, DiskState
from hwdetect.disks import DiskHoldsData, DiskRefused, DiskTooSmall
from hwdetect.inventory import Firmware, Inventory
from hwdetect.media import Dongle, Media
from images import disk_make
from images.cache import Cache
from images.disk_make import make_disk_image
from images.disk_record import DiskRecords, NoDongle
from images.disk_write import NotADisk, write_disk
from images.documents import Document, Documents
from images.manifest import SignedImage
from steps import write_disk_image as module
from steps.base import Context, Effect, Keeps
from steps.write_disk_image import (
    DiskImageNameless,
    FirmwareUnsupported,
    NothingOrdered,
    WriteOrderedImage,
)
from tests.disk_images import FromStore, change, sparse
from tests.unit.disk_bench import DISK_BYTES, TABLE, Bench
from tests.unit.signed_site import KEY
from wire.errors import BootError
from wire.messages import NO_DISK_ORDER, DiskOrder, DiskRecord, ImageRef
from wire.session import NodeKey
from wire.structure import structure, unstructure

RUN = "3a5c0f"
ORDER = DiskOrder("o1", ImageRef("appliance", "0" * 64), "S-1")
OURS = {"state": DiskState.OURS, "table_guid": claim_guid(RUN, DiskRole.SYSTEM, "S-1")}


class Ordered(Bench):
    """A bench with a server that is told what becomes of the disk."""

    def __init__(self, folder, monkeypatch):
        # Two packs, so that there is something between the first and the last.
        monkeypatch.setattr(disk_make, "WINDOW_BYTES", MIB)
        super().__init__(folder, monkeypatch)
        self.reported, self.failing = [], None
        self.client = ServerClient.__new__(ServerClient)
        self.client.call = self._call
        self.step = WriteOrderedImage()

    def _call(self, method, fields):
        assert method == "BootUpdateNode"
        if self.failing is not None:
            raise self.failing
        self.reported.append(structure(fields["disk_record"], DiskRecord))

    def context(self, media=None, order=ORDER, told=(), **more):
        context = super().context(media, order, told, **more)
        return Context(context.host, context.facts.plus(self.client))

    def records(self, context=None):
        context = context or self.context()
        return DiskRecords(context.facts, context.host.events)

    @property
    def is_written(self):
        return self.disk.read_bytes() == self.image.read_bytes()

    def assert_untouched(self):
        assert self.disk.read_bytes() == self.before
        assert self.taken_down == []
        assert self.reported == []
        assert self.records().known() == ()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Ordered(tmp_path, monkeypatch)


def cut_off(monkeypatch, after):
    """Let the power go when so many blobs were given to the writer."""

    def write(manifest, path, supply, progress):
        class Cut:
            def ahead(self, blobs):
                for number, blob in enumerate(supply.ahead(blobs)):
                    if number == after:
                        raise KeyboardInterrupt
                    yield blob

        write_disk(manifest, path, Cut(), progress)

    monkeypatch.setattr(module, "write_disk", write)


def test_the_plan_names_the_disk_and_what_it_holds_and_changes_nothing(bench):
    seen = bench.step.observe(bench.context())
    assert not seen.holds
    assert bench.step.effect is Effect.DESTROYS
    destroyed, created = seen.changes
    assert (destroyed.keeps, created.keeps) == (Keeps.DESTROY, Keeps.CREATE)
    assert destroyed.text == "Testdisk, serial S-1, 5.0 MiB: ext4 precious"
    assert "image appliance" in created.text
    bench.assert_untouched()


def test_where_only_uefi_could_start_it_nothing_is_written(bench):
    context = bench.context()
    behind_uefi = replace(context.facts[Inventory], firmware=Firmware.EFI)
    with pytest.raises(FirmwareUnsupported):
        bench.step.observe(Context(context.host, context.facts.plus(behind_uefi)))
    bench.assert_untouched()


def test_it_is_noted_before_and_when_it_was_read_back(bench):
    bench.step.run(bench.context())
    assert bench.is_written
    writing, whole = bench.reported
    assert (writing.whole, whole.whole) == (False, True)
    assert replace(writing, whole=True) == whole
    assert (whole.id, whole.serial, whole.size_mib, whole.table) == ("o1", "S-1", 5, TABLE)
    assert bench.records().of("o1") == whole
    assert bench.step.observe(bench.context()).holds


def test_what_the_other_system_does_to_its_disk_is_its_own_business(bench):
    bench.step.run(bench.context())
    change(bench.disk, {0: b"\0" * MIB, 3 * MIB: b"data of the other system"})
    there = bench.disk.read_bytes()
    assert bench.step.observe(bench.context()).holds
    assert bench.disk.read_bytes() == there


def test_the_same_image_ordered_again_is_written_again(bench):
    bench.step.run(bench.context())
    change(bench.disk, {3 * MIB: b"data of the other system"})
    again = bench.context(order=replace(ORDER, id="o2"), table_guid=TABLE)
    assert not bench.step.observe(again).holds
    bench.step.run(again)
    assert bench.is_written
    assert bench.records().of("o2").whole


@pytest.mark.parametrize("after", [0, 2])
def test_a_power_cut_while_it_is_written_is_noticed_and_it_is_begun_again(bench, monkeypatch, after):
    with monkeypatch.context() as patch:
        cut_off(patch, after)
        with pytest.raises(KeyboardInterrupt):
            # Nobody named this disk: it may be written because it is ours.
            bench.step.run(bench.context(order=replace(ORDER, disk=""), **OURS))
    assert not bench.records().of("o1").whole
    # What is at the beginning now bears no mark of ours, and what was zeroed is not blank yet.
    begun = bench.context(order=replace(ORDER, disk=""), state=DiskState.FOREIGN)
    if after == 0:
        # The power went before anything was written: the disk is what it was.
        assert bench.disk.read_bytes() == bench.before
        begun = bench.context(order=replace(ORDER, disk=""), **OURS)
    assert not bench.step.observe(begun).holds
    bench.step.run(begun)
    assert bench.is_written
    assert bench.step.observe(begun).holds
    # It is what it was to the node: its system disk.
    assert bench.records().of("o1").claim.startswith("b007b007-0")


def test_a_cut_between_the_last_write_and_the_note_writes_once_more(bench, monkeypatch):
    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "verify_disk", cut)
        with pytest.raises(KeyboardInterrupt):
            bench.step.run(bench.context())
    assert bench.is_written
    assert not bench.step.observe(bench.context()).holds
    bench.step.run(bench.context())
    assert bench.records().of("o1").whole


def test_a_disk_that_forgets_what_is_written_is_not_noted_as_whole(bench, monkeypatch):
    def forgetful(manifest, path, supply, progress):
        write_disk(manifest, path, supply, progress)
        change(path, {2 * MIB: b"?"})

    monkeypatch.setattr(module, "write_disk", forgetful)
    with pytest.raises(BootError, match=r"\[disk-differs\]"):
        bench.step.run(bench.context())
    assert not bench.records().of("o1").whole


def test_a_server_that_is_away_stops_nothing_and_counts_later(bench):
    bench.failing = ServerUnreachable("refused")
    bench.step.run(bench.context())
    assert [data["code"] for name, data in bench.told if name == "diskimage.unreported"] == [
        "server-unreachable"
    ] * 2
    bench.failing = None
    context = bench.context()
    record = bench.records(context).of("o1")
    bench.records(context).tell(record)
    bench.records(bench.context(told=(record,))).tell(record)
    assert bench.reported == [record]


def test_the_servers_word_counts_where_the_dongle_is_another_one(bench):
    bench.step.run(bench.context())
    whole = bench.reported[-1]
    (bench.dongle / "documents/disk-image.json").unlink()
    assert bench.step.observe(bench.context(told=(whole,))).holds


def test_a_dongle_that_could_not_note_the_end_does_not_undo_it(bench):
    bench.step.run(bench.context())
    writing, whole = bench.reported
    documents = Documents(bench.context().facts[Cache], KEY)
    documents.write("disk-image", Document(0, unstructure(writing)))
    assert not bench.records().of("o1").whole
    assert bench.step.observe(bench.context(told=(whole,))).holds


def test_who_lost_all_notes_does_not_wipe_the_disk_again(bench):
    bench.step.run(bench.context())
    change(bench.disk, {3 * MIB: b"data of the other system"})
    there = bench.disk.read_bytes()
    (bench.dongle / "documents/disk-image.json").unlink()
    lost = bench.context(table_guid=TABLE)
    seen = bench.step.observe(lost)
    assert [change.keeps for change in seen.changes] == [Keeps.KEEP]
    bench.step.run(lost)
    assert bench.disk.read_bytes() == there
    assert bench.step.observe(lost).holds


def test_a_note_that_another_made_does_not_count(bench):
    bench.step.run(bench.context())
    forger = Documents(bench.context().facts[Cache], NodeKey(b"f" * 32))
    (bench.dongle / "documents/disk-image.json").unlink()
    forger.write("disk-image", Document(0, unstructure(bench.reported[-1])))
    assert bench.records().known() == ()


REFUSED = {
    "a foreign disk that nobody named": (DiskHoldsData, {"order": replace(ORDER, disk="")}),
    "the boot medium": (DiskRefused, {"roles": ("boot medium",)}),
    "mounted": (DiskRefused, {"roles": ("mounted at /mnt",)}),
    "write-protected": (DiskRefused, {"read_only": True}),
    "too small": (DiskTooSmall, {"size_bytes": DISK_BYTES - 512}),
    "nothing is ordered": (NothingOrdered, {"order": NO_DISK_ORDER}),
    "a tree of files": (NotADisk, {"order": replace(ORDER, image=ImageRef("base", "0" * 64))}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_touches_nothing(bench, name):
    error, more = REFUSED[name]
    for act in (bench.step.observe, bench.step.run)[: 1 if error is NothingOrdered else 2]:
        with pytest.raises(error):
            act(bench.context(**more))
    bench.assert_untouched()


def test_the_dongle_is_not_written_though_it_is_named(bench):
    media = Media(dongle=Dongle(f"{bench.disk}1", str(bench.disk), "ext4", MIB))
    with pytest.raises(DiskRefused, match="cache dongle"):
        bench.step.run(bench.context(media))
    bench.assert_untouched()


@pytest.mark.parametrize("writable", [None, False], ids=["no dongle", "a write-protected one"])
def test_without_a_place_for_notes_nothing_is_written(bench, writable):
    context = bench.context()
    cache = Cache(None if writable is None else bench.dongle, context.host.events, writable=bool(writable))
    with pytest.raises(NoDongle):
        bench.step.run(Context(context.host, context.facts.plus(cache)))
    bench.assert_untouched()


def test_an_image_by_which_no_disk_can_be_recognised_is_refused(bench):
    plain = make_disk_image("plain", sparse(bench.image, DISK_BYTES, {0: b"boot"}), bench.store, FromStore)
    bench.signed["plain"] = SignedImage("plain", plain.digest, None)
    with pytest.raises(DiskImageNameless, match="plain"):
        bench.step.run(bench.context(order=replace(ORDER, image=ImageRef("plain", plain.digest))))
    bench.assert_untouched()
