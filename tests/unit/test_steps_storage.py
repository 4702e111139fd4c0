"""The steps that check hardware, choose, partition and format: what they see and in which order they act."""

from dataclasses import replace

import pytest

from host.console import Console
from host.events import Events
from host.filesystems import filesystems
from host.options import Options
from host.ports import Host
from host.run import Completed
from host.storage import DiskRole, Layout, LayoutDisk, claim_guid, filesystem_uuid
from host.unpacked import Unpacked
from hwdetect.content import DiskState
from hwdetect.inventory import Disk, Firmware, Inventory, Machine, Nic
from hwdetect.media import Media
from images.cache import Cache
from steps import format as format_step
from steps.base import Context, Facts, Keeps
from steps.check_hardware import InsufficientMemory, NoNetworkInterface, check
from steps.choose_disks import ChooseDisks
from steps.format import Format
from steps.partition import Partition
from tests.unit.image_trees import manifest_of
from tests.unit.signed_site import KEY
from wire.messages import DiskPolicy, ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings

CONFIGURATION = NodeConfiguration(1, KEY, "http://server", NetworkSettings())
GIB = 1024**3
RUN = "ab" * 16
NIC = Nic("ens3", "52:54:00:12:34:56", "e1000", "", "")


def disk(name, state=DiskState.BLANK, content=(), guid=""):
    flags = (False, False, False)
    bus = ("virtio", *flags, 512)
    return Disk(f"/dev/{name}", "Model", f"S-{name}", "", 8 * GIB, *bus, state, "gpt", guid, content)


def machine(*disks):
    return Inventory(Machine("", "", ""), Firmware.BIOS, 1, GIB, disks, (NIC,), ())


def layout(*names):
    roles = [DiskRole.SYSTEM, *[DiskRole.DATA] * (len(names) - 1)]
    made = [
        LayoutDisk(f"/dev/{name}", f"S-{name}", 8 * GIB, claim_guid(RUN, role, f"S-{name}"))
        for name, role in zip(names, roles, strict=True)
    ]
    return Layout(RUN, made[0], tuple(made[1:]), 512, 256, 3072)


class FakeStorage:
    def __init__(self, matches=False, keeps=False):
        self.answers = (matches, keeps)
        self.applied = []

    def matches(self, _):
        return self.answers[0]

    def keeps(self, _):
        return self.answers[1]

    def apply(self, wanted):
        self.applied.append(wanted)


class FakeRun:
    """blkid answers with the UUIDs given; whatever makes a file system changes them."""

    def __init__(self, uuids):
        self.uuids = uuids
        self.made = []

    def __call__(self, argv, **_):
        device = str(argv[-1])
        if argv[0] == "blkid":
            return Completed(tuple(argv), 0, self.uuids.get(device, "") + "\n", "", 0.0)
        if argv[0].startswith("mk"):
            self.made.append(device)
            self.uuids[device] = argv[argv.index("-U" if "-U" in argv else "--uuid") + 1]
        return Completed(tuple(argv), 0, "", "", 0.0)


def context(*facts, run=None, storage=None, told=None):
    sinks = (lambda event: told.append((event.event, event.data)),) if told is not None else ()
    host = Host(run, storage, Events("test", sinks), Console([]), Options())
    return Context(host, Facts(facts))


def test_minimum_hardware():
    good = machine(disk("vda"))
    check(good, 1024)
    with pytest.raises(InsufficientMemory, match="1024 MiB, 1025 MiB are needed"):
        check(good, 1025)
    with pytest.raises(NoNetworkInterface):
        check(replace(good, nics=()), 512)


def test_the_choice_tells_which_disks_are_left_alone():
    told = []
    details = NodeDetails(1, "n", TargetState.INST, RUN, 1, ImageRef("b", "0"), disks=DiskPolicy("S-vda"))
    foreign = disk("vdb", DiskState.FOREIGN, ("ext4 precious",))
    facts = (machine(disk("vda"), foreign), Media(), details, CONFIGURATION, Cache(None, Events("test")))
    seen = ChooseDisks().observe(context(*facts, told=told))
    assert seen.holds
    assert seen.facts == (layout("vda"),)
    reason = "it holds data that is not ours"
    assert told == [("disk.refused", {"path": "/dev/vdb", "serial": "S-vdb", "reason": reason})]


