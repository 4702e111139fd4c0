"""Extended attributes and ACLs of tar archives, in each form that somebody writes."""

import struct

import pytest

from images.sources import acl
from tests.unit.made_archives import file, folder, read, tar

UNDEFINED = 0xFFFFFFFF

CAPABILITY = "\1\0\0\2" + "\0" * 16


def test_attributes_of_star_and_libarchive(tmp_path):
    value = bytes(range(256)) + b"\n=\n"
    text = value.decode("utf-8", "surrogateescape")
    found = read(
        tmp_path,
        tar(
            file(
                "a",
                pax={"SCHILY.xattr.user.x%3Dy%253D": text, "SCHILY.xattr.security.capability": CAPABILITY},
            ),
            file("b", pax={"LIBARCHIVE.xattr.user.caf%C3%A9": "AP8", "LIBARCHIVE.xattr.user.p": "AA=="}),
            file("c", pax={"LIBARCHIVE.xattr.user.x": "AP8", "SCHILY.xattr.user.x": "star"}),
        ),
    )
    assert found["a"][0].xattrs == (("security.capability", CAPABILITY.encode()), ("user.x=y%3D", value))
    assert found["b"][0].xattrs == (("user.café", b"\0\xff"), ("user.p", b"\0"))
    assert found["c"][0].xattrs == (("user.x", b"star"),)


@pytest.mark.parametrize(
    "name", ["security.selinux", "security.evm", "trusted.overlay.opaque", "system.nfs4_acl", "com.apple.x"]
)
def test_attributes_of_one_machine_are_left_out(tmp_path, name):
    assert read(tmp_path, tar(file("a", pax={f"SCHILY.xattr.{name}": "x"})))["a"][0].xattrs == ()


def packed_acl(*items):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *item) for item in items)


NAMED_ACL = packed_acl(
    (1, 7, UNDEFINED),
    (2, 6, 0),
    (2, 5, 33),
    (4, 4, UNDEFINED),
    (8, 1, 7),
    (16, 7, UNDEFINED),
    (32, 0, UNDEFINED),
)


@pytest.mark.parametrize(
    "text",
    [
        "user::rwx\nuser:33:r-x\nuser:0:rw-\ngroup::r--\ngroup:7:--x\nmask::rwx\nother::---\n",
        "user::rwx,user:www-data:r-x:33,user:root:rw-:0,group::r--,group:x:--x:7,mask::rwx,other::---",
        "u::rwx,u:www-data:rx,u:root:rw,g::r,g:lp:x\t#effective:--x,m:rwx,o:-",
    ],
    ids=["numbers", "star", "names"],
)
def test_acls_in_text_become_those_of_linux(tmp_path, text):
    made = tar(
        folder("d", pax={"SCHILY.acl.access": text, "SCHILY.acl.default": "user::rwx,group::r-x,other::r-x"}),
        file("etc/passwd", b"root:x:0:0:::\nwww-data:x:33:33:::\n"),
        file("etc/group", b"root:x:0:\nlp:x:7:\n"),
    )
    default = packed_acl((1, 7, UNDEFINED), (4, 5, UNDEFINED), (32, 5, UNDEFINED))
    expected = (("system.posix_acl_access", NAMED_ACL), ("system.posix_acl_default", default))
    assert read(tmp_path, made)["d"][0].xattrs == expected


def test_acls_in_bytes_are_believed_rather_than_in_text(tmp_path):
    binary = NAMED_ACL.decode("utf-8", "surrogateescape")
    records = {"SCHILY.xattr.system.posix_acl_access": binary, "SCHILY.acl.access": "user:eve:rwx"}
    found = read(tmp_path, tar(folder("d", pax=records)))
    assert found["d"][0].xattrs == (("system.posix_acl_access", NAMED_ACL),)


def test_acls_are_those_of_the_later_of_one_name(tmp_path):
    found = read(
        tmp_path, tar(folder("d", pax={"SCHILY.acl.access": "u::r,u:7:r,g::r,m::r,o::r"}), folder("d"))
    )
    assert found["d"][0].xattrs == ()


def test_an_acl_that_says_what_the_mode_says_is_none(tmp_path):
    made = tar(file("a", pax={"SCHILY.acl.access": "user::rw-\ngroup::r--\nother::r--\n"}))
    assert read(tmp_path, made)["a"][0].xattrs == ()


def test_the_mode_is_what_the_acl_makes_of_it(tmp_path):
    """Else a node would set the one and then the other, and neither would be as the image says."""
    text = "u::rwx,u:5:rwx,g::r,m:rw,o::x"
    raw = acl.from_text(text, lambda *_: None).decode("utf-8", "surrogateescape")
    made = tar(
        file("text", mode=0o4740, pax={"SCHILY.acl.access": text}),
        file("raw", mode=0o4740, pax={"SCHILY.xattr.system.posix_acl_access": raw}),
    )
    found = read(tmp_path, made)
    assert [found[name][0].mode for name in ("text", "raw")] == [0o4761, 0o4761]
