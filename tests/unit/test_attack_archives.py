"""Archives that are damaged or mean harm: each is refused by name, before anything is written anywhere.

What an archive does to a node's disk is tested in tests/host/test_host_attack_archives.py.
"""

import bz2
import gzip
import lzma
import re
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from images.sources import nodes
from images.sources.archive import ArchiveSource
from images.sources.base import NotAnImage
from tests.unit.made_archives import checked, contents, file, folder, hard, link, special, tar

SOUND = tar(folder("d"), file("d/x", b"x" * 600), file("y", b"y"))
EXTENDED = tar(
    folder("d", pax={"mtime": "1.5", "SCHILY.xattr.user.x": "x"}),
    file("n" * 120, b"x", pax={"GNU.sparse.size": "9", "GNU.sparse.map": "8,1"}),
    hard("h", "n" * 120),
).rstrip(b"\0") + bytes(1024)


def refused(tmp_path, data, **options):
    path = tmp_path / "archive"
    path.write_bytes(data)
    with pytest.raises(NotAnImage) as caught, ArchiveSource(path, **options) as source:
        contents(source.members())
    assert str(path) in caught.value.detail
    return caught.value.detail


HOSTILE = {
    "a way out": ([file("a/../../etc/passwd")], "a/../../etc/passwd", r"\.\."),
    "a way out at the end": ([folder("a/..")], "a/..", r"\.\."),
    "NUL in a name": ([file("x", pax={"path": "a\0b"})], "a\\x00b", "NUL"),
    "a long part": ([file("a/" + "n" * 256)], "n" * 256, "255 bytes"),
    "a long part of few letters": ([file("ä" * 128)], "ä" * 128, "255 bytes"),
    "a long path": ([file("/".join(["n" * 255] * 16) + "/x")], "n/x", "4095 bytes"),
    "no name": ([file("./")], "", "must be a folder"),
    "a hard link to nothing": ([hard("h", "gone")], "h", "'gone'"),
    "a hard link to what comes later": ([hard("h", "later"), file("later")], "h", "'later'"),
    "a hard link to itself": ([hard("h", "h")], "h", "'h'"),
    "hard links in a circle": ([hard("h", "i"), hard("i", "h")], "h", "'i'"),
    "a hard link to a folder": ([folder("d"), hard("h", "d")], "h", "'d', which is a folder"),
    "a hard link to the tree": ([hard("h", ".")], "h", "'', which is a folder"),
    "a hard link out": ([file("h"), hard("h", "../x")], "h", r"\.\."),
    "a hard link through a link": ([link("l", "/etc"), hard("h", "l/passwd")], "h", "'l/passwd'"),
    "below a file": ([file("f"), file("f/x")], "f/x", "'f' is not a folder"),
    "below a link": ([link("l", "/etc"), file("l/passwd")], "l/passwd", "'l' is not a folder"),
    "below a hard link": ([file("f"), hard("h", "f"), file("h/x")], "h/x", "'h' is not a folder"),
    "below a device": ([special("n", tarfile.CHRTYPE), folder("n/x")], "n/x", "'n' is not a folder"),
    "a file over a full folder": ([file("d/x"), file("d")], "d", "not empty"),
    "a link over a full folder": ([file("d/x"), link("d", "/etc")], "d", "not empty"),
    "a link over a full folder, then below": (
        [folder("d"), link("d", "/"), file("d/x")],
        "d/x",
        "'d' is not",
    ),
    "a link to nowhere": ([link("l", "")], "l", "link to nowhere"),
    "a link with NUL": ([link("l", "x", pax={"linkpath": "a\0b"})], "l", "link to nowhere"),
    "a long link": ([link("l", "x" * 4096)], "l", "longer than Linux takes"),
    "an unknown type": ([special("v", b"V")], "v", "type b'V'"),
    "a user beyond 32 bits": ([file("u", pax={"uid": "4294967295"})], "u", "owner 4294967295"),
    "a user that is no number": ([file("u", pax={"uid": "root"})], "u", "uid 'root'"),
    "a group below zero": ([file("u", pax={"gid": "-1"})], "u", "gid '-1'"),
    "a size below zero": ([file("s", pax={"size": "-1024"})], "s", "size '-1024'"),
    "a size beyond the end": ([file("s", b"x", pax={"size": "99999"})], "s", "cut off"),
    "a size beyond all numbers": ([file("s", b"x", pax={"size": "9" * 19})], "s", "size of"),
    "a time that is none": ([file("t", pax={"mtime": "nan"})], "t", "time 'nan'"),
    "a time beyond all": ([file("t", pax={"mtime": "1e30"})], "t", "time '1e30'"),
    "a time that ext4 has not yet": ([file("t", pax={"mtime": "15032385536"})], "t", "'15032385536', which"),
    "a time that ext4 has no more": ([file("t", pax={"mtime": "-2147483648.1"})], "t", "which ext4 cannot"),
    "an attribute of an empty name": ([file("a", pax={"SCHILY.xattr.user.": "x"})], "a", "'user.' of 1"),
    "a capability that is none": (
        [file("a", pax={"SCHILY.xattr.security.capability": "junk"})],
        "a",
        "capability' of 4 bytes",
    ),
    "a device that Linux has not": ([special("n", tarfile.CHRTYPE, devmajor=4096)], "n", "device 4096:0"),
    "an attribute on a pipe": (
        [special("p", tarfile.FIFOTYPE, pax={"SCHILY.xattr.user.x": ""})],
        "p",
        "user.x",
    ),
    "a large attribute": ([file("a", pax={"SCHILY.xattr.user.x": "x" * 65537})], "a", "65537 bytes"),
    "an attribute without a name": ([file("a", pax={"SCHILY.xattr.user." + "x" * 255: ""})], "a", "no name"),
    "an attribute that is no base 64": ([file("a", pax={"LIBARCHIVE.xattr.user.x": "ä"})], "a", "ascii"),
    "an ACL of bytes": ([file("a", pax={"SCHILY.xattr.system.posix_acl_access": "x"})], "a", "1 bytes"),
    "an ACL of a text": ([file("a", pax={"SCHILY.acl.access": "owner@:rwx"})], "a", "'owner@:rwx'"),
    "an ACL of somebody": ([file("a", pax={"SCHILY.acl.access": "user:eve:rwx"})], "a", "'eve', which"),
    "an ACL without a mask": (
        [file("a", pax={"SCHILY.acl.access": "u::rwx,u:7:rwx,g::r,o::r"})],
        "a",
        "must have a mask",
    ),
    "an ACL without the owner": ([file("a", pax={"SCHILY.acl.access": "g::r,o::r"})], "a", "one entry each"),
    "a default ACL on a file": ([file("a", pax={"SCHILY.acl.default": "u::r,g::r,o::r"})], "a", "kind FILE"),
    "an ACL on a link": (
        [link("a", "x", pax={"SCHILY.acl.access": "u::r,u:1:r,m:r,g::r,o::r"})],
        "a",
        "LINK",
    ),
}


