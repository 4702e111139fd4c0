"""Tar archives as sources: what comes out of sound ones. Hostile ones are in test_attack_archives.py."""

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from images.entries import Entry, Kind
from images.sources import folder as folder_source
from images.sources.archive import ArchiveSource
from images.sources.base import NotAnImage
from images.sources.folder import FolderSource
from tests.unit.made_archives import contents, file, folder, hard, info, link, padded, read, special, tar

MADE_UP = Entry("", Kind.FOLDER, 0o755, 0, 0, 0)


def opened(tmp_path, data):
    path = tmp_path / "archive"
    path.write_bytes(data)
    return ArchiveSource(path)


def entries(found):
    return {path: entry for path, (entry, _) in found.items()}


def test_every_kind(tmp_path):
    found = read(
        tmp_path,
        tar(
            folder("./", mode=0o711, mtime=7),
            folder("./a/", mode=0o1777, uid=1, gid=2, mtime=3),
            file("./a/file", b"data", mode=0o6755, uid=70000, gid=80000, mtime=-5),
            link("./a/link", "/etc/../x"),
            hard("./a/other", "./a/file"),
            special("a/tty", tarfile.CHRTYPE, devmajor=5, devminor=300),
            special("a/disk", tarfile.BLKTYPE, devmajor=259, devminor=1),
            special("a/pipe", tarfile.FIFOTYPE, mode=0),
        ),
    )
    assert found == {
        "": (Entry("", Kind.FOLDER, 0o711, 0, 0, 7 * 10**9), b""),
        "a": (Entry("", Kind.FOLDER, 0o1777, 1, 2, 3 * 10**9), b""),
        "a/file": (Entry("", Kind.FILE, 0o6755, 70000, 80000, -5 * 10**9, size=4), b"data"),
        "a/link": (Entry("", Kind.LINK, 0o644, 0, 0, 0, target="/etc/../x"), b""),
        "a/other": (Entry("", Kind.HARD, 0o6755, 70000, 80000, -5 * 10**9, target="a/file"), b""),
        "a/tty": (Entry("", Kind.CHARACTER, 0o644, 0, 0, 0, device=os.makedev(5, 300)), b""),
        "a/disk": (Entry("", Kind.BLOCK, 0o644, 0, 0, 0, device=os.makedev(259, 1)), b""),
        "a/pipe": (Entry("", Kind.PIPE, 0, 0, 0, 0), b""),
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_headers(tmp_path, form):
    long = "/".join(["n" * 60] * 3)
    made = tar(folder("d"), file(long, b"x" * 513), file("/absolute"), form=form)
    assert set(read(tmp_path, made)) >= {"", "d", long, "absolute"}


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
@pytest.mark.parametrize("streams", [1, 2])
def test_every_compression_also_in_several_streams(tmp_path, compress, streams):
    data = os.urandom(3000) + bytes(3_000_000)
    made = tar(file("a", data), file("b", b"b"))
    cut = len(made) // streams
    packed = b"".join(compress(made[at : at + cut]) for at in range(0, len(made), cut))
    found = read(tmp_path, packed)
    assert found["a"][1] == data
    assert found["b"][1] == b"b"
    assert read(tmp_path, packed + bytes(100)) == found


def test_zstd_frames_that_are_skipped(tmp_path):
    skipped = struct.pack("<II", 0x184D2A53, 3) + b"abc"
    packed = skipped + zstandard.compress(tar(file("a", b"x"))) + skipped
    assert read(tmp_path, packed)["a"][1] == b"x"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1795259094.468405402", 1795259094468405402),
        ("1795259094", 1795259094 * 10**9),
        ("1795259094.", 1795259094 * 10**9),
        ("0.9999999999999999999999999999999999", 999999999),
        ("-1.5", -1_500_000_000),
        ("-0.000000001", -1),
        ("-0.0000000001", -1),
        ("-0", 0),
    ],
)
def test_times_are_exact(tmp_path, text, nanoseconds):
    found = read(tmp_path, tar(file("a", pax={"mtime": text})))
    assert found["a"][0].mtime_ns == nanoseconds


def test_names_that_are_no_utf8_come_back(tmp_path):
    name = os.fsdecode(b"caf\xe9/\xff")
    found = read(tmp_path, tar(file(name, b"1"), link("l", name), hard("h" * 200, name)))
    assert found[name][1] == b"1"
    assert found["l"][0].target == name
    assert found["h" * 200][0].target == name


def test_folders_that_nobody_named_are_made_up(tmp_path):
    found = entries(read(tmp_path, tar(file("a/b/c"), folder("a", mode=0o700, mtime=5))))
    assert found[""] == MADE_UP
    assert found["a/b"] == MADE_UP
    assert found["a"] == Entry("", Kind.FOLDER, 0o700, 0, 0, 5 * 10**9)


