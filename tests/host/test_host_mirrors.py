"""Blobs from mirrors: the work is shared, and who fails or lies is left alone."""

import time

import pytest

from host.events import Events
from host.http import HttpClient, NotAtServer
from images import mirrors
from images.cache import Cache
from images.fetch import CONNECTIONS, Supply
from images.source import HttpSource, source_of
from tests.host.unruly_server import (
    DATA,
    MIB,
    breaks,
    busy,
    drips,
    get,
    many,
    missing,
    nowhere_url,
    of,
    proper,
    quick,
    silent,
    too_long,
    wrong,
)
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

pytestmark = pytest.mark.host


def test_mirrors_share_the_work_and_the_server_has_none(start):
    contents, blobs = many(24)
    server, *near = start(contents), start(contents), start(contents)
    with Supply(of(server, *near), Cache(None, Events("test"))) as supply:
        assert len(list(supply.ahead(blobs))) == len(blobs)
    assert server.ranges == []
    assert sum(len(mirror.ranges) for mirror in near) == len(blobs)
    assert min(len(mirror.ranges) for mirror in near) >= len(blobs) // 4


@pytest.mark.parametrize("answer", [wrong, too_long, missing, busy, silent, drips])
def test_a_mirror_that_fails_is_left_alone(start, answer):
    contents, blobs = many(12)
    server, bad, good = start(contents), start(contents, always=answer), start(contents)
    connect = quick if answer in (silent, drips) else HttpClient
    with Supply(of(server, bad, good, connect=connect), Cache(None, Events("test"))) as supply:
        assert list(supply.ahead(blobs)) == contents
    assert 1 <= len(bad.ranges) <= CONNECTIONS
    assert len(good.ranges) >= len(blobs) - CONNECTIONS
    assert server.ranges == []


def test_without_a_mirror_that_works_the_server_serves(start):
    server, bad = start(), start(always=wrong)
    fetched = HttpSource(HttpClient, server.url, [nowhere_url(), bad.url])
    assert get(fetched) == DATA
    assert len(server.ranges) == 1


def test_a_blob_is_pieced_together_from_several(start):
    server, first, second = start(), start(script=[breaks(300_000)]), start(script=[breaks(500_000)])
    assert get(of(server, first, second)) == DATA
    assert second.sent == 200_000
    assert first.sent + second.sent == MIB, "no byte came twice"


def test_nobody_is_blamed_for_a_wrong_blob_of_several(start):
    """One gives wrong bytes and breaks off, the other goes on: only the next try shows who lies."""

    def wrong_and_breaks(handler):
        proper(handler, 300_000, data=bytes(MIB))

    liar, honest = start(script=[wrong_and_breaks], always=wrong), start()
    fetched = of(start(), liar, honest)
    assert get(fetched) == DATA
    asked = len(liar.ranges)
    assert len(honest.ranges) >= 1
    for _ in range(6):
        assert get(fetched) == DATA
    assert len(liar.ranges) <= max(asked, 2), "found out, and left alone"


def test_a_mirror_comes_back(start, monkeypatch):
    monkeypatch.setattr(mirrors, "ASIDE_SECONDS", 0.2)
    server, mirror = start(), start(script=[busy])
    fetched = of(server, mirror)
    for _ in range(3):
        get(fetched)
    assert (len(mirror.ranges), len(server.ranges)) == (1, 3)
    time.sleep(0.25)
    get(fetched)
    assert (len(mirror.ranges), len(server.ranges)) == (2, 3)


def test_a_node_fetches_as_its_configuration_says(start):
    server, mirror = start(), start()
    configuration = NodeConfiguration(7, NodeKey.generate(), server.url, NetworkSettings())
    details = NodeDetails(
        7, "n1", TargetState.INST, "r1", 3, ImageRef("base", "ab"), mirrors=(mirror.url,), bandwidth_kib=2048
    )
    assert get(source_of(configuration)) == DATA
    assert (len(server.ranges), len(mirror.ranges)) == (1, 0)
    begun = time.monotonic()
    assert get(source_of(configuration, details)) == DATA
    assert (len(server.ranges), len(mirror.ranges)) == (1, 1)
    assert time.monotonic() - begun > 0.4


def test_the_last_error_is_the_servers(start):
    with pytest.raises(NotAtServer, match="http"):
        get(of(start(contents=()), start(always=wrong)))
