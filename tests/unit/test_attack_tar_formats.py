"""Each format of tar's headers, made wrong by hand: refused by name, or read as what it must mean.

Ideas are those of the test suites of Python's tarfile and of libarchive.
"""

import os
import struct
import tarfile

import pytest

from images.entries import Kind
from images.sources.base import NotAnImage
from tests.unit.made_archives import (
    file,
    folder,
    hard,
    info,
    link,
    padded,
    pax_records,
    read,
    special,
    tar,
    with_fields,
)

END = bytes(1024)
FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def refused(tmp_path, data):
    with pytest.raises(NotAnImage) as caught:
        read(tmp_path, data)
    return caught.value.detail


def block(name, kind=tarfile.REGTYPE, form=tarfile.GNU_FORMAT, **fields):
    return info(name, kind, **fields).tobuf(form, "utf-8", "surrogateescape")


def gnu_long(kind, text):
    """The member by which GNU tar gives a long name or target to the next one."""
    return block("././@LongLink", kind, size=len(text)) + padded(text)


LONG = b"n" * 200
NAME, LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK


# --- long names of GNU tar ---


def test_a_chain_of_long_names_is_one_of_them(tmp_path):
    chain = gnu_long(NAME, LONG + b"\0") + gnu_long(LINK, b"t" * 300 + b"\0") + gnu_long(NAME, b"other\0")
    found = read(tmp_path, chain + block("x", tarfile.SYMTYPE, linkname="y") + END)
    (path,) = found.keys() - {""}
    assert path in (LONG.decode(), "other")
    assert found[path][0].target == "t" * 300


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (gnu_long(NAME, b"n" * 65536 + b"\0") + block("x"), "4095 bytes|255 bytes"),
        (
            gnu_long(LINK, b"t" * 65536 + b"\0") + block("x", tarfile.SYMTYPE, linkname="y"),
            "longer than Linux",
        ),
        (gnu_long(NAME, b"../x\0") + block("x"), r"\.\."),
        (gnu_long(NAME, b"\0") + block("x"), "must be a folder"),
        (gnu_long(LINK, b"\0") + block("x", tarfile.SYMTYPE, linkname="y"), "link to nowhere"),
        (gnu_long(NAME, LONG), "damaged|cut off"),
        (gnu_long(NAME, LONG)[:512], "damaged|cut off"),
        (block("x", NAME, size=1024**2 + 1) + END, "a header of"),
    ],
    ids=["64 KiB", "target of 64 KiB", "out", "empty", "no target", "of nothing", "without it", "too large"],
)
def test_long_names_that_are_refused(tmp_path, made, reason):
    assert any(word.replace("\\", "") in refused(tmp_path, made + END) for word in reason.split("|"))


# --- records of pax ---


def extended(records, member=None, kind=tarfile.XHDTYPE):
    """A pax header of these bytes, and the member that it is for."""
    return (
        block("pax", kind, form=tarfile.USTAR_FORMAT, size=len(records))
        + padded(records)
        + (block("x") if member is None else member)
    )


@pytest.mark.parametrize(
    "records",
    [
        b"0 path=a\n",
        b"1 path=a\n",
        b"5 p=a\n",
        b"999 path=a\n",
        b"-9 path=a\n",
        b"+9 path=a\n",
        b"9" * 5000 + b" path=a\n",
        b"x path=a\n",
        b"9 path=a ",
        b"8 path a\n",
        b"6 =ab\n",
        b"9 path=a\n junk",
    ],
)
def test_records_that_are_not_as_long_as_they_say(tmp_path, records):
    """Refused, or left out with what follows: never read beyond, never half of a name."""
    try:
        found = read(tmp_path, extended(records) + END)
    except NotAnImage:
        return
    assert found.keys() <= {"", "x", "a"}


def test_a_name_of_64_kib_in_a_record(tmp_path):
    assert "4095 bytes" in refused(tmp_path, extended(pax_records(("path", b"n/" * 32768))) + END)


def test_the_last_of_two_records_counts(tmp_path):
    found = read(tmp_path, extended(pax_records(("path", b"a"), ("path", b"b"))) + END)
    assert found.keys() == {"", "b"}


