"""Which components of an archive the recipes install from."""

import importlib.util

import pytest

from tests.host.server_process import ROOT

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def aptsources():
    """What build/ has is no package."""
    spec = importlib.util.spec_from_file_location("aptsources", ROOT / "build/aptsources.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path):
    """An archive that answers, and that of security updates, which says components in its own way."""

    def make(components):
        for suite, prefix in (("trixie", ""), ("trixie-security", "updates/")):
            folder = tmp_path / "dists" / suite
            folder.mkdir(parents=True)
            said = " ".join(prefix + component for component in components)
            folder.joinpath("InRelease").write_text(
                f"Suite: x\nDate: Sat, 15 Nov 2025 10:00:00 UTC\nComponents: {said}\n"
            )
        return [(tmp_path.as_uri(), "trixie"), (tmp_path.as_uri(), "trixie-security")]

    return make


@pytest.mark.parametrize("wanted", [["main"], ["main", "non-free-firmware"]])
def test_what_is_wanted_and_no_more(aptsources, archive, tmp_path, wanted):
    text, newest = aptsources.probe(archive(["main", "contrib", "non-free-firmware"]), wanted, tmp_path)
    lines = [line.split() for line in text.splitlines()]
    assert [(line[3], line[4:]) for line in lines] == [("trixie", wanted), ("trixie-security", wanted)]
    assert newest == 1763200800


def test_an_archive_without_firmware_says_so_and_what_to_do(aptsources, archive, tmp_path):
    pairs = archive(["main"])
    assert aptsources.probe(pairs, ["main"], tmp_path)
    with pytest.raises(aptsources.SourcesError, match=r"no non-free-firmware of Debian 13.*MIRROR="):
        aptsources.probe(pairs, ["main", "non-free-firmware"], tmp_path)
