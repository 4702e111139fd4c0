"""A newer boot medium: when it is started, what is noted before, what becomes of one that never reports."""

from dataclasses import replace

import pytest

from host.boot import Chain, ChainHow
from host.events import Events
from host.options import Options
from hwdetect.media import Fetched, Media
from images.cache import Cache
from images.manifest import SignedImage
from images.medium_trial import NAME, Trial, Trials
from images.unpack import prefetch
from steps import update_medium as module
from steps.update_medium import Untouched, UpdateMedium
from tests.unit.medium_node import ARGUMENTS, CONFIGURATION, MIB, Node
from tests.unit.signed_site import Site
from wire.medium import IMAGE
from wire.messages import ImageRef
from wire.nodeconf import EnrolmentConfiguration, Protocol
from wire.nodenet import NetworkSettings

STARTS = (Chain(ChainHow.MEDIUM),)
STAYS = ()


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


def test_a_newer_one_is_started_with_this_ones_arguments(node):
    node.offer(2000)
    assert node.boot() == STARTS
    assert node.loaded[:5] == ("--kexec-file-syscall", "--load", b"kernel", b"layers", ARGUMENTS)
    assert ("medium.tried", {"made": 2000}) in node.told
    assert node.ran == ["mount", "kexec", "umount"]


def test_it_is_noted_before_anything_could_start_it(node):
    node.offer(2000)
    node.boot()
    assert node.loaded[5] == Trial(2000, tries=1)


def test_what_has_reported_is_started_again_from_the_dongle_alone(node):
    node.offer(2000)
    assert node.boot() == STARTS
    assert len(node.fetched) > 1
    assert node.boot(2000) == STAYS
    assert node.told == [("medium.reported", {"made": 2000})]
    assert node.trial(2000) == Trial(2000, reported=True)
    assert node.boot() == STARTS
    assert node.fetched == []


def test_it_says_once_that_it_reports(node):
    node.offer(2000)
    node.boot()
    node.boot(2000)
    assert node.boot(2000) == STAYS
    assert node.told == []


def test_what_never_reported_is_not_started_again(node):
    """It hung, panicked, found no network, or the power failed between the note and the start."""
    node.offer(2000)
    assert node.boot() == STARTS
    for _ in range(3):
        assert node.boot() == STAYS
        assert (node.kept, node.loaded) == (["medium-not-reported"], None)
    node.offer(3000, b"mended")
    assert node.boot() == STARTS
    assert node.loaded[3] == b"mended"


def test_one_that_was_published_again_after_another_is_no_newer_one(node):
    node.offer(2000)
    node.boot()
    node.offer(2000, b"the same with other root metadata")
    assert node.boot() == STAYS
    assert node.kept == ["medium-not-reported"]


def test_what_once_reported_may_fail_twice_in_a_row(node):
    """The power may have been cut just then; a machine that it does not start on any more is not stuck."""
    node.offer(2000)
    node.boot()
    node.boot(2000)
    assert [node.boot() for _ in range(4)] == [STARTS, STARTS, STARTS, STAYS]
    assert node.kept == ["medium-not-reported"]


def test_a_report_counts_whatever_failed_before(node):
    node.offer(2000)
    node.boot()
    node.boot(2000)
    node.boot()
    node.boot()
    node.boot(2000)
    assert node.trial(2000) == Trial(2000, reported=True)


def test_what_runs_reports_and_makes_room_for_a_still_newer_one(node):
    node.offer(2000)
    node.boot()
    node.offer(3000)
    assert node.boot(2000) == STARTS
    assert [name for name, _ in node.told if name.startswith("medium.")] == [
        "medium.reported",
        "medium.tried",
    ]
    # After a failure of it the older one, which is not published any more, is not started either.
    assert node.boot() == STAYS


def test_debug_mode_or_not_what_runs_reports(node):
    node.offer(2000)
    node.boot()
    assert node.boot(2000, without=(Untouched,)) == STAYS
    assert node.trial(2000).reported


@pytest.mark.parametrize("made", [0, 1, 999, 1000])
def test_what_is_not_newer_is_not_started(node, made):
    node.offer(made)
    assert node.boot() == STAYS
    assert (node.told, node.fetched, node.ran) == ([], [], [])


def test_nothing_published(node):
    assert node.boot() == STAYS
    assert node.told == []


@pytest.mark.parametrize("made", ["2000", True, -1, 2**36, [2000]], ids=repr)
def test_a_time_that_is_none_is_no_newer_one(node, made):
    node.offer(made)
    assert node.boot() == STAYS


@pytest.mark.parametrize(
    ("how", "without"),
    [
        ({}, (Untouched,)),
        ({"facts": (Media(fetched=Fetched(b"", b"")),)}, ()),
        ({"facts": (EnrolmentConfiguration("http://server", NetworkSettings()),)}, ()),
        (
            {
                "facts": (
                    replace(CONFIGURATION, protocol=Protocol.PLCAPI, base_image=ImageRef("b", "0" * 64)),
                )
            },
            (),
        ),
        ({"options": Options(chain="reboot")}, ()),
        ({"cache": Cache(None, Events("t"))}, ()),
    ],
    ids=["touched", "from the network", "enrolled in this boot", "classic", "no kexec", "no dongle"],
)
def test_a_node_that_stays_with_what_it_was_started_from(node, how, without):
    node.offer(2000)
    node.path.asked.clear()
    assert node.boot(without=without, **how) == STAYS
    assert (node.told, node.path.asked, node.ran) == ([], [], [])


