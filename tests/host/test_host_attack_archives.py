"""Archives that try to write outside of the tree they are laid into: refused, or shut in it."""

import io
import stat
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from host.events import Events
from host.http import HttpClient
from images.cache import Cache
from images.make import make_image
from images.manifest import SignedImage
from images.source import HttpSource
from images.sources.base import NotAnImage
from images.sources.detect import open_source
from images.sources.layers import LayeredSource
from images.store import BlobStore
from images.unpack import install
from tests.host.image_server import serving

pytestmark = pytest.mark.host


def member(name, kind=tarfile.REGTYPE, **fields):
    made = tarfile.TarInfo(name)
    made.type = kind
    made.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def link(name, to):
    return member(name, tarfile.SYMTYPE, linkname=to)


def hard(name, to):
    return member(name, tarfile.LNKTYPE, linkname=to)


def file(name):
    return member(name, size=4)


def layer(path, members):
    with tarfile.open(path, "w") as archive:
        for made in members:
            archive.addfile(made, io.BytesIO(b"evil") if made.isreg() else None)
    subprocess.run(["zstd", "-q", "--rm", str(path)], check=True)
    return Path(f"{path}.zst")


class Place:
    """A tree to unpack into, and a folder beside it that must stay as it is."""

    def __init__(self, folder):
        self.folder, self.target, self.outside = folder, folder / "target", folder / "outside"
        self.target.mkdir()
        self.outside.mkdir()
        (self.outside / "there").write_text("mine")

    def unpack(self, *layers):
        """Publish the layers, one over the other, and unpack that; return whether anybody refused."""
        store = BlobStore(self.folder / "store")
        paths = [layer(self.folder / f"{number}.tar", members) for number, members in enumerate(layers)]
        try:
            with ExitStack() as stack:
                sources = [stack.enter_context(open_source(path)) for path in paths]
                manifest = make_image("evil", LayeredSource(sources), store)
        except NotAnImage:
            return False
        ref = SignedImage("evil", manifest.digest, len(manifest.to_bytes()))
        with serving(store) as server:
            install(ref, self.target, HttpSource(HttpClient, server.url), Cache(None, Events("test")))
        return True

    def assert_untouched(self):
        assert {path.name for path in self.outside.iterdir()} == {"there"}
        there = self.outside / "there"
        assert there.read_text() == "mine"
        assert there.stat().st_nlink == 1
        assert {path.name for path in self.folder.iterdir()} <= {
            "target",
            "outside",
            "store",
            "0.tar.zst",
            "1.tar.zst",
        }


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


ATTACKS = {
    "an absolute name": lambda out: [[file(f"{out}/new")]],
    "a name with ..": lambda out: [[file("../outside/new")]],
    "a name with .. further on": lambda out: [[member("a", tarfile.DIRTYPE), file("a/../../outside/new")]],
    "through an absolute link": lambda out: [[link("a", str(out)), file("a/new")]],
    "through a relative link": lambda out: [[link("a", "../outside"), file("a/new")]],
    "through a link to the root": lambda out: [[link("a", "/"), file(f"a{out}/new")]],
    "through an absolute link of the layer below": lambda out: [[link("a", str(out))], [file("a/new")]],
    "through a relative link of the layer below": lambda out: [[link("a", "../outside")], [file("a/new")]],
    "over a file, through the layer below": lambda out: [[link("a", str(out))], [file("a/there")]],
    "a folder through a link": lambda out: [[link("a", str(out))], [member("a/new", tarfile.DIRTYPE)]],
    "a folder's rights through a link": lambda out: [
        [link("a", str(out))],
        [member("a", tarfile.DIRTYPE, mode=0o777), member("a/", tarfile.DIRTYPE, mode=0o777)],
    ],
    "a link to a link": lambda out: [[link("a", str(out.parent)), link("b", "a/outside")], [file("b/new")]],
    "through the process's own root": lambda out: [[link("a", f"/proc/self/root{out}")], [file("a/new")]],
    "a hard link to a file outside": lambda out: [[hard("a", f"{out}/there")]],
    "a hard link by ..": lambda out: [[hard("a", "../outside/there")]],
    "a hard link through a link": lambda out: [[link("a", str(out))], [hard("b", "a/there"), file("b")]],
    "over a file that is a link": lambda out: [[link("a", f"{out}/there")], [file("a")]],
    "a device through a link": lambda out: [
        [link("a", str(out))],
        [member("a/new", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    ],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_written_outside(place, name):
    mode = stat.S_IMODE(place.outside.stat().st_mode)
    place.unpack(*ATTACKS[name](place.outside))
    place.assert_untouched()
    assert stat.S_IMODE(place.outside.stat().st_mode) == mode


@pytest.mark.parametrize("to", ["/run", "run", "../../run"], ids=["absolute", "relative", "up"])
def test_a_link_of_the_layer_below_leads_within_the_tree(place, to):
    var = member("var", tarfile.DIRTYPE)
    run = member("run", tarfile.DIRTYPE)
    at = "var/run" if to != "run" else "link"
    assert place.unpack([run, var, link(at, to)], [file(f"{at}/here")])
    assert (place.target / "run/here").read_text() == "evil"
