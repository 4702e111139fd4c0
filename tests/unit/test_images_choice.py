"""Who fetches what: each blob has one first, whom all nodes find by themselves."""

from collections import Counter

import pytest

from images.choice import REQUESTS, SERVER_FIRST, Choice, From, Other, awaited, choose, holders, rank
from images.manifest import sha256
from wire.neighbours import Holdings

NODES = [f"http://10.0.0.{number}:40000" for number in range(10)]
BLOBS = [sha256(b"%d" % number) for number in range(80)]
ME, A, B = NODES[:3]


def seen(name, have=(), fetching=(), wants=(), **more):
    return Other(name, Holdings(frozenset(have), frozenset(fetching), frozenset(wants)), **more)


def by_name(*others):
    return {other.name: other for other in others}


def first(sha, nodes):
    """Who fetches a blob that all want, as each of them sees it."""
    firsts = set()
    for me in nodes:
        others = [seen(node, wants=BLOBS) for node in nodes if node != me]
        firsts |= awaited(me, sha, others) or {me}
    return firsts


def mine(blobs, other):
    return [sha for sha in blobs if rank(ME, sha) > rank(other, sha)]


def test_all_agree_who_is_first():
    assert all(len(first(sha, NODES)) == 1 for sha in BLOBS)


def test_each_is_first_for_its_share():
    shares = Counter(next(iter(first(sha, NODES))) for sha in BLOBS)
    assert set(shares) == set(NODES)
    assert max(shares.values()) < 3 * len(BLOBS) / len(NODES)


def test_who_leaves_changes_only_its_own_share():
    before = {sha: first(sha, NODES) for sha in BLOBS}
    after = {sha: first(sha, NODES[1:]) for sha in BLOBS}
    assert all(after[sha] == before[sha] for sha in BLOBS if before[sha] != {NODES[0]})


def test_alone_everything_is_fetched_from_the_server():
    left = set(BLOBS[:20])
    while left:
        found = choose(ME, left, {}, 3)
        assert found is not None
        assert found.place is From.SERVER
        left.remove(found.sha256)


def test_two_that_do_not_know_of_each_other_begin_with_others():
    begun = [choose(node, BLOBS, {}, 0).sha256 for node in NODES]
    assert len(set(begun)) >= len(NODES) - 1


def test_what_another_is_first_for_is_waited_for():
    theirs = next(sha for sha in BLOBS if rank(ME, sha) < rank(A, sha))
    others = by_name(seen(A, wants=[theirs]))
    assert choose(ME, [theirs], others, 0) is None
    assert awaited(ME, theirs, others.values()) == {A}
    assert choose(A, [theirs], by_name(seen(ME, wants=[theirs])), 0) == Choice(theirs, From.SERVER)


def test_who_fetches_it_already_is_waited_for_whoever_is_first():
    own = mine(BLOBS, A)[0]
    assert choose(ME, [own], by_name(seen(A, wants=[own])), 0) == Choice(own, From.SERVER)
    assert choose(ME, [own], by_name(seen(A, fetching=[own])), 0) is None


def test_who_is_late_is_not_waited_for():
    theirs = next(sha for sha in BLOBS if rank(ME, sha) < rank(A, sha))
    for other in (seen(A, wants=[theirs], late=True), seen(A, fetching=[theirs], late=True)):
        assert choose(ME, [theirs], by_name(other), 0) == Choice(theirs, From.SERVER)


def test_who_is_late_and_has_it_after_all_is_asked():
    other = seen(A, have=BLOBS[:1], late=True)
    assert choose(ME, BLOBS[:1], by_name(other), 0) == Choice(BLOBS[0], From.NEIGHBOUR)


def test_what_a_neighbour_has_does_not_come_from_the_server():
    other = seen(A, have=BLOBS[:5])
    for at_server in range(SERVER_FIRST + 2):
        assert choose(ME, BLOBS[:5], by_name(other), at_server).place is From.NEIGHBOUR


def test_some_connections_fetch_what_nobody_has_the_others_take_what_there_is():
    own = mine(BLOBS, A)
    others = by_name(seen(A, have=own[:5], wants=own[5:]))
    assert [choose(ME, own, others, number).place for number in range(4)] == [
        *[From.SERVER] * SERVER_FIRST,
        *[From.NEIGHBOUR] * (4 - SERVER_FIRST),
    ]


def test_the_rarest_is_taken_first():
    others = by_name(seen(A, have=BLOBS[:3]), seen(B, have=BLOBS[1:3]))
    assert choose(ME, BLOBS[:3], others, 0) == Choice(BLOBS[0], From.NEIGHBOUR)


def test_a_busy_neighbour_is_left_in_peace():
    busy = seen(A, have=BLOBS[:1], busy=REQUESTS)
    assert choose(ME, BLOBS[:1], by_name(busy), 0) is None
    idle = seen(B, have=BLOBS[:1])
    assert choose(ME, BLOBS[:1], by_name(busy, idle), 0) == Choice(BLOBS[0], From.NEIGHBOUR)
    assert [other.name for other in holders(BLOBS[0], (busy, idle))] == [B, A]


@pytest.mark.parametrize("nodes", [2, 10])
def test_nodes_that_tell_each_other_fetch_each_blob_once(nodes):
    """A round: all choose by what they knew at its beginning, then all know what came of it."""
    names = NODES[:nodes]
    have = {name: set() for name in names}
    fetched = Counter()
    for _ in range(100):
        known = {name: seen(name, have[name], (), set(BLOBS) - have[name]) for name in names}
        for me in names:
            others = {name: other for name, other in known.items() if name != me}
            found = choose(me, set(BLOBS) - have[me], others, 0)
            if found is not None:
                fetched[found.sha256] += found.place is From.SERVER
                have[me].add(found.sha256)
    assert all(have[name] == set(BLOBS) for name in names)
    assert set(fetched.values()) == {1}
