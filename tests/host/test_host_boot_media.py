"""A deployment's own boot medium, and a node's own, keep boot records and partitions of the general one."""

import json
import subprocess

import pytest

from tests.host.server_process import ROOT, bootserver, cli, key_file

pytestmark = pytest.mark.host


def tool(*words):
    return subprocess.run([*map(str, words)], check=True, capture_output=True).stdout


@pytest.fixture
def iso(tmp_path):
    """A small medium with the boot records that build/images.py gives to the real one."""
    tree, esp = tmp_path / "tree", tmp_path / "esp.img"
    for name in ("live/vmlinuz", "live/20-project.squashfs", "bios.img"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode() * 2048)
    tool("mformat", "-C", "-i", esp, "-T", 2048, "-v", "BMEFI", "::")
    tool("mcopy", "-i", esp, tree / "live/vmlinuz", "::/loader")
    bios = ["-b", "bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    efi = ["-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    made = ["-as", "mkisofs", "-quiet", "-V", "BMBOOT", "-R", "-o", tmp_path / "boot.iso", *bios, *efi]
    tool("xorriso", *made, "--protective-msdos-label", "-append_partition", 2, "0xef", esp, tree)
    return tmp_path / "boot.iso"


def partitions(image):
    table = json.loads(tool("sfdisk", "--json", image))["partitiontable"]
    return [(one["type"], one["start"] * 512, one["size"] * 512) for one in table["partitions"]]


def inside(image, number):
    _, start, size = partitions(image)[number - 1]
    return image.read_bytes()[start : start + size]


def cd_images(image):
    """What a firmware finds to boot from on a CD: for whom, and where in the image in bytes."""
    told = tool("xorriso", "-indev", image, "-report_el_torito", "plain").decode()
    lines = [line.split() for line in told.splitlines() if line.startswith("El Torito boot img")]
    return {words[6]: int(words[-1]) * 2048 for words in lines}


def identity(image):
    return tool("blkid", "-p", "-s", "UUID", "-o", "value", image).strip()


def refused(folder, *words):
    line = [*bootserver(folder), *map(str, words)]
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    return done.stderr


def test_a_deployments_own_starts_from_wherever_the_general_one_does(folder, iso):
    ours = iso.with_name("ours.iso")
    cli(folder, "media", "make", iso, ours)
    assert (
        [kind for kind, _, _ in partitions(ours)] == [kind for kind, _, _ in partitions(iso)] == ["cd", "ef"]
    )
    assert inside(ours, 2) == inside(iso, 2)
    assert cd_images(ours).keys() == cd_images(iso).keys() == {"BIOS", "UEFI"}
    assert cd_images(ours)["UEFI"] == partitions(ours)[1][1]
    # Plugged in beside the general one it is not taken for that.
    assert identity(ours) != identity(iso)


def test_a_nodes_own_has_its_identity_in_a_partition(folder, iso):
    own = iso.with_name("own.img")
    cli(
        folder,
        "media",
        "make",
        iso,
        own,
        "--node",
        "node1",
        "--static",
        "10.0.2.15/24",
        "--gateway",
        "10.0.2.2",
    )
    assert own.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in iso.parent.glob(".*")) == []
    assert inside(own, 2) == inside(iso, 2)
    assert cd_images(own)["UEFI"] == partitions(own)[1][1]
    kind, start, size = partitions(own)[2]
    assert kind == "c"

    partition = f"{own}@@{start}"
    text = tool("mtype", "-i", partition, "::plnode.txt").decode()
    assert text == key_file(folder, "--static", "10.0.2.15/24", "--gateway", "10.0.2.2")
    assert tool("mtype", "-i", partition, "::root.json") == (folder / "metadata/1.root.json").read_bytes()
    label = tool("blkid", "-p", "--offset", start, "--size", size, "-s", "LABEL", "-o", "value", own)
    assert label.decode().strip() == "BMKEY"


def test_a_nodes_own_is_not_made_into_another_ones(folder, iso):
    own, other = iso.with_name("own.img"), iso.with_name("other.img")
    cli(folder, "media", "make", iso, own, "--node", "node1")
    assert "cannot-write-medium" in refused(folder, "media", "make", own, other)
    assert not other.exists()
