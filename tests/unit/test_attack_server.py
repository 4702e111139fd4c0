"""A server that has the node's key and means harm, and a machine whose disks hold somebody's data.

The server decides what runs on the node's own disks, so there it can do what it likes. These are the limits:
a disk that holds what is not ours is written only when the configuration names it by serial number or WWN;
boot medium, key medium, dongle and what is mounted or write-protected, never.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.storage import DiskRole, claim_guid
from hwdetect.content import MIB, DiskState
from hwdetect.disks import BadVolumeSizes, choose
from hwdetect.dongle import Dongle
from hwdetect.inventory import Firmware, Inventory, Machine
from hwdetect.media import Candidate, Media
from tests.unit.made_disks import BLANK, GIB
from wire.errors import BootError
from wire.messages import DiskPolicy, Minimum, NodeDetails, VolumeSizes
from wire.structure import MalformedMessage, structure, unstructure

RUNS = ("aa" * 16, "bb" * 16)
NAMES = ("S-a", "S-b", "0x5000c500aaaa5678", "", "auto", "none", "*", "S", "/dev/vda", "vda", ",", "S-a,S-b")


@st.composite
def disks(draw):
    found = []
    for letter in "abcd"[: draw(st.integers(0, 4))]:
        state = draw(st.sampled_from(list(DiskState)))
        run = draw(st.sampled_from(RUNS))
        guid = claim_guid(run, draw(st.sampled_from(list(DiskRole))), "x") if state is DiskState.OURS else ""
        found.append(
            replace(
                BLANK,
                path=f"/dev/vd{letter}",
                serial=draw(st.sampled_from([f"S-{letter}", "S-a", ""])),
                wwn=draw(st.sampled_from(["", "0x5000c500aaaa5678"])),
                size_bytes=draw(st.sampled_from([20 * GIB, 20 * GIB, 4000 * GIB, MIB, 0])),
                bus=draw(st.sampled_from(["virtio", "virtio", "usb"])),
                removable=draw(st.sampled_from([False, False, True])),
                read_only=draw(st.sampled_from([False, False, True])),
                state=state,
                table_guid=guid,
                roles=draw(st.sampled_from([(), (), ("mounted at /x",)])),
            )
        )
    return tuple(found)


wild = st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 5000)
# Mostly what is sound, or every example would end at the first check.
small = st.sampled_from([-5, 0, 1, 100, 512, 2**40])
sizes = st.just(VolumeSizes()) | st.builds(VolumeSizes, small, small, small) | st.builds(VolumeSizes, wild)
minima = st.just(Minimum()) | st.builds(Minimum, wild, wild)
names = st.sampled_from(NAMES) | st.sampled_from(["S-a", "S-b", ""]) | st.text(max_size=8)
policies = st.builds(DiskPolicy, names, names | st.just("auto"))
media = st.sampled_from(
    [
        Media(),
        Media(boot=("/dev/vda",)),
        Media(candidates=(Candidate("/dev/vdb1", "/dev/vdb", "plnode.txt", "secret"),)),
        Media(dongle=Dongle("/dev/vdc1", "/dev/vdc", "ext4", GIB)),
        Media(marked=("/dev/vdc",)),
    ]
)


def named(disk, policy):
    words = {word.strip().casefold() for word in (policy.system, *policy.data.split(","))} - {
        "",
        "auto",
        "none",
    }
    return bool(words & {disk.serial.casefold(), disk.wwn.casefold(), disk.wwn.casefold().removeprefix("0x")})


@settings(max_examples=200)
@given(disks(), policies, sizes, minima, media, st.sampled_from([*RUNS, "", "../x"]))
def test_whatever_it_asks_for_no_data_of_others_is_written(found, policy, volumes, minimum, plugged, run_id):
    machine = Inventory(Machine("", "", ""), Firmware.BIOS, 2, GIB, found, (), ())
    try:
        layout = choose(policy, volumes, minimum, machine, plugged, run_id).layout
    except BootError:
        return
    by_path = {disk.path: disk for disk in found}
    for used in layout.disks:
        disk = by_path[used.path]
        assert not plugged.role(disk.path), "a medium"
        assert not disk.roles, "in use"
        assert not disk.read_only
        assert disk.state is not DiskState.UNREADABLE
        if disk.state is DiskState.FOREIGN or disk.bus == "usb" or disk.removable:
            assert named(disk, policy)
    assert min(layout.boot_mib, layout.swap_mib, layout.root_mib) > 0
    # Nothing reaches beyond the disk.
    assert layout.boot_mib + layout.swap_mib + layout.root_mib <= layout.system.size_bytes // MIB


@pytest.mark.parametrize(
    "volumes", [VolumeSizes(root_mib=0), VolumeSizes(-1), VolumeSizes(swap_mib=-(2**40))]
)
def test_volumes_of_impossible_sizes(volumes):
    disk = replace(BLANK, path="/dev/vda", serial="S-a")
    machine = Inventory(Machine("", "", ""), Firmware.BIOS, 2, GIB, (disk,), (), ())
    with pytest.raises(BadVolumeSizes):
        choose(DiskPolicy(), volumes, Minimum(), machine, Media(), "r")


GOOD = unstructure(
    structure(
        {
            "node_id": 1,
            "hostname": "node1",
            "boot_state": "rins",
            "run_id": "r",
            "generation": 1,
            "base_image": {"name": "base", "manifest": "b" * 64},
        },
        NodeDetails,
    )
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node_id", "1"),
        ("node_id", True),
        ("hostname", 1),
        ("boot_state", "wipe"),
        ("boot_state", None),
        ("generation", 1.0),
        ("disks", {"system": 1}),
        ("disks", "S-a"),
        ("disks", []),
        ("ssh_keys", "ssh-ed25519 AAAA"),
        ("ssh_keys", {"ssh-ed25519 AAAA": 1}),
        ("images", {}),
        ("volumes", {"root_mib": "1"}),
        ("ssh_keys", [1]),
        ("base_image", {"name": "base"}),
        ("base_image", None),
    ],
)
def test_a_configuration_of_other_types_is_none(field, value):
    with pytest.raises(MalformedMessage):
        structure({**GOOD, field: value}, NodeDetails)
