"""Sources over one another, and OCI images, which are made of layers."""

import tarfile
from contextlib import ExitStack

import pytest

from images.entries import Entry, Kind
from images.sources.archive import ArchiveSource
from images.sources.base import Member, NotAnImage
from images.sources.detect import open_source
from images.sources.layers import LayeredSource
from tests.unit.made_archives import contents, file, folder, hard, kinds, link, special, tar


def layers(tmp_path, *archives, **options):
    with ExitStack() as stack:
        sources = []
        for number, members in enumerate(archives):
            path = tmp_path / f"layer{number}"
            path.write_bytes(tar(*members))
            sources.append(stack.enter_context(ArchiveSource(path)))
        return contents(LayeredSource(sources, **options).members())


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
