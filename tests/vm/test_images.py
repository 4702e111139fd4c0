"""Images of other kinds, dongles of other kinds, and the node's disk compared with its image."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.expect import assert_node_is_up
from tests.vm.harness.machine import Machine
from tests.vm.harness.site import NODE
from tests.vm.harness.timeline import Event

# What bootmanager's steps write, or remove, of what the image has.
WRITTEN = ("boot", "etc/", "root/.ssh", "var/")


pytestmark = pytest.mark.slow


def oci_layout(folder: Path, archive: Path) -> Path:
    """Make an OCI image of a tar.zst, with a layer over it that brings a file and takes another away."""
    (folder / "blobs/sha256").mkdir(parents=True)

    def add(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    over = folder / "over"
    (over / "etc").mkdir(parents=True)
    (over / "etc/of-a-layer").write_text("here\n")
    (over / "etc/.wh.issue").write_text("")
    layer = subprocess.run(["tar", "-C", over, "-cz", "etc"], check=True, capture_output=True).stdout
    config = add(
        json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode(), "config.v1+json"
    )
    layers = [add(archive.read_bytes(), "layer.v1.tar+zstd"), add(layer, "layer.v1.tar+gzip")]
    manifest = {"schemaVersion": 2, "config": config, "layers": layers}
    index = {"schemaVersion": 2, "manifests": [add(json.dumps(manifest).encode(), "manifest.v1+json")]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def test_a_sliver_of_an_oci_image(installed: MakeSite) -> None:
    site = installed()
    site.server.cli("image", "publish", "oci", str(oci_layout(site.folder / "oci", site.built.sliver)))
    site.server.cli("slice", "add", "second", "--image", "oci", "--key", f"{site.technician}.pub")
    site.server.cli("slice", "add-node", "second", NODE)
    site.power_on()
    assert_node_is_up(site)
    inside = "systemd-run --quiet --wait --pipe --machine second /bin/sh -c"
    assert site.shell.output(f"{inside} 'cat /etc/of-a-layer'").strip() == "here"
    assert site.shell.run(f"{inside} 'test -e /etc/issue'").returncode == 1
    # What both images have came from the dongle, which has it from the first one.
    moved = next(event for event in site.machine.events("transfer") if event["image"] == "oci")
    assert moved["network_bytes"] < moved["cache_bytes"]


def test_a_vfat_dongle_after_a_power_cut_makes_it_slower_at_worst(new_site: MakeSite) -> None:
    site = new_site()
    machine = site.machine
    media.vfat(site.dongle, 1024, "BMCACHE")
    site.power_on()
    machine.wait_event(
        "step.progress", step="unpack", fraction=lambda done: done and done > 0.6,
        timeout=limits.BOOT + limits.INSTALL,
    )  # fmt: skip
    assert not _of_the_cache(machine)
    site.power_cycle()
    machine.wait_event("step.done", step="unpack", timeout=limits.BOOT + limits.INSTALL)
    (base,) = machine.events("transfer", image="base")
    assert base["cache_bytes"] > 40 * media.MIB
    # vfat has no journal: what was being stored may be damaged, and nothing else.
    assert len(_of_the_cache(machine)) <= 1
    assert all(event["event"] == "cache.corrupt" for event in _of_the_cache(machine))


def _of_the_cache(machine: Machine) -> list[Event]:
    return [event for event in machine.events() if event["event"].startswith("cache.")]


def test_the_installed_tree_is_the_image_and_a_changed_file_is_found(installed: MakeSite) -> None:
    site = installed()
    site.power_on()
    assert_node_is_up(site)
    done = site.shell.run("configmanager verify --format json", timeout=limits.NODE_UP)
    assert done.returncode == 1, done.stderr
    found = {row["path"]: row["differs"] for row in json.loads(done.stdout)}
    assert [path for path in found if not path.startswith(WRITTEN)] == []
    assert "usr/bin/tar" not in found
    site.shell.output("chmod 4755 /usr/bin/tar && echo more >> /etc/debian_version")
    done = site.shell.run("configmanager verify --format json", timeout=limits.NODE_UP)
    now = {row["path"]: row["differs"] for row in json.loads(done.stdout)}
    assert now.keys() - found.keys() == {"usr/bin/tar", "etc/debian_version"}
    assert now["usr/bin/tar"] == ["mode"]
