"""Sources over one another, and OCI images, which are made of layers."""

import gzip
import hashlib
import json
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from images.entries import Entry, Kind
from images.sources.archive import ArchiveSource
from images.sources.base import Member, NotAnImage
from images.sources.detect import open_source
from images.sources.folder import FolderSource
from images.sources.layers import LayeredSource
from tests.unit.made_archives import contents, file, folder, hard, link, special, tar


def layers(tmp_path, *archives, **options):
    with ExitStack() as stack:
        sources = []
        for number, members in enumerate(archives):
            path = tmp_path / f"layer{number}"
            path.write_bytes(tar(*members))
            sources.append(stack.enter_context(ArchiveSource(path)))
        return contents(LayeredSource(sources, **options).members())


def kinds(found):
    return {path: entry.kind.value for path, (entry, _) in found.items() if path}


MERGED = [
    folder("usr", mode=0o750),
    folder("usr/lib", mode=0o711),
    file("usr/lib/old", b"old"),
    link("lib", "usr/lib"),
]


def test_a_folder_over_a_link_to_a_folder_goes_where_the_link_leads(tmp_path):
    found = layers(tmp_path, MERGED, [folder("lib", mode=0o777), file("lib/x", b"x"), hard("y", "lib/x")])
    assert kinds(found) == {
        "lib": "l",
        "usr": "d",
        "usr/lib": "d",
        "usr/lib/old": "f",
        "usr/lib/x": "f",
        "y": "h",
    }
    assert found["usr/lib"][0].mode == 0o711
    assert found["usr/lib/x"][1] == b"x"
    assert found["y"][0].target == "usr/lib/x"


@pytest.mark.parametrize("target", ["/usr/lib", "../../usr/lib", "usr/../lib2", "./usr//lib/"])
def test_links_lead_within_the_tree_only(tmp_path, target):
    lower = [*MERGED[:-1], link("lib2", "usr/lib"), link("lib", target)]
    found = layers(tmp_path, lower, [file("lib/x", b"x")])
    assert "usr/lib/x" in found
    assert found["lib"][0].target == target


@pytest.mark.parametrize("target", ["/etc", "gone", "lib", "f"])
def test_a_folder_over_a_link_to_anything_else_replaces_it(tmp_path, target):
    found = layers(tmp_path, [link("lib", target), file("f")], [folder("lib"), file("lib/x")])
    assert kinds(found) == {"f": "f", "lib": "d", "lib/x": "f"}


@pytest.mark.parametrize("target", ["l", "m", "f", "f/x"])
def test_below_a_link_that_leads_to_no_folder(tmp_path, target):
    with pytest.raises(NotAnImage, match="'l/x'"):
        layers(tmp_path, [link("l", target), link("m", "l"), file("f")], [file("l/x")])


def test_links_that_lead_on_and_on(tmp_path):
    links = [link(f"l{number}", f"l{number + 1}") for number in range(50)]
    with pytest.raises(NotAnImage, match="too many"):
        layers(tmp_path, [*links, folder("l50")], [file("l0/x")])
    assert "l50/x" in layers(tmp_path, [*links, folder("l50")], [file("l20/x")])


def test_the_later_replaces_the_earlier(tmp_path):
    found = layers(
        tmp_path,
        [
            file("f", b"old"),
            hard("g", "f"),
            folder("d", mode=0o700),
            file("d/x", b"x"),
            file("t"),
            link("l", "/"),
        ],
        [file("f", b"new"), folder("d", mode=0o750), folder("t"), file("l")],
        [special("d/x", tarfile.FIFOTYPE)],
    )
    assert kinds(found) == {"f": "f", "g": "f", "d": "d", "d/x": "p", "t": "d", "l": "f"}
    assert (found["f"][1], found["g"][1]) == (b"new", b"old")
    assert found["d"][0].mode == 0o750


def test_a_file_replaces_a_folder_and_what_is_in_it(tmp_path):
    assert kinds(layers(tmp_path, [file("d/e/x")], [file("d")])) == {"d": "f"}


def test_folders_that_a_layer_does_not_name_stay_as_they_are(tmp_path):
    found = layers(tmp_path, [folder(".", mode=0o711), folder("etc", mode=0o750, mtime=9)], [file("etc/x")])
    assert found[""][0].mode == 0o711
    assert (found["etc"][0].mode, found["etc"][0].mtime_ns) == (0o750, 9 * 10**9)