@pytest.mark.parametrize("charset", [b"BINARY", b"ISO-IR 10646 2000 UTF-8", b"EBCDIC"])
def test_names_in_records_are_bytes_whatever_the_character_set(tmp_path, charset):
    made = extended(pax_records(("hdrcharset", charset), ("path", b"caf\xe9"))) + END
    assert read(tmp_path, made).keys() == {"", os.fsdecode(b"caf\xe9")}


def test_records_of_all_members_lead_nobody_out(tmp_path):
    made = extended(pax_records(("path", b"../../etc/passwd")), kind=tarfile.XGLTYPE) + END
    assert "'../../etc/passwd'" in refused(tmp_path, made)


# --- sparse files in records: what GNU tar 1.14 wrote, its version 0.0 ---


def sparse_0_0(*parts, blocks=None, size=2000, stored=None):
    rows = [("GNU.sparse.size", b"%d" % size), ("GNU.sparse.numblocks", b"%d" % (blocks or len(parts)))]
    for offset, length in parts:
        rows += [("GNU.sparse.offset", b"%d" % offset), ("GNU.sparse.numbytes", b"%d" % length)]
    data = b"x" * (sum(length for _, length in parts) if stored is None else stored)
    return extended(pax_records(*rows), block("s", size=len(data)) + padded(data)) + END


def test_a_sparse_file_of_the_oldest_records(tmp_path):
    entry, data = read(tmp_path, sparse_0_0((0, 100), (1000, 500)))["s"]
    assert (entry.size, entry.holes, data) == (2000, ((100, 900), (1500, 500)), b"x" * 600)


@pytest.mark.parametrize(
    "made",
    [
        sparse_0_0((1000, 500), (0, 100)),
        sparse_0_0((0, 600), (500, 100)),
        sparse_0_0((0, 100), (1900, 500)),
        sparse_0_0((0, 100), (1000, -50), stored=100),
        sparse_0_0((-100, 100)),
        sparse_0_0((0, 100), size=-1),
        sparse_0_0((0, 100_000), stored=100),
        sparse_0_0((0, 100), size=2**64),
    ],
    ids=["backwards", "overlapping", "beyond", "negative", "before", "no size", "without data", "huge"],
)
def test_sparse_files_that_lie(tmp_path, made):
    assert "s" in refused(tmp_path, made)


# --- numbers ---


def base_256(number, width=12):
    return bytes([0x80 if number >= 0 else 0xFF]) + (number % 256 ** (width - 1)).to_bytes(width - 1)


def test_numbers_of_base_256(tmp_path):
    made = with_fields(block("x"), uid=base_256(70000, 8), gid=base_256(2**32 - 2, 8), mtime=base_256(-5))
    entry, _ = read(tmp_path, made + END)["x"]
    assert (entry.uid, entry.gid, entry.mtime_ns) == (70000, 2**32 - 2, -5 * 10**9)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"uid": base_256(-1, 8)}, "owner -1"),
        ({"gid": base_256(2**40, 8)}, "owner"),
        ({"size": base_256(-512)}, "negative size"),
        ({"size": base_256(2**80)}, "a size of"),
        ({"size": base_256(2**62)}, "cut off"),
        ({"mtime": base_256(2**80)}, "time"),
        ({"mtime": base_256(-(2**80))}, "time"),
        ({"uid": b"notanum\0"}, "damaged"),
        ({"size": b"-0000000012\0"}, ""),
        ({"mtime": b"9" * 12}, "damaged"),
    ],
)
def test_numbers_that_are_none(tmp_path, fields, reason):
    assert reason in refused(tmp_path, with_fields(block("x"), **fields) + END)


def test_bits_of_the_mode_beyond_permissions_are_left_out(tmp_path):
    made = with_fields(block("x"), mode=b"1004755\0")
    assert read(tmp_path, made + END)["x"][0].mode == 0o4755


def test_devices_with_negative_numbers(tmp_path):
    made = with_fields(block("x", tarfile.CHRTYPE), devmajor=base_256(-1, 8))
    assert "device -1:0" in refused(tmp_path, made + END)


# --- older and odder headers ---


def test_headers_of_before_posix(tmp_path):
    plain = with_fields(block("x", size=3), magic=bytes(8)) + padded(b"abc")
    by_name = with_fields(block("d/"), magic=bytes(8), type=b"\0")
    found = read(tmp_path, plain + by_name + END)
    assert found["x"][1] == b"abc"
    assert found["d"][0].kind is Kind.FOLDER