@pytest.mark.parametrize(("members", "name", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_image_may_hold(tmp_path, members, name, reason):
    detail = refused(tmp_path, tar(file("before"), *members))
    assert name in detail
    assert re.search(reason, detail), detail


COMPRESSIONS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
every_compression = pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)


@every_compression
def test_cut_off_anywhere(tmp_path, compress):
    made = compress(SOUND.rstrip(b"\0") + bytes(511 + 512))
    for size in [0, 1, 3, *range(7, len(made), 97), len(made) - 1]:
        # One block of zeros, of which none may be missing, marks the end of the archive.
        refused(tmp_path, made[:size])


@every_compression
@pytest.mark.parametrize("garbage", [b"x", b"\0\0x", SOUND, b"\x1f\x8b\x08 no gzip"])
def test_something_behind_it(tmp_path, compress, garbage):
    refused(tmp_path, compress(SOUND) + garbage)


@pytest.mark.parametrize("compress", list(COMPRESSIONS.values())[1:], ids=list(COMPRESSIONS)[1:])
def test_compressed_data_that_are_damaged(tmp_path, compress):
    made = bytearray(compress(SOUND))
    made[len(made) // 2] ^= 0x40
    refused(tmp_path, bytes(made))


@every_compression
def test_what_is_no_archive_at_all(tmp_path, compress):
    refused(tmp_path, compress(b"<html>" * 1000))


@pytest.mark.parametrize("header", [0, 512, 512 * 4])
@pytest.mark.parametrize("byte", [0, 100, 148, 156, 400])
def test_a_damaged_header_is_not_the_end(tmp_path, header, byte):
    made = bytearray(SOUND)
    made[header + byte] ^= 1
    detail = refused(tmp_path, bytes(made))
    assert header == 0 or "'d" in detail


@given(st.lists(st.tuples(st.integers(0, len(EXTENDED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=60)
def test_damage_is_refused_or_harmless(tmp_path_factory, changes):
    made = bytearray(EXTENDED)
    for at, value in changes:
        made[at] = value
    path = tmp_path_factory.mktemp("damaged") / "archive"
    path.write_bytes(made)
    try:
        with ArchiveSource(path) as source:
            contents(source.members())
    except NotAnImage:
        pass


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(tmp_path, kind):
    made = special("x", kind)[0].tobuf(tarfile.GNU_FORMAT)
    for size in (b"%011o\0" % (2**33 - 1), b"\x80" + (2**62).to_bytes(11), b"\xff" * 12):
        assert "a header" in refused(tmp_path, checked(made[:124] + size + made[136:]) + SOUND)


def test_headers_that_are_told_thousands_of_times(tmp_path):
    header = special("x", tarfile.GNUTYPE_LONGNAME, size=512)[0].tobuf(tarfile.GNU_FORMAT)
    refused(tmp_path, (header + b"n".ljust(512, b"\0")) * 3000 + SOUND)


def test_a_map_of_holes_that_is_cut_off(tmp_path):
    made = bytearray(special("s", tarfile.GNUTYPE_SPARSE)[0].tobuf(tarfile.GNU_FORMAT))
    made[482] = 1
    refused(tmp_path, SOUND[:512] + checked(made))


def sparse(table, data, size):
    version = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return tar(file("s", table.ljust(512, b"\0") + data, pax={**version, "GNU.sparse.realsize": str(size)}))


@pytest.mark.parametrize(
    ("table", "size"),
    [
        (b"1\n0\n600\n", 600),
        (b"0\n", 9000),
        (b"2\n512\n256\n0\n256\n", 9000),
        (b"2\n0\n300\n200\n212\n", 9000),
        (b"1\n8900\n512\n", 9000),
        (b"2\n0\n1000\n2000\n-488\n", 9000),
        (b"1\n-1\n512\n", 9000),
        (b"99999999\n0\n512\n", 9000),
        (b"x\n", 9000),
        (b"1" * 512, 9000),
        (b"1\n0\n512\n", -1),
        (b"1\n0\n512\n", 2**64),
    ],
)
def test_maps_of_holes_that_lie(tmp_path, table, size):
    assert "s" in refused(tmp_path, sparse(table, b"x" * 512, size))


@pytest.mark.parametrize("compress", list(COMPRESSIONS.values())[1:], ids=list(COMPRESSIONS)[1:])
def test_a_bomb(tmp_path, compress):
    made = compress(tar(file("bomb", bytes(3 * 1024 * 1024))))
    assert "more than 1000000 bytes" in refused(tmp_path, made, limit_bytes=10**6)


def test_a_bomb_of_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "MAXIMUM_NODES", 1000)
    made = tar(*(file("/".join([str(number), *"deep" * 50])) for number in range(10)))
    assert "more than 1000 files" in refused(tmp_path, made)


def test_a_tree_as_deep_as_paths_may_be(tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(tar(file("/".join(["d"] * 2048))))
    with ArchiveSource(path) as source:
        assert len(contents(source.members())) == 2049


def test_nothing_stays_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    refused(tmp_path, gzip.compress(tar(file("../x"))))
    refused(tmp_path, gzip.compress(bytes(10**6)), limit_bytes=10**5)
    refused(tmp_path, b"x" * 1000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