def test_a_folder_of_this_machine_over_an_archive(tmp_path):
    (tmp_path / "tree" / "lib").mkdir(parents=True)
    (tmp_path / "tree" / "lib" / "a").write_bytes(b"a")
    (tmp_path / "tree" / "lib" / "b").hardlink_to(tmp_path / "tree" / "lib" / "a")
    lower = tmp_path / "lower"
    lower.write_bytes(tar(*MERGED))
    with open_source(lower) as below, open_source(tmp_path / "tree") as above:
        found = contents(LayeredSource([below, above]).members())
    assert found["usr/lib/a"][1] == b"a"
    assert found["usr/lib/b"][0].target == "usr/lib/a"


def test_hard_links_to_a_lower_layer(tmp_path):
    found = layers(tmp_path, [file("a", b"a"), link("s", "x")], [hard("0", "a"), hard("t", "s")])
    assert (found["0"][1], found["a"][0].target) == (b"a", "0")
    assert found["t"][0].kind is Kind.LINK
    for target in ("gone", "d", "a/x"):
        with pytest.raises(NotAnImage, match=f"'h': a hard link to '{target}'"):
            layers(tmp_path, [file("a"), folder("d")], [hard("h", target)])


class Listed:
    """A source that gives its members in an order of its own."""

    def __init__(self, *members):
        self._members = members

    def members(self):
        return iter(self._members)


def test_the_order_of_members_does_not_matter():
    fields = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 0}
    below, hard_link = Entry("d/x", Kind.FILE, **fields), Entry("a", Kind.HARD, target="d/x", **fields)
    upper = Listed(Member(hard_link), Member(below), Member(Entry("d", Kind.FOLDER, **fields)))
    found = contents(LayeredSource([Listed(Member(Entry("d", Kind.FILE, **fields))), upper]).members())
    assert kinds(found) == {"a": "f", "d": "d", "d/x": "h"}


def test_absolute_links_lead_to_the_root_of_the_tree(tmp_path):
    found = layers(tmp_path, [folder("a/b"), folder("b"), link("a/l", "/b")], [file("a/l/x")])
    assert "b/x" in found


def test_whiteouts(tmp_path):
    found = layers(
        tmp_path,
        [file("a"), file("b"), file("d/x"), file("d/y"), file("e/x"), file("e/f/x"), file("g/x")],
        [
            file(".wh.a"),
            file("b"),
            file(".wh.b"),
            file("d/.wh.x"),
            file("e/.wh..wh..opq"),
            file("e/new"),
            file(".wh.g"),
            file(".wh.never"),
            file("nowhere/.wh.x"),
            file(".wh..wh.plnk/1.2"),
        ],
        whiteouts=True,
    )
    assert kinds(found) == {"b": "f", "d": "d", "d/y": "f", "e": "d", "e/new": "f"}


def test_whiteouts_are_files_where_they_mean_nothing(tmp_path):
    assert kinds(layers(tmp_path, [file("a")], [file(".wh.a")])) == {"a": "f", ".wh.a": "f"}


def test_in_oci_a_folder_replaces_a_link(tmp_path):
    found = layers(tmp_path, MERGED, [folder("lib"), file("lib/x")], whiteouts=True)
    assert kinds(found) == {"lib": "d", "lib/x": "f", "usr": "d", "usr/lib": "d", "usr/lib/old": "f"}


@pytest.mark.parametrize("name", [".wh.", "d/.wh..", "d/.wh...", ".wh.a/x", ".wh.a/.wh.b"])
def test_whiteouts_of_nothing(tmp_path, name):
    with pytest.raises(NotAnImage, match="to remove"):
        layers(tmp_path, [file("d/x")], [file(name)], whiteouts=True)


# --- OCI ---

OCI = "application/vnd.oci.image"
LOWER = tar(folder("etc", mode=0o700), file("etc/a", b"a"), file("etc/b", b"b"))
UPPER = tar(file("etc/.wh.a"), file("c", b"c"), hard("b", "etc/b"))
RESULT = {"etc": "d", "etc/b": "h", "b": "f", "c": "f"}