def test_partitioning_says_what_is_destroyed_disk_by_disk():
    used = disk("vdb", DiskState.OURS, ("vdb1: LVM physical volume, 8.0 GiB",))
    seen = Partition().observe(
        context(machine(disk("vda"), used), layout("vda", "vdb"), storage=FakeStorage())
    )
    assert not seen.holds
    destroyed = [change for change in seen.changes if change.keeps is Keeps.DESTROY]
    assert [change.target for change in destroyed] == ["/dev/vdb"]
    assert destroyed[0].text == "Model, serial S-vdb, 8.0 GiB: vdb1: LVM physical volume, 8.0 GiB"
    created = [(change.target, change.text) for change in seen.changes if change.keeps is Keeps.CREATE]
    assert ("/dev/vda", "partition 2 (esp), 260.0 MiB") in created
    assert ("/dev/vda", "partition 3 (boot), 512.0 MiB") in created
    assert ("/dev/vda", "volumes swap, root, slivers") in created


def test_partitions_that_fit_are_kept_and_only_claimed():
    storage = FakeStorage(keeps=True)
    asked = context(machine(disk("vda", DiskState.OURS)), layout("vda"), storage=storage)
    seen = Partition().observe(asked)
    assert [change.keeps for change in seen.changes] == [Keeps.KEEP]
    Partition().run(asked)
    assert storage.applied == [layout("vda")]
    storage.answers = (True, True)
    assert Partition().observe(asked).holds


@pytest.fixture
def devices_exist(monkeypatch):
    monkeypatch.setattr(format_step.Path, "exists", lambda _: True)


def formatting(plan, run, **more):
    """What the step is given to make file systems for a reinstallation."""
    details = NodeDetails(1, "n", TargetState.RINS, RUN, 1, ImageRef("b", "0" * 64), **more)
    return context(plan, details, Cache(None, Events("test")), run=run, storage=FakeStorage(keeps=True))


def test_formatting_begins_with_root_and_leaves_alone_what_this_run_made(devices_exist):
    plan = layout("vda")
    done = {plan.boot_device: filesystem_uuid(RUN, "bm-boot"), plan.volume_device("root"): "an-older-run"}
    run = FakeRun(done)
    seen = Format().observe(formatting(plan, run))
    assert [(change.keeps, change.target) for change in seen.changes] == [
        (Keeps.DESTROY, "/dev/bmnode/root"),
        (Keeps.CREATE, "/dev/bmnode/slivers"),
        (Keeps.CREATE, "/dev/bmnode/swap"),
    ]
    Format().run(formatting(plan, run))
    assert run.made == ["/dev/bmnode/root", "/dev/bmnode/slivers", "/dev/bmnode/swap"]
    assert Format().observe(formatting(plan, run)).holds


def test_another_run_makes_everything_anew(devices_exist):
    plan = layout("vda")
    run = FakeRun({one.device: one.uuid for one in filesystems(plan)})
    assert Format().observe(formatting(plan, run)).holds
    assert not Format().observe(formatting(replace(plan, run_id="other"), run)).holds


def test_the_plan_works_where_no_device_exists_yet():
    run = FakeRun({})
    seen = Format().observe(formatting(layout("absent"), run))
    assert [change.keeps for change in seen.changes] == [Keeps.CREATE] * 4


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"clean": True}, "the server wants it made anew"),
        ({"boot_state": TargetState.INST}, "only a reinstallation keeps it"),
        ({"boot_state": TargetState.NEW}, "only a reinstallation keeps it"),
        ({"keeps": False}, "the volumes are made anew"),
        ({"dongle": True}, "the dongle has the whole image"),
        ({}, "files of image base"),
    ],
)
def test_the_plan_says_whether_the_root_is_kept_and_why_not(
    devices_exist, tmp_path, monkeypatch, given, reason
):
    manifest = manifest_of("base")
    plan, cache = layout("vda"), Cache(tmp_path, Events("test"))
    cache.put(manifest.digest, manifest.to_bytes())
    if given.get("dongle"):
        cache.put(manifest.blobs[0].sha256, b"1")
    monkeypatch.setattr(format_step.former, "find", lambda run, layout: Unpacked("base", "0" * 64, "run0"))
    monkeypatch.setattr(format_step.ext4, "is_clean", lambda found: True)
    monkeypatch.setattr(format_step.ext4, "is_sound", lambda run, device, look_only: True)
    details = NodeDetails(
        1,
        "n",
        given.get("boot_state", TargetState.RINS),
        RUN,
        1,
        ImageRef("base", manifest.digest),
        clean=given.get("clean", False),
    )
    run = FakeRun({plan.volume_device("root"): "an-older-run"})
    asked = context(plan, details, cache, run=run, storage=FakeStorage(keeps=given.get("keeps", True)))
    root = Format().observe(asked).changes[0]
    assert reason in root.text
    assert root.keeps is (Keeps.DESTROY if given else Keeps.KEEP)
