"""Sources against GNU tar: what it archives of a tree, in any format, is what FolderSource says of it."""

import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from images.entries import Kind
from images.sources.base import NotAnImage
from images.sources.detect import open_source
from images.sources.folder import FolderSource
from tests.host.image_server import ext4

pytestmark = pytest.mark.host

MIB = 1024 * 1024
UNDEFINED = 0xFFFFFFFF
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACCESS = acl(
    (1, 7, UNDEFINED), (2, 6, 61234), (4, 5, UNDEFINED), (8, 4, 4), (16, 7, UNDEFINED), (32, 0, UNDEFINED)
)
DEFAULT = acl((1, 7, UNDEFINED), (4, 5, UNDEFINED), (32, 5, UNDEFINED))
# What GNU tar can read back of a time depends on the format.
SPARSE = {
    "begin": [(0, b"x" * 5000)],
    "middle": [(MIB, b"x" * 8192)],
    "end": [(0, b"x"), (2 * MIB - 1, b"x")],
    "nothing": [],
    "many": [(number * 16384, b"%04d" % number * 1024) for number in range(60)],
    "odd": [(3 * 4096, b"x" * 4096), (5 * 4096 + 100, b"y" * 10)],
}


def make_tree(root):
    """Everything that a file system can hold."""
    for folder in ("usr/lib", "usr/bin", "etc", "dev", "run", "var/log/journal", "tmp", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:61234:61234:::\n")
    (root / "etc/group").write_text("root:x:0:\nadm:x:4:\n")
    (root / "etc/shadow").write_text("root:*:::::::\n")
    (root / "etc/shadow").chmod(0o640)
    os.chown(root / "etc/shadow", 0, 42)
    (root / "usr/bin/su").write_bytes(os.urandom(70_000))
    (root / "usr/bin/su").chmod(0o4755)
    (root / "usr/bin/ping").write_bytes(b"ping")
    os.setxattr(root / "usr/bin/ping", "security.capability", CAPABILITY)
    os.setxattr(root / "etc/passwd", "user.a=b%3D\xe9", bytes(range(256)))
    os.setxattr(root / "etc/passwd", "user.none", b"")
    os.setxattr(root / "etc/passwd", "trusted.overlay.origin", b"x")
    os.setxattr(root / "usr", "user.folder", b"\n")
    (root / "var/log/journal/x").write_bytes(b"x")
    os.setxattr(root / "var/log/journal", "system.posix_acl_default", DEFAULT)
    os.setxattr(root / "var/log/journal", "system.posix_acl_access", ACCESS)
    os.setxattr(root / "var/log/journal/x", "system.posix_acl_access", ACCESS)
    (root / "usr/lib/a").write_bytes(b"several names")
    (root / "etc/0").hardlink_to(root / "usr/lib/a")
    (root / "usr/lib/z").hardlink_to(root / "usr/lib/a")
    os.link(root / "lib", root / "lib64", follow_symlinks=False)
    os.mknod(root / "dev/console", 0o20600, os.makedev(5, 1))
    os.mknod(root / "dev/disk", 0o60660, os.makedev(259, 70000))
    os.mkfifo(root / "run/pipe", 0o620)
    (root / os.fsdecode(b"caf\xe9 \xff\n'\\ ")).write_bytes(b"")
    deep = root / "deep" / "/".join(["n" * 200] * 4)
    deep.mkdir(parents=True)
    (deep / ("f" * 255)).write_bytes(b"deep")
    (deep / "link").symlink_to("/" + "t" * 3000)
    for name, parts in SPARSE.items():
        with (root / f"tmp/{name}").open("wb") as file:
            file.truncate(2 * MIB)
            for offset, data in parts:
                file.seek(offset)
                file.write(data)
    os.sync()
    os.utime(root / "etc/group", ns=(0, -1_500_000_001))
    os.utime(root / "empty", ns=(0, 2**33 * 10**9 + 1))
    os.utime(root / "lib", ns=(0, 5), follow_symlinks=False)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources") / "tree"
    root.mkdir()
    return make_tree(root)


def archive(tree, path, *options):
    subprocess.run(["tar", "--create", f"--file={path}", f"--directory={tree}", *options, "."], check=True)
    return path


def told(source):
    """Every member with its data's hash, by path."""
    found = {}
    for member in source.members():
        assert member.entry.path not in found
        size, digest = 0, hashlib.sha256()
        for piece in member.read():
            size += len(piece)
            digest.update(piece)
        assert size == sum(length for _, length in member.entry.data)
        found[member.entry.path] = replace(member.entry, sha256=digest.hexdigest())
    return found


def read(path):
    with open_source(path) as source:
        return told(source)


PAX = ("--format=pax", "--sparse", "--xattrs", "--xattrs-include=*", "--acls", "--selinux")


@pytest.mark.parametrize("compression", ["--no-auto-compress", "--gzip", "--bzip2", "--xz", "--zstd"])
def test_what_tar_archives_is_what_lies_there(tree, tmp_path, compression):
    expected = told(FolderSource(tree))
    assert read(archive(tree, tmp_path / "archive", *PAX, compression)) == expected
    assert len(expected) == sum(len(names) + len(files) for _, names, files in os.walk(tree)) + 1
    assert [path for path, entry in expected.items() if entry.kind is Kind.HARD] == ["usr/lib/a", "usr/lib/z"]
    assert dict(expected["var/log/journal"].xattrs) == {
        "system.posix_acl_access": ACCESS,
        "system.posix_acl_default": DEFAULT,
    }
    assert expected["usr/bin/ping"].xattrs == (("security.capability", CAPABILITY),)
    assert expected["etc/group"].mtime_ns == -1_500_000_001


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_every_way_to_archive_holes(tree, tmp_path, version):
    expected = told(FolderSource(tree / "tmp"))
    found = read(archive(tree / "tmp", tmp_path / "archive", *PAX, f"--sparse-version={version}"))
    assert found == expected
    assert expected["nothing"].holes == ((0, 2 * MIB),)
    assert len(expected["many"].holes) == 60


def in_whole_seconds(entries):
    return {
        path: replace(entry, mtime_ns=entry.mtime_ns // 10**9 * 10**9, xattrs=())
        for path, entry in entries.items()
    }


def test_the_format_before_pax(tree, tmp_path):
    found = read(archive(tree, tmp_path / "archive", "--format=gnu", "--sparse"))
    assert found == in_whole_seconds(told(FolderSource(tree)))


def test_acls_by_names_alone(tree, tmp_path):
    # tar asks this machine for names, which may have others for the numbers than the tree has, or none.
    found = read(archive(tree, tmp_path / "archive", "--format=pax", "--acls", "--numeric-owner"))
    assert dict(found["var/log/journal"].xattrs)["system.posix_acl_default"] == DEFAULT


def as_nobody(work):
    """What `work` returns in a process without root's rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writer, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told_by_it:
        return told_by_it.read()


@pytest.fixture
def public():
    """A folder that everybody may look into, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


def test_without_root_it_is_the_same(public):
    (public / "file").write_bytes(b"data")
    for name in ("user.x", "security.capability", "trusted.x"):
        os.setxattr(public / "file", name, CAPABILITY)
    readable = ACCESS[:-6] + b"\4\0" + ACCESS[-4:]
    os.setxattr(public / "file", "system.posix_acl_access", readable)
    expected = told(FolderSource(public))
    assert len(expected["file"].xattrs) == 3
    assert as_nobody(lambda: told(FolderSource(public))) == repr(expected)


def test_what_cannot_be_read_is_named(public):
    (public / "secret").write_bytes(b"x")
    (public / "secret").chmod(0)

    def attempt():
        with pytest.raises(NotAnImage) as caught:
            told(FolderSource(public))
        return caught.value.detail

    assert "'secret': Permission denied" in as_nobody(attempt)
    (public / "secret").unlink()
    (public / "folder").mkdir(mode=0o700)
    assert "'folder': Permission denied" in as_nobody(attempt)


def test_sockets_are_left_out(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        assert list(told(FolderSource(tmp_path))) == [""]


def test_what_is_mounted_below_belongs_to_the_tree(tmp_path):
    with ext4(tmp_path, 16) as mounted:
        (mounted / "x").write_bytes(b"x")
        assert "medium/x" in told(FolderSource(tmp_path))


def change(path):
    path.write_bytes(b"other")


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path):
    path.unlink()
    path.symlink_to("/etc/shadow")


@pytest.mark.parametrize("harm", [change, grow, Path.unlink, replace_by_pipe, replace_by_link])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changes_is_refused_by_name(tmp_path, harm, when):
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))
    members = {member.entry.path: member for member in FolderSource(tmp_path).members()}
    pieces = members["file"].read()
    if when == "while":
        next(pieces)
    harm(path)
    with pytest.raises(NotAnImage, match="'file'"):
        # What is there instead is not even begun with, because it may be a device.
        next(pieces) if when == "before" else list(pieces)