def test_checksums_of_signed_bytes(tmp_path):
    made = bytearray(block(os.fsdecode(b"caf\xe9")))
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % (sum(struct.unpack("512b", made)) % 0o1000000)
    assert os.fsdecode(b"caf\xe9") in read(tmp_path, bytes(made) + END)


def test_a_checksum_that_is_wrong_or_missing(tmp_path):
    for value in (b"000000\0 ", bytes(8), b"        ", b"zzzzzz\0 "):
        made = bytearray(block("x"))
        made[148:156] = value
        refused(tmp_path, block("before") + bytes(made) + END)


@pytest.mark.parametrize("kind", [b"D", b"M", b"V", b"N", b"Z", b"\xff"])
def test_members_that_no_tree_has(tmp_path, kind):
    assert "'x'" in refused(tmp_path, with_fields(block("x"), type=kind) + END)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prefix": b".."}, "../x"),
        ({"prefix": b"a/.."}, "a/../x"),
        ({"prefix": b"p" * 155}, "p" * 155 + "/x"),
    ],
)
def test_a_name_in_two_fields(tmp_path, fields, name):
    made = with_fields(block("x", form=tarfile.USTAR_FORMAT), **fields) + END
    if ".." in name:
        assert name in refused(tmp_path, made)
    else:
        assert name in read(tmp_path, made)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_data_behind_what_has_none(tmp_path, kind):
    """What they are is nobody's guess: headers of other members for all that one can say."""
    inner = block("inner")
    made = block("f") + block("x", kind, size=len(inner), linkname="f") + inner + END
    try:
        found = read(tmp_path, made)
    except NotAnImage:
        return
    assert found.keys() <= {"", "f", "x", "inner"}


# --- the whole ---


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_cut_off_behind_each_block(tmp_path, form):
    members = (folder("d"), file("d/" + "n" * 90, b"x" * 1500), hard("h", "d/" + "n" * 90), link("l", "d"))
    made = tar(*members, form=form)
    blocks = len(made.rstrip(b"\0")) // 512 + 1
    for count in range(blocks):
        refused(tmp_path, made[: count * 512])
    assert read(tmp_path, made[: blocks * 512] + END).keys() >= {"d", "h", "l"}


def test_two_archives_one_behind_the_other(tmp_path):
    """As tar --concatenate does not make them: only `tar -i` would read the second."""
    assert "behind the archive" in refused(tmp_path, tar(file("a")) + tar(file("b")))


def test_links_in_a_circle_are_links(tmp_path):
    found = read(tmp_path, tar(link("a", "b"), link("b", "a"), link("c", "c"), link("d", "../../d")))
    assert {path: entry.target for path, (entry, _) in found.items() if path} == {
        "a": "b",
        "b": "a",
        "c": "c",
        "d": "../../d",
    }
    for below in ("a/x", "c/x", "d/x"):
        assert "is not a folder" in refused(tmp_path, tar(link(below[0], below[0]), file(below)))


def test_names_that_differ_by_case_are_two(tmp_path):
    found = read(tmp_path, tar(folder("Dir"), file("Dir/x", b"1"), folder("dir"), file("dir/X", b"2")))
    assert found["Dir/x"][1] == b"1"
    assert found["dir/X"][1] == b"2"


def test_names_of_one_file_one_behind_the_other(tmp_path):
    made = tar(
        file("f", b"x"), *(hard(f"h{number}", f"h{number - 1}" if number else "f") for number in range(99))
    )
    found = read(tmp_path, made)
    assert {entry.target for path, (entry, _) in found.items() if path.startswith("h")} == {"f"}


def test_what_a_publisher_may_give_to_root(tmp_path):
    """Devices, set-user-id programs, other owners: they are the publisher's business, and kept."""
    found = read(
        tmp_path,
        tar(
            file("su", mode=0o6755, uid=0, gid=42),
            special("kmem", tarfile.CHRTYPE, devmajor=1, devminor=2, mode=0o640, gid=9),
        ),
    )
    assert (found["su"][0].mode, found["su"][0].gid) == (0o6755, 42)
    assert (found["kmem"][0].device, found["kmem"][0].mode) == (os.makedev(1, 2), 0o640)


def test_nothing_but_the_end(tmp_path):
    assert read(tmp_path, END).keys() == {""}