def test_a_dongle_that_cannot_be_written(node):
    node.offer(2000)
    assert node.boot(cache=node.cache(writable=False)) == STAYS
    assert (node.fetched, node.ran) == ([], [])


def test_a_medium_that_does_not_say_what_it_is(node):
    node.offer(2000)
    node.own = None
    assert UpdateMedium().observe(node.context()).holds


def test_too_little_memory_is_told_in_figures_before_anything_is_fetched(node):
    manifest = node.offer(2000, bytes(9 * MIB))
    node.free = 3 * manifest.data_bytes + 64 * MIB - 1
    assert node.boot() == STAYS
    assert node.fetched == [manifest.digest]
    (told,) = [data for name, data in node.told if name == "medium.kept"]
    assert told["code"] == "medium-needs-memory"
    assert told["detail"] == "91 MiB are free, 92 MiB are needed"
    node.free += 1
    assert node.boot() == STARTS


def test_a_dongle_without_room_is_told(node):
    node.offer(2000)
    assert node.boot(budget_mib=0) == STAYS
    assert (node.kept, node.ran) == (["medium-not-kept"], [])
    assert node.trial(2000).tries == 0


def test_the_nodes_own_images_are_not_lost_for_it(node, monkeypatch):
    given = []

    def spy(manifest, source, cache, progress, keep):
        given.append(keep)
        return prefetch(manifest, source, cache, progress, keep)

    monkeypatch.setattr(module, "prefetch", spy)
    medium = node.offer(2000)
    node.boot()
    (keep,) = given
    assert {node.base.manifest, medium.digest} <= keep


def test_a_note_that_cannot_be_written_starts_nothing(node, monkeypatch):
    node.offer(2000)
    monkeypatch.setattr(Trials, "note", lambda trials, trial: False)
    assert node.boot() == STAYS
    assert (node.kept, node.loaded) == (["medium-not-kept"], None)


def test_a_kernel_that_is_refused_is_no_failure_of_the_medium(node):
    node.offer(2000)
    node.refused["kexec"] = "kexec_file_load failed: Operation not permitted"
    assert node.boot() == STAYS
    assert node.kept == ["command-failed"]
    node.refused.clear()
    assert node.boot() == STARTS


def test_memory_that_cannot_be_mounted_stops_nothing(node):
    node.offer(2000)
    node.refused["mount"] = "mount: no such device"
    assert node.boot() == STAYS
    assert (node.kept, node.trial(2000).tries) == (["command-failed"], 0)


def test_a_file_that_cannot_be_written_stops_nothing(node, monkeypatch):
    def full(*words):
        raise OSError(28, "No space left on device")

    node.offer(2000)
    monkeypatch.setattr(module, "unpack", full)
    assert node.boot() == STAYS
    assert node.kept == [""]


def test_damage_on_the_dongle_costs_a_fetch(node):
    manifest = node.offer(2000)
    node.boot()
    node.boot(2000)
    blob = manifest.packs[0].blob
    (node.dongle / "blobs" / blob.sha256).write_bytes(b"x" * blob.size)
    assert node.boot() == STARTS
    assert node.fetched == [blob.sha256]
    assert node.loaded[3] == b"layers"


def test_damage_at_the_server_starts_nothing(node):
    manifest = node.offer(2000)
    node.server.state.blobs.path(manifest.packs[0].blob.sha256).write_bytes(b"x")
    assert node.boot() == STAYS
    assert (node.kept, node.loaded) == (["stored-blob-damaged"], None)


def test_another_deployments_medium_starts_nothing(node, tmp_path):
    other = Site(tmp_path / "other", "another")
    node.offer(2000)
    assert node.boot(root=other.root) == STAYS
    assert node.kept == ["metadata-forged"]


def test_metadata_that_cannot_be_had_stop_nothing(node):
    node.offer(2000)
    node.path.forged = {"timestamp.json": b"junk"}
    assert node.boot() == STAYS
    assert node.kept == ["metadata-malformed"]


def test_metadata_of_before_bring_no_older_medium_back(node):
    """Somebody replays what was signed once."""
    node.offer(2000, b"with a fault")
    older = node.recording()
    node.offer(3000, b"without")
    node.boot()
    node.boot(3000)
    node.path.forged = older
    assert node.boot() == STAYS
    assert node.kept == ["metadata-rolled-back"]


def test_a_trial_that_somebody_else_wrote_is_none(node):
    node.offer(2000)
    node.boot()
    path = node.dongle / "documents" / f"{NAME}.json"
    path.write_text(path.read_text().replace('"tries":1', '"tries":0'))
    # Whoever changes it has it tried once more, and no more than that.
    assert node.trial(2000) == Trial(2000)
    assert node.boot() == STARTS
    assert node.boot() == STAYS


def test_without_the_time_that_it_was_made_an_image_is_an_image(node):
    node.offer(0)
    signed = node.refresh()
    assert signed.named(IMAGE).made == 0
    assert signed.named("base") == SignedImage("base", node.base.manifest, signed.named("base").size)