def test_a_system_of_a_layout_made_by_hand(tree, tmp_path):
    """Two layers, one of gzip and one of zstd, over one another, as a folder and as an archive."""
    layout = tmp_path / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(data)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    upper = io.BytesIO()
    with tarfile.open(fileobj=upper, mode="w") as made:
        for name in ("etc/.wh.shadow", "deep/.wh..wh..opq", "deep/new", ".wh.tmp"):
            made.addfile(tarfile.TarInfo(name))
    (tmp_path / "upper").write_bytes(upper.getvalue())
    subprocess.run(["zstd", "-q", str(tmp_path / "upper")], check=True)
    lower = archive(tree, tmp_path / "lower", *PAX, "--gzip").read_bytes()
    layers = [
        blob(lower, "layer.v1.tar+gzip"),
        blob((tmp_path / "upper.zst").read_bytes(), "layer.v1.tar+zstd"),
    ]
    manifest = blob(
        json.dumps({"layers": layers, "config": blob(b"{}", "config.v1+json")}).encode(), "manifest.v1+json"
    )
    (layout / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    found = read(layout)
    expected = {
        path: entry
        for path, entry in told(FolderSource(tree)).items()
        if path.split("/")[0] != "tmp" and not path.startswith("deep/") and path != "etc/shadow"
    }
    new = found.pop("deep/new")
    assert new.kind is Kind.FILE
    assert found == expected
    assert read(archive(layout, tmp_path / "layout.tar")) == {**expected, "deep/new": new}