def test_as_a_layer_they_are_not_told(tmp_path):
    with opened(tmp_path, tar(file("a/b/c"), hard("h", "elsewhere"))) as source:
        assert [member.entry.path for member in source.layer()] == ["a/b/c", "h"]
        with pytest.raises(NotAnImage, match="'h': a hard link to 'elsewhere'"):
            list(source.members())


def test_the_later_of_one_name_wins(tmp_path):
    made = tar(
        file("a", b"first"),
        file("./a", b"second"),
        folder("d", mode=0o700),
        file("d/x", b"x"),
        folder("d/", mode=0o750),
        file("f"),
        folder("f"),
        folder("g"),
        file("g", b"g"),
    )
    found = read(tmp_path, made)
    assert found["a"][1] == b"second"
    assert found["d"][0].mode == 0o750
    assert found["d/x"][1] == b"x"
    assert found["f"][0].kind is Kind.FOLDER
    assert found["g"][1] == b"g"


def test_hard_links_lead_to_what_was_there_when_they_were_made(tmp_path):
    made = tar(
        file("m", b"old"), hard("z", "m"), hard("b", "z"), file("m", b"new"), hard("m2", "m2/../m"[5:])
    )
    found = read(tmp_path, made)
    assert found["b"] == (Entry("", Kind.FILE, 0o644, 0, 0, 0, size=3), b"old")
    assert found["z"][0].target == "b"
    assert found["m"][1] == b"new"
    assert found["m2"][0].target == "m"


def test_hard_links_to_other_than_files_are_others_of_their_kind(tmp_path):
    made = tar(link("a", "x"), hard("b", "a"), special("c", tarfile.FIFOTYPE), hard("d", "c"))
    found = read(tmp_path, made)
    assert found["b"] == found["a"]
    assert found["d"] == found["c"]


def old_gnu_sparse(name, size, parts):
    """A member as GNU tar wrote it before pax, with the data of `parts` of the letter x."""
    header = bytearray(
        info(name, tarfile.GNUTYPE_SPARSE, size=sum(n for _, n in parts)).tobuf(tarfile.GNU_FORMAT)
    )
    blocks = [parts[:4]] + [parts[at : at + 21] for at in range(4, len(parts), 21)]
    packed = [b"".join(b"%011o\0%011o\0" % part for part in block) for block in blocks]
    header[386 : 386 + len(packed[0])] = packed[0]
    header[482] = len(blocks) > 1
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = b"".join(
        block.ljust(504, b"\0") + bytes([number < len(packed) - 1]) + bytes(7)
        for number, block in enumerate(packed[1:], 1)
    )
    return bytes(header) + more + padded(b"x" * sum(n for _, n in parts))


SPARSE = [(number * 4096, 512) for number in range(30)] + [(200_000, 0)]


def sparse_members():
    data = b"x" * 512 * 30
    numbers = [str(number) for part in SPARSE for number in part]
    table = padded("".join(f"{number}\n" for number in [len(SPARSE), *numbers]).encode())
    yield "old", old_gnu_sparse("s", 200_000, SPARSE[:-1]) + bytes(1024)
    yield (
        "0.1",
        tar(file("s", data, pax={"GNU.sparse.size": "200000", "GNU.sparse.map": ",".join(numbers)})),
    )
    yield (
        "1.0",
        tar(
            file(
                "GNUSparseFile.0/s",
                table + data,
                pax={
                    "GNU.sparse.major": "1",
                    "GNU.sparse.minor": "0",
                    "GNU.sparse.name": "s",
                    "GNU.sparse.realsize": "200000",
                },
            )
        ),
    )


@pytest.mark.parametrize("made", [pytest.param(made, id=name) for name, made in sparse_members()])
def test_sparse_files_have_holes(tmp_path, made):
    entry, data = read(tmp_path, made)["s"]
    assert entry.size == 200_000
    assert entry.holes == (
        *((number * 4096 + 512, 3584) for number in range(29)),
        (29 * 4096 + 512, 200_000 - 29 * 4096 - 512),
    )
    assert data == b"x" * 512 * 30


def test_records_of_all_members_are_each_ones(tmp_path):
    made = tar(file("a"), file("b", pax={"mtime": "9"}))
    globally = tarfile.TarInfo.create_pax_global_header({"mtime": "5.5", "comment": "c"})
    found = read(tmp_path, globally + made)
    assert found["a"][0].mtime_ns == 5_500_000_000
    assert found["b"][0].mtime_ns == 9_000_000_000


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
METADATA = st.fixed_dictionaries(
    {
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 2**32 - 2),
        "gid": st.integers(0, 2**32 - 2),
        "mtime_ns": st.integers(-(2**40), 2**33 * 10**9),
        "xattrs": st.dictionaries(
            st.just("user.").flatmap(lambda p: NAMES.map(p.__add__)), st.binary(max_size=30)
        ),
    }
)
LEAVES = st.one_of(
    st.tuples(st.just(Kind.FILE), st.binary(max_size=1500)),
    st.tuples(st.just(Kind.LINK), NAMES),
    st.tuples(st.just(Kind.PIPE), st.none()),
    st.tuples(st.just(Kind.CHARACTER), st.integers(0, 255)),
)
TREES = st.recursive(
    st.tuples(METADATA, LEAVES),
    lambda inner: st.tuples(
        METADATA, st.tuples(st.just(Kind.FOLDER), st.dictionaries(NAMES, inner, max_size=4))
    ),
    max_leaves=8,
)
TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.PIPE: tarfile.FIFOTYPE,
    Kind.CHARACTER: tarfile.CHRTYPE,
    Kind.FOLDER: tarfile.DIRTYPE,
}


