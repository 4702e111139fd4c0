"""Another system on a node: ordered, told to the node, told by it, and taken back."""

import json
import time

import pytest

from host.server import CallRefused
from tests.disk_images import MIB, mbr_head, sparse
from tests.unit.bootserver_deployment import Deployment
from wire.messages import NO_DISK_ORDER, DiskRecord, ImageRef, NodeDetails, TargetState
from wire.slivers import NodeSlivers
from wire.structure import structure, unstructure


class Site(Deployment):
    """A server with the image of a disk, and a node."""

    def __init__(self, folder):
        super().__init__(folder)
        self.add(state=TargetState.BOOT)
        disk = sparse(folder / "disk.img", MIB, {0: mbr_head(7)})
        self.manifest = self.cli_json("image", "publish", "appliance", disk)["manifest"]
        self.calls = self.client()

    def details(self):
        return structure(self.calls.call("BootGetNodeDetails"), NodeDetails)

    def slivers(self):
        return structure(json.loads(self.calls.call("GetSlivers", {"form": "json"})), NodeSlivers)

    def tell(self, *, whole):
        record = DiskRecord(self.details().disk_image.id, self.image, "S-1", "", 8192, "00000007", "", whole)
        self.calls.call("BootUpdateNode", {"disk_record": unstructure(record)})
        return record

    @property
    def image(self):
        return ImageRef("appliance", self.manifest)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "state")


def test_the_node_is_told_by_both_its_programs(site):
    assert site.details().disk_image == site.slivers().disk_image == NO_DISK_ORDER
    before = site.node().generation
    said = site.cli("node", "disk-image", "node1", "appliance", "--disk", "S-1")
    assert said == "node1: its next boot writes appliance over all that is on the disk S-1\n"
    order = site.details().disk_image
    assert (order.image, order.disk) == (site.image, "S-1")
    assert site.slivers().disk_image == order
    assert site.node().generation > before
    assert site.node().boot_state == "boot"


def test_the_same_order_again_is_another_one(site):
    site.cli("node", "disk-image", "node1", "appliance")
    first = site.details().disk_image
    site.cli("node", "disk-image", "node1", "appliance")
    second = site.details().disk_image
    assert first.id != second.id
    assert (first.image, first.disk) == (second.image, second.disk) == (site.image, "")


def test_what_the_node_says_of_the_disk_is_kept_and_said_again(site):
    site.cli("node", "disk-image", "node1", "appliance")
    site.tell(whole=False)
    record = site.tell(whole=True)
    assert site.details().disk_records == (record,)
    shown = site.cli_json("node", "show", "node1")
    assert (shown["disk_image"], shown["disk_record"]) == ("appliance", unstructure(record))


@pytest.mark.parametrize(
    "said", [[], "x", {}, {"id": "o"}, {"id": 7}, {"id": "x" * 5000}], ids=lambda said: str(said)[:20]
)
def test_what_is_no_record_is_refused(site, said):
    with pytest.raises(CallRefused, match="fault 102"):
        site.calls.call("BootUpdateNode", {"disk_record": said})
    assert site.node().disk_record == {}


def test_taken_back_before_anything_was_written_nothing_happens(site):
    site.cli("node", "disk-image", "node1", "appliance")
    run = site.node().run_id
    assert "stays what it is" in site.cli("node", "disk-image", "node1", "--none")
    assert (site.node().boot_state, site.node().run_id) == ("boot", run)
    assert site.details().disk_image == NO_DISK_ORDER


@pytest.mark.parametrize("whole", [False, True])
def test_taken_back_later_the_node_is_installed_again(site, whole):
    site.cli("node", "disk-image", "node1", "appliance")
    record = site.tell(whole=whole)
    assert "installs it again (rins)" in site.cli("node", "disk-image", "node1", "--none")
    details = site.details()
    assert (details.boot_state, details.disk_image) == (TargetState.RINS, NO_DISK_ORDER)
    # The node still has to know that the disk is its own.
    assert details.disk_records == (record,)
    site.calls.call("BootUpdateNode", {"boot_state": "boot", "run_id": details.run_id})
    assert site.details().disk_records == ()
    assert site.node().disk_record == {}


@pytest.mark.parametrize("state", ["new", "inst", "rins"])
def test_an_installation_takes_the_order_back(site, state):
    site.cli("node", "disk-image", "node1", "appliance")
    site.cli("node", "state", "node1", "dbg")
    assert site.details().disk_image.image == site.image
    site.cli("node", "state", "node1", state)
    assert site.details().disk_image == NO_DISK_ORDER


def test_an_order_for_a_node_that_is_being_installed_stands(site):
    site.cli("node", "state", "node1", "inst")
    site.cli("node", "disk-image", "node1", "appliance")
    site.calls.call("BootUpdateNode", {"boot_state": "boot", "run_id": site.node().run_id})
    assert site.details().disk_image.image == site.image


def test_another_publication_is_told(site):
    site.cli("node", "disk-image", "node1", "appliance")
    before = site.node().generation
    disk = sparse(site.folder / "disk.img", MIB, {0: mbr_head(8)})
    again = site.cli_json("image", "publish", "appliance", disk)["manifest"]
    assert site.node().generation > before
    assert site.details().disk_image.image.manifest == again


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("nothing",), 1, "no-such-image"),
        (("tree",), 1, "not-a-disk"),
        (("appliance", "--disk", "a\nb"), 1, "bad-setting"),
        ((), 2, "IMAGE"),
        (("appliance", "--none"), 2, "IMAGE"),
        (("--none", "--disk", "S-1"), 2, "IMAGE"),
    ],
)
def test_what_cannot_be_is_refused(site, tmp_path, words, status, code):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    site.cli("image", "publish", "tree", tmp_path / "tree")
    assert code in site.cli("node", "disk-image", "node1", *words, status=status)
    assert site.node().disk_order == ""


def test_another_system_that_says_nothing_is_no_problem(site):
    site.set(contacted=time.time() - 7200, run_level="boot")
    assert site.operator.get("/api/nodes").json()[0]["silent"]
    site.set(run_level="diskimage")
    assert not site.operator.get("/api/nodes").json()[0]["silent"]


def test_the_nodes_page_says_what_becomes_of_it(site):
    assert "Other system" not in site.operator.get("/nodes/node1").text
    site.cli("node", "disk-image", "node1", "appliance")
    seen = []
    for whole in (None, False, True):
        if whole is not None:
            site.tell(whole=whole)
        seen.append(site.operator.get("/nodes/node1").text)
    for text, word in zip(seen, ("ordered", "being written", "written"), strict=True):
        assert f"appliance on the system disk: {word}<" in text
    # Another order is not what was written.
    site.cli("node", "disk-image", "node1", "appliance")
    assert site.cli_json("node", "show", "node1")["disk_image_state"] == "ordered"
