"""Links as the kernel has them, and how fast the server's images come."""

import pytest

from bootmanager.hwtest import network as module
from bootmanager.hwtest.network import Link, check_link, check_server, link_of
from bootmanager.hwtest.result import Outcome
from host.http import NotAtServer
from hwdetect.inventory import Nic
from images.manifest import Blob, ImageKind, Manifest, Pack, Piece, sha256

NIC = Nic("eth0", "52:54:00:12:34:56", "virtio_net", "", "")
UP = Link(True, 1000, "full", 3)


def test_a_link_is_read(tmp_path):
    statistics = tmp_path / "eth0/statistics"
    statistics.mkdir(parents=True)
    for name, text in {"carrier": "1\n", "speed": "1000\n", "duplex": "full\n"}.items():
        (tmp_path / "eth0" / name).write_text(text)
    (statistics / "rx_errors").write_text("2\n")
    (statistics / "tx_errors").write_text("1\n")
    assert link_of("eth0", tmp_path) == UP
    (tmp_path / "eth0/speed").write_text("-1\n")
    assert link_of("eth0", tmp_path).speed == 0
    assert link_of("gone", tmp_path) == Link(False, 0, "", 0)


@pytest.mark.parametrize(
    ("now", "outcome", "said"),
    [
        (UP, Outcome.PASSED, "1000 Mbit/s, 3 errors"),
        (Link(True, 0, "", 3), Outcome.PASSED, "speed not told"),
        (Link(True, 100, "half", 3), Outcome.FAILED, "half duplex"),
        (Link(True, 1000, "full", 9), Outcome.FAILED, "6 new errors"),
        (Link(False, 0, "", 3), Outcome.NOT_POSSIBLE, "no cable"),
    ],
)
def test_a_link_is_judged(now, outcome, said):
    result = check_link(NIC, UP, now)
    assert result.outcome is outcome
    assert said in result.detail


PACK = b"p" * 1_000_000
IMAGE = Manifest(
    "base",
    ImageKind.TREE,
    (Piece(Blob("1" * 64, 10), 10, (Pack(Blob(sha256(PACK), len(PACK)), len(PACK)),)),),
)


class Server:
    """A server of blobs that takes its time."""

    base_url = "http://server"

    def __init__(self, clock, bytes_per_second):
        self.clock, self.rate = clock, bytes_per_second

    def get(self, path, *, limit):
        if not path.endswith(IMAGE.digest):
            raise NotAtServer(path)
        return IMAGE.to_bytes()

    def resume(self, path, body, *, limit, on_piece):
        for start in range(0, limit, 65536):
            piece = PACK[start : start + 65536]
            self.clock.now += len(piece) / self.rate
            assert body.write(piece) == 0
            on_piece(len(piece))


@pytest.mark.parametrize(
    ("mbits", "outcome"), [(900, Outcome.PASSED), (12, Outcome.PASSED), (2, Outcome.FAILED)]
)
def test_fetching_for_some_seconds_whatever_the_size(monkeypatch, clock, mbits, outcome):
    monkeypatch.setattr(module.time, "monotonic", clock)
    began = clock.now
    result = check_server(Server(clock, mbits * 1e6 / 8), IMAGE.digest, seconds=5, progress=lambda text: None)
    assert result.outcome is outcome
    assert result.figures["mbits"] == pytest.approx(mbits, rel=0.05)
    assert 5 < clock.now - began < 6
    assert result.limit == "10 Mbit/s or more"


def test_a_server_without_the_image_is_no_broken_network(clock):
    result = check_server(Server(clock, 1), "0" * 64, seconds=5, progress=lambda text: None)
    assert result.outcome is Outcome.NOT_POSSIBLE
    assert "[not-at-server]" in result.detail
