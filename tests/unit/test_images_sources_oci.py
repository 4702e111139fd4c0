"""OCI images and what docker save writes: as sources, and refused by name."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import zstandard

from images.sources.base import NotAnImage
from images.sources.detect import open_source
from images.sources.folder import FolderSource
from tests.unit.made_archives import contents, file, folder, hard, kinds, link, tar

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