class Image:
    """The files of an OCI layout."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.layers = [
            self.blob(gzip.compress(LOWER), f"{OCI}.layer.v1.tar+gzip"),
            self.blob(zstandard.compress(UPPER), f"{OCI}.layer.v1.tar+zstd"),
        ]

    def blob(self, data, media_type, **more):
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def json(self, value, media_type, **more):
        return self.blob(json.dumps(value).encode(), media_type, **more)

    def manifest(self, layers=None, **more):
        config = self.json({}, f"{OCI}.config.v1+json")
        value = {"schemaVersion": 2, "config": config, "layers": self.layers if layers is None else layers}
        return self.json(value, f"{OCI}.manifest.v1+json", **more)

    def index(self, *manifests):
        self.files["index.json"] = json.dumps({"manifests": manifests}).encode()
        return self

    def lay(self, folder):
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    def archive(self, path):
        path.write_bytes(tar(*(file(name, data) for name, data in self.files.items())))
        return path


def read(path, **options):
    with open_source(path, **options) as source:
        return contents(source.members())


def refused(path, reason, **options):
    with pytest.raises(NotAnImage, match=reason) as caught:
        read(path, **options)
    assert str(path) in caught.value.detail
    return caught.value.detail


@pytest.fixture
def image():
    return Image()


@pytest.fixture
def where(tmp_path):
    (tmp_path / "layout").mkdir()
    return tmp_path / "layout"


def platform(system, architecture):
    return {"platform": {"os": system, "architecture": architecture}}


def test_a_layout_in_a_folder(image, where):
    found = read(image.index(image.manifest()).lay(where))
    assert kinds(found) == RESULT
    assert found["etc"][0].mode == 0o700
    assert found["b"][1] == b"b"


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_layout_in_an_archive(image, tmp_path, compress):
    path = image.index(image.manifest()).archive(tmp_path / "image.tar")
    path.write_bytes(compress(path.read_bytes()))
    assert kinds(read(path)) == RESULT


def test_of_several_images_that_for_this_platform(image, where):
    other = image.manifest([], **platform("linux", "arm64"))
    this = image.manifest(**platform("linux", "amd64"))
    about = image.manifest([], **platform("unknown", "unknown"))
    index = image.json({"manifests": [about, other, this]}, f"{OCI}.index.v1+json")
    assert kinds(read(image.index(index, index).lay(where))) == RESULT


def test_one_image_beside_statements_about_it(image, where):
    this = image.manifest(**platform("linux", "arm64"))
    about = image.manifest([], **platform("unknown", "unknown"))
    assert kinds(read(image.index(this, about).lay(where))) == RESULT


def test_several_images_are_listed(image, where):
    first = image.manifest(**platform("linux", "arm64"))
    second = image.manifest([], **platform("linux", "riscv64"))
    detail = refused(image.index(first, second).lay(where), "linux/arm64, sha256:.*; linux/riscv64, sha256:")
    assert first["digest"] in detail


def test_no_image(image, where):
    refused(image.index().lay(where), "there are: none")


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_of_other_content(image, where, which):
    path = image.index(image.manifest()).lay(where)
    layer = path / "blobs/sha256" / image.layers[which]["digest"].removeprefix("sha256:")
    # Also sound, and as long: only the digest can tell.
    data = tar(file("etc/a", b"z"))
    layer.write_bytes(gzip.compress(data) if which == 0 else zstandard.compress(data))
    layer.write_bytes(layer.read_bytes().ljust(image.layers[which]["size"], b"\0"))
    refused(path, f"{image.layers[which]['digest']} (should|has other)")
    layer.unlink()
    refused(path, f"{image.layers[which]['digest']} is missing")


def test_a_manifest_of_other_content(image, where):
    manifest = image.manifest()
    path = image.index(manifest).lay(where)
    file = path / "blobs/sha256" / manifest["digest"].removeprefix("sha256:")
    file.write_bytes(file.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    refused(path, f"{manifest['digest']} has other content")


@pytest.mark.parametrize("change", [1, -1])
def test_a_blob_of_another_size(image, where, change):
    image.layers[0]["size"] += change
    refused(image.index(image.manifest()).lay(where), "should have")


@pytest.mark.parametrize(
    "kind",
    [
        f"{OCI}.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        f"{OCI}.layer.v1.tar+xz",
        "text/plain",
    ],
)
def test_layers_of_other_media_types(image, where, kind):
    image.layers[1]["mediaType"] = kind
    refused(image.index(image.manifest()).lay(where), kind.replace("+", r"\+"))


def test_a_layer_of_another_compression_than_it_says(image, where):
    image.layers[1]["mediaType"] = f"{OCI}.layer.v1.tar+gzip"
    refused(image.index(image.manifest()).lay(where), "gzip")


def test_a_layer_that_is_hostile_is_named(image, where):
    image.layers.append(image.blob(tar(file("../x")), f"{OCI}.layer.v1.tar"))
    refused(image.index(image.manifest()).lay(where), r"layer 3: '\.\./x'")


def test_layers_that_are_bombs_together(image, where):
    for number in range(3):
        image.layers.append(image.blob(tar(file("x", bytes(10**6 + number))), f"{OCI}.layer.v1.tar"))
    path = image.index(image.manifest()).lay(where)
    refused(path, "more than", limit_bytes=2 * 10**6)
    read(path, limit_bytes=4 * 10**6)


BROKEN = {
    "no JSON": ("index.json", b"{"),
    "no manifests": ("index.json", b"{}"),
    "a list": ("index.json", b"[]"),
    "manifests that are none": ("index.json", b'{"manifests": [1]}'),
    "another hash": ("index.json", b'{"manifests": [{"mediaType": "x", "digest": "md5:00", "size": 1}]}'),
    "a way out": (
        "index.json",
        b'{"manifests": [{"mediaType": "x", "digest": "sha256:../../x", "size": 1}]}',
    ),
    "a size that is true": (
        "index.json",
        b'{"manifests": [{"mediaType": "x", "digest": "sha256:%s", "size": true}]}' % (b"0" * 64),
    ),
    "deep": ("index.json", b"[" * 100_000),
    "another version": ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}'),
}


@pytest.mark.parametrize(("name", "content"), BROKEN.values(), ids=BROKEN)
def test_broken_layouts(image, where, name, content):
    image.index(image.manifest())
    image.files[name] = content
    with pytest.raises(NotAnImage):
        read(image.lay(where))


def test_indexes_in_indexes(image, where):
    index = image.manifest()
    for _ in range(5):
        index = image.json({"manifests": [index]}, f"{OCI}.index.v1+json")
    refused(image.index(index).lay(where), "index in an index")


def saved(tmp_path, **changes):
    """What `docker save` wrote, with the same layer twice: once as a link."""
    diffs = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (LOWER, UPPER, UPPER)]
    config = json.dumps({"rootfs": {"diff_ids": changes.pop("diffs", diffs)}}).encode()
    name = changes.pop("name", hashlib.sha256(config).hexdigest() + ".json")
    image = {"Config": name, "RepoTags": ["x:y"], "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}
    path = tmp_path / "saved.tar"
    path.write_bytes(
        tar(
            file(name, config),
            file("1/layer.tar", changes.pop("lower", LOWER)),
            file("2/layer.tar", UPPER),
            link("3/layer.tar", "../2/layer.tar"),
            file("manifest.json", json.dumps([image] * changes.pop("images", 1)).encode()),
        )
    )
    return path


def test_what_docker_saved(tmp_path):
    assert kinds(read(saved(tmp_path))) == RESULT


def test_what_docker_saved_is_verified(tmp_path):
    refused(saved(tmp_path, lower=tar(file("evil"))), "other content")
    refused(saved(tmp_path, name="0" * 64 + ".json"), "other content")
    refused(saved(tmp_path, name="config.json"), "no SHA-256")
    refused(saved(tmp_path, diffs=[]), "3 layers")
    refused(saved(tmp_path, images=2), "one image")


# --- what it is ---


def test_a_tree_is_a_folder_and_an_archive_with_a_manifest_is_one(tmp_path):
    (tmp_path / "tree").mkdir()
    with open_source(tmp_path / "tree") as source:
        assert isinstance(source, FolderSource)
    path = tmp_path / "archive"
    for manifest in (b"{}", b"[]", b"[1]", b"\xff"):
        path.write_bytes(tar(file("manifest.json", manifest), file("oci-layout")))
        assert set(kinds(read(path))) == {"manifest.json", "oci-layout"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"QFI\xfb" + bytes(508), "qcow2"),
        (bytes(510) + b"\x55\xaa", "raw disk image"),
        (b"PK\x03\x04", "zip"),
        (b"", "unknown"),
        (bytes(512), "unknown"),
        (b"#!/bin/sh\n" * 100, "unknown"),
    ],
)
def test_what_it_is_instead(tmp_path, content, what):
    path = tmp_path / "file"
    path.write_bytes(content)
    refused(path, what)


def test_nothing_and_a_device(tmp_path):
    refused(tmp_path / "gone", "there is nothing")
    with pytest.raises(NotAnImage, match="neither"), open_source(Path("/dev/null")):
        pass


def test_a_compressed_file_that_is_no_archive(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"text" * 1000))
    refused(path, "damaged after the beginning")
