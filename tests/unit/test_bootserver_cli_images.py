"""The command line for images: publish, list, compare, clean up."""

import errno
import fcntl
import os

import pytest

from images.store import BlobStore, StoreUnusable
from tests.unit.bootserver_deployment import Deployment


@pytest.fixture
def server(tmp_path):
    return Deployment(tmp_path / "state")


@pytest.fixture
def tree(tmp_path):
    """A folder to publish."""
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/issue").write_text("first")
    return tmp_path / "tree"


def test_publishing_tells_the_nodes_that_use_the_image(server, tree):
    server.add()
    server.add("node2")
    server.set("node2", base_image="other")
    before = {name: server.node(name).generation for name in ("node1", "node2")}
    printed = server.cli_json("image", "publish", "base", tree)
    assert (printed["name"], printed["new"]) == ("base", True)
    assert server.node("node1").generation == before["node1"] + 1
    assert server.node("node2").generation == before["node2"]
    again = server.cli_json("image", "publish", "base", tree)
    assert again == {**printed, "new": False}
    assert server.node("node1").generation == before["node1"] + 1


def test_the_name_of_boot_media_is_not_given_away(server, tree):
    assert "bootserver media publish" in server.cli("image", "publish", "boot-medium", tree, status=2)


def test_what_changes_from_one_publication_to_the_next(server, tree):
    first = server.cli_json("image", "publish", "base", tree)
    (tree / "etc/issue").write_text("second")
    (tree / "etc/issue").chmod(0o600)
    (tree / "etc/motd").write_text("x")
    (tree / "etc").chmod(0o700)
    second = server.cli_json("image", "publish", "base", tree)
    found = server.cli_json("image", "diff", first["manifest"][:12], "base")
    assert found["added"] == ["etc/motd"]
    assert found["removed"] == []
    assert found["changed"] == ["etc/issue"]
    assert found["attributes"] == ["etc"]
    assert found["bytes"] > 0
    said = server.cli("image", "diff", second["manifest"], first["manifest"])
    assert "- etc/motd\n* etc/issue\na etc\n" in said
    assert "no-such-image" in server.cli("image", "diff", "base", "nothing", status=1)


def test_updates_lead_from_the_publications_before(server, tree):
    digests = []
    for number in range(5):
        (tree / "etc/issue").write_text(str(number))
        digests.append(server.cli_json("image", "publish", "base", tree)["manifest"])
    found = server.web.get(f"/images/updates/{digests[-1]}").json()
    assert [row["old"] for row in found] == [digests[3], digests[2], digests[1]]
    assert all(server.state.blobs.has(row["update"]) for row in found)
    assert server.web.get("/images/updates/nonsense").json() == []


def test_what_nothing_names_is_removed(server, tree):
    server.state.blobs.put(b"left over")
    digests = []
    for number in range(3):
        (tree / "etc/issue").write_text(str(number))
        digests.append(server.cli_json("image", "publish", "base", tree)["manifest"])
    server.cli("image", "publish", "sliver", tree)
    before = set(server.state.blobs.digests())
    would = server.cli_json("image", "gc", "--keep", "1", "--dry-run")
    assert set(server.state.blobs.digests()) == before
    assert server.cli_json("image", "gc", "--keep", "1") == would
    after = set(server.state.blobs.digests())
    assert digests[2] in after
    assert not {digests[0], digests[1]} & after
    assert len(after) == len(before) - would["blobs"]
    assert [row["name"] for row in server.cli_json("image", "list")] == ["base", "sliver"]
    assert server.web.get(f"/images/updates/{digests[2]}").json() == []
    assert server.cli_json("image", "gc")["blobs"] == 0


def test_names_that_no_terminal_can_show_are_shown_on_a_line_of_their_own(server, tree):
    first = server.cli_json("image", "publish", "base", tree)
    (tree / os.fsdecode(b"\xff\x1b[2J\n+ forged")).write_text("x")
    server.cli("image", "publish", "base", tree)
    assert "\n+ \ufffd\ufffd[2J\ufffd+ forged\n" in "\n" + server.cli(
        "image", "diff", first["manifest"], "base"
    )


def test_a_full_disk_is_no_fault_of_the_program(server, tree, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("images.store.write_atomic", full)
    said = server.cli("image", "publish", "base", tree, status=1)
    assert "No space left on device [store-unusable]" in said
    assert server.cli_json("image", "list")[0]["kind"] is None


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), StoreUnusable("full")])
def test_an_update_that_cannot_be_made_does_not_undo_the_publication(server, tree, monkeypatch, error):
    def fails(*_):
        raise error

    server.cli("image", "publish", "base", tree)
    (tree / "etc/issue").write_text("second")
    monkeypatch.setattr("bootserver.publish.make_update", fails)
    second = server.cli_json("image", "publish", "base", tree)
    assert second["new"]
    monkeypatch.undo()
    # Published again, what is missing is made.
    assert not server.cli_json("image", "publish", "base", tree)["new"]
    assert len(server.web.get(f"/images/updates/{second['manifest']}").json()) == 1


def test_nothing_is_named_any_more_when_blobs_are_removed(server, tree, monkeypatch):
    """A power cut in between would leave publications without their blobs, at which the next gc stops."""
    server.cli("image", "publish", "sliver", tree)
    (tree / "etc/issue").write_text("second")
    server.cli("image", "publish", "base", tree)
    (tree / "etc/issue").write_text("third")
    server.cli("image", "publish", "base", tree)

    def cut(*_):
        raise StoreUnusable("power")

    monkeypatch.setattr(BlobStore, "remove_all_but", cut)
    server.cli("image", "gc", "--keep", "1", status=1)
    monkeypatch.undo()
    assert [row["name"] for row in server.cli_json("image", "list")] == ["base", "sliver"]
    assert server.cli_json("image", "gc")["blobs"] > 0


@pytest.mark.parametrize("command", [["list"], ["diff", "base", "sliver"]])
def test_what_is_being_read_is_not_removed_meanwhile(server, tree, monkeypatch, command):
    server.cli("image", "publish", "sliver", tree)
    server.cli("image", "publish", "base", tree)
    real = BlobStore.get

    def get(store, digest):
        handle = os.open(store.folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
        return real(store, digest)

    monkeypatch.setattr(BlobStore, "get", get)
    server.cli("image", *command)


def test_images_are_listed_even_if_a_manifest_is_gone(server):
    rows = server.cli_json("image", "list")
    assert [(row["name"], row["kind"]) for row in rows] == [("base", None), ("sliver", None)]
    assert "damaged" in server.cli("image", "list")