def flattened(path, tree):
    """Yield a member and what is to come of it for everything in a drawn tree."""
    metadata, (kind, value) = tree
    attributes = metadata["xattrs"] if kind in (Kind.FILE, Kind.FOLDER) else {}
    whole, part = divmod(abs(metadata["mtime_ns"]), 10**9)
    records = {"mtime": f"{'-' * (metadata['mtime_ns'] < 0)}{whole}.{part:09}"}
    for name, content in attributes.items():
        key = "SCHILY.xattr." + name.replace("%", "%25").replace("=", "%3D")
        records[key] = content.decode("utf-8", "surrogateescape")
    data = value if kind is Kind.FILE else b""
    header = info(path, TYPES[kind], size=len(data), pax=records)
    entry = {"size": len(data), "xattrs": tuple(sorted(attributes.items()))}
    for name in ("mode", "uid", "gid"):
        entry[name] = metadata[name]
        setattr(header, name, metadata[name])
    if kind is Kind.LINK:
        header.linkname = entry["target"] = value
    if kind is Kind.CHARACTER:
        header.devmajor, header.devminor = 1, value
        entry["device"] = os.makedev(1, value)
    yield (header, data), (path, Entry("", kind, mtime_ns=metadata["mtime_ns"], **entry), data)
    if kind is Kind.FOLDER:
        for name, inner in value.items():
            yield from flattened(f"{path}/{name}", inner)


@settings(max_examples=20)
@given(trees=st.dictionaries(NAMES, TREES, max_size=3))
def test_any_tree_comes_back(tmp_path_factory, trees):
    made = [both for name, tree in trees.items() for both in flattened(name, tree)]
    data = tar(*(member for member, _ in made))
    found = read(tmp_path_factory.mktemp("any"), data)
    del found[""]
    assert found == {path: (entry, content) for _, (path, entry, content) in made}


def test_a_time_that_no_node_can_set_is_refused_in_a_folder_too(tmp_path, monkeypatch):
    # Beneath the test is a file system that may not hold such a time either.
    (tmp_path / "late").touch()
    os.utime(tmp_path / "late", (0, 2**33))
    os.utime(tmp_path, (0, 0))
    assert contents(FolderSource(tmp_path).members())["late"][0].mtime_ns == 2**33 * 10**9
    monkeypatch.setattr(folder_source, "TIMES_NS", range(2**33 * 10**9))
    with pytest.raises(NotAnImage, match="'late': the time 8589934592"):
        contents(FolderSource(tmp_path).members())


def test_a_folder_comes_as_it_lies_there(tmp_path):
    tree = tmp_path / "tree"
    (tree / "b" / "c").mkdir(parents=True)
    (tree / "b" / "file").write_bytes(b"data")
    (tree / "b" / "file").chmod(0o640)
    (tree / "a").hardlink_to(tree / "b" / "file")
    (tree / "link").symlink_to("/nowhere")
    os.mkfifo(tree / "pipe", 0o600)
    with (tree / "sparse").open("wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(1024 * 1024)
        sparse.write(b"end")
        sparse.truncate(2 * 1024 * 1024)
    os.utime(tree / "a", ns=(0, -5))
    found = contents(FolderSource(tree).members())
    assert {path: entry.kind for path, (entry, _) in found.items()} == {
        "": Kind.FOLDER,
        "a": Kind.FILE,
        "b": Kind.FOLDER,
        "b/c": Kind.FOLDER,
        "b/file": Kind.HARD,
        "link": Kind.LINK,
        "pipe": Kind.PIPE,
        "sparse": Kind.FILE,
    }
    me = (os.geteuid(), os.getegid())
    assert found["a"] == (Entry("", Kind.FILE, 0o640, *me, -5, size=4), b"data")
    assert found["b/file"][0].target == "a"
    assert found["link"][0].target == "/nowhere"
    assert found["pipe"][0].mode == 0o600
    assert stat.S_IMODE(tree.stat().st_mode) == found[""][0].mode
    entry, data = found["sparse"]
    assert entry.size == 2 * 1024 * 1024
    assert data.rstrip(b"\0").startswith(b"begin")
    assert data.rstrip(b"\0").endswith(b"end")
    assert len(data) == sum(length for _, length in entry.data) < entry.size
