"""The dongle that is made of a marked stick, with the real tools on loop devices."""

import os
import subprocess
from pathlib import Path

import pytest

from host.mounts import mounted
from host.run import CommandFailed, Runner
from hwdetect import marked_stick
from hwdetect.marked_stick import NoMarkedStick, is_marked, make_dongle
from wire import dongle
from wire.dongle import marked_start

pytestmark = pytest.mark.host

MIB = 1024 * 1024
SIZE = 64 * MIB


def command(*words, text=""):
    done = subprocess.run([*map(str, words)], input=text, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Cut(Runner):
    """The power goes when a command has run; `torn` is then where the superblock would be."""

    def __init__(self, after, torn=b""):
        self.after, self.torn = after, torn

    def __call__(self, argv, **how):
        done = super().__call__(argv, **how)
        if self.after in argv:
            if self.torn:
                overwrite(argv[-1], 1024, self.torn)
            raise CommandFailed(argv, 1, "the power was cut here")
        return done


def overwrite(node, offset, data):
    with Path(node).open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def head(node, size=SIZE):
    with Path(node).open("rb") as opened:
        return opened.read(size)


def mark(node):
    overwrite(node, 0, marked_start())


def kind(node):
    return command("sfdisk", "--part-type", node, "1")


def test_the_documented_command_writes_the_mark(stick):
    overwrite(stick, 0, b"\xaa" * 8 * MIB)
    (line,) = (line.strip() for line in dongle.__doc__.splitlines() if "printf" in line)
    command("sh", "-c", line.replace("/dev/sdX", stick))
    assert head(stick, 8 * MIB) == marked_start() + b"\xaa" * 4 * MIB
    assert is_marked(Runner(), stick)


def test_a_marked_stick_becomes_a_dongle(stick, tmp_path):
    mark(stick)
    made = make_dongle(Runner(), (stick,))
    assert (made.disk, made.fstype, made.size_bytes) == (stick, "ext4", SIZE - MIB)
    assert kind(stick) == "83"
    assert "BMCACHE" in command("blkid", "-p", made.device)
    with mounted(Runner(), made.device, tmp_path / "mounted", fstype="ext4") as folder:
        (folder / "file").write_text("x")
    # It is not made twice.
    before = head(stick)
    with pytest.raises(NoMarkedStick, match=stick):
        make_dongle(Runner(), (stick,))
    assert head(stick) == before


@pytest.mark.parametrize(
    ("after", "torn"),
    [("--quiet", b""), ("mkfs.ext4", bytes(2048)), ("mkfs.ext4", b"\xaa" * 2048), ("mkfs.ext4", b"")],
    ids=["begun", "in the middle", "torn", "before the end"],
)
def test_a_power_cut_while_it_is_made_is_made_up_for(stick, after, torn):
    mark(stick)
    with pytest.raises(CommandFailed, match="power was cut"):
        make_dongle(Cut(after, torn), (stick,))
    assert kind(stick) == "da"
    assert is_marked(Runner(), stick)
    made = make_dongle(Runner(), (stick,))
    assert kind(stick) == "83"
    command("e2fsck", "-fn", made.device)


def somebodys_partition(node):
    command("sfdisk", "-q", node, text="label: dos\nlabel-id: 0xb007cace\ntype=83\n")


def somebodys_data_in_what_was_begun(node):
    command("sfdisk", "-q", node, text="label: dos\nlabel-id: 0xb007cace\ntype=da\n")
    overwrite(node, MIB, b"LABELONE")
    command("mkfs.ext4", "-q", "-F", "-L", "thesis", marked_stick.partition_node(node, 1))


NOT_MARKED = {
    "blank": lambda node: None,
    "a file system": lambda node: command("mkfs.ext4", "-q", node),
    "a file system behind the mark": lambda node: (
        command("mkfs.ext4", "-q", node),
        overwrite(node, 0, marked_start()[:512]),
    ),
    "a byte after the mark": lambda node: (mark(node), overwrite(node, 3 * MIB, b"x")),
    "a byte in its line": lambda node: (mark(node), overwrite(node, 3, b"x")),
    "member of an array": lambda node: (mark(node), overwrite(node, SIZE - 65536, MD_SUPERBLOCK)),
    "a partition of ours that is whole": somebodys_partition,
    "another file system in what was begun": somebodys_data_in_what_was_begun,
}
# Version 0.90 of md's, in the last 64 KiB.
MD_SUPERBLOCK = bytes.fromhex("fc4e2ba9000000005a00000000000000") + bytes(4080)


@pytest.mark.parametrize("case", NOT_MARKED)
def test_whatever_else_is_on_it_nothing_is_written(stick, case):
    NOT_MARKED[case](stick)
    before = head(stick)
    assert not is_marked(Runner(), stick)
    with pytest.raises(NoMarkedStick):
        make_dongle(Runner(), (stick,))
    assert head(stick) == before


def test_of_two_marked_sticks_none_is_written(stick, tmp_path):
    mark(stick)
    before = head(stick)
    with pytest.raises(NoMarkedStick, match=f"{stick}, /dev/other"):
        make_dongle(Runner(), (stick, "/dev/other"))
    assert head(stick) == before
