"""Nodes that wait for a change: who may, what is noticed, what it costs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from starlette.exceptions import HTTPException

from bootserver import changes as module
from bootserver import slices
from bootserver.changes import Changes
from bootserver.ending import Ending
from bootserver.tables import Slice
from tests.unit.bootserver_deployment import Deployment
from wire.changes import ChangesKey
from wire.sealing import MasterKey
from wire.session import KEY_BYTES, NodeKey


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    deployment = Deployment(tmp_path / "state")
    deployment.add()
    with deployment.state.database.write() as session:
        slices.add(session, Slice(name="web", image="sliver", expires=2**31 - 1))
    return deployment


def add_node(server, name="node1"):
    server.cli("slice", "add-node", "web", name)


def waits(server, generation=None, name="node1"):
    """Return what waits for a change after the generation, by default the node's own."""
    node = server.node(name)
    generation = node.generation if generation is None else generation
    value = ChangesKey.derive(server.key(name), node.id).value(generation)
    return lambda changes: changes.wait(node.id, generation, value)


def run(server, scene: Callable[[Changes], Awaitable[None]], ending: Ending | None = None) -> Changes:
    changes = Changes(server.state, ending or Ending())
    asyncio.run(scene(changes))
    # Nobody waits, so nothing is kept and nobody looks.
    assert (changes._asking, changes._waiting, changes._keys, changes._looking) == (0, {}, {}, None)
    return changes


async def in_thread(work, *words):
    await asyncio.to_thread(work, *words)


async def settled(changes: Changes, count: int) -> None:
    """Wait until so many requests wait and the looks have begun."""
    while sum(map(len, changes._waiting.values())) < count or not changes._latest:
        await asyncio.sleep(0.001)


def test_a_change_by_another_connection_is_noticed_and_only_by_its_node(server):
    server.add("node2")

    async def scene(changes):
        waiting = [asyncio.create_task(waits(server)(changes)) for _ in range(2)]
        other = asyncio.create_task(waits(server, name="node2")(changes))
        await settled(changes, 3)
        await in_thread(add_node, server)
        assert await asyncio.gather(*waiting) == [True, True]
        assert not other.done()
        # The same generation again: what changed before is known at once.
        assert await waits(server, 1)(changes)
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    run(server, scene)


def test_a_change_that_was_made_before_is_answered_at_once(server):
    wait = waits(server)
    add_node(server)

    async def scene(changes):
        assert await wait(changes)

    run(server, scene)


def test_every_change_of_slivers_has_a_number_of_its_own(server, tmp_path):
    (tmp_path / "unit").write_text("[Service]\nExecStart=/bin/true\n")
    server.add("node2")
    seen = [server.node().generation]
    for words in (
        ("slice", "add-node", "web", "node1"),
        ("service", "add", "node1", "x", "--unit", tmp_path / "unit"),
        ("service", "remove", "node1", "x"),
        ("slice", "remove-node", "web", "node1"),
        ("slice", "add-node", "web", "node2"),
        ("slice", "add-node", "web", "node1"),
        ("node", "remove", "node2", "--yes"),
        ("slice", "remove", "web", "--yes"),
    ):
        server.cli(*words)
        seen.append(server.node().generation)
    assert sorted(set(seen)) == list(dict.fromkeys(seen))
    assert len(set(seen)) == 7


def test_without_a_change_the_answer_comes_in_time(server, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)

    async def scene(changes):
        assert not await waits(server)(changes)

    run(server, scene)


def test_who_does_not_know_the_key_is_refused(server):
    node = server.node()
    key = ChangesKey.derive(server.key(), node.id)
    wrong = [
        (node.id, 1, "0" * 64),
        (node.id, 2, key.value(1)),
        (node.id + 1, 1, key.value(1)),
        (node.id, 2**31, key.value(2**31)),
        (0, 1, key.value(1)),
    ]

    async def scene(changes):
        for words in wrong:
            with pytest.raises(HTTPException):
                await changes.wait(*words)

    run(server, scene)


def test_who_has_an_old_key_is_let_go_and_refused_also_while_others_wait(server):
    server.add("node2")

    async def scene(changes):
        other = asyncio.create_task(waits(server, name="node2")(changes))
        old = waits(server)
        waiting = asyncio.create_task(old(changes))
        await settled(changes, 2)
        await in_thread(server.cli, "node", "rotate-key", "node1")
        # Its call, which comes next, is refused.
        assert await waiting
        with pytest.raises(HTTPException):
            await asyncio.wait_for(old(changes), 5)
        new = asyncio.create_task(waits(server)(changes))
        await settled(changes, 2)
        await in_thread(add_node, server)
        assert await new
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)

    run(server, scene)


def test_a_node_that_is_not_there_costs_the_same_work(server, monkeypatch):
    worked, unseal = [], MasterKey.unseal
    monkeypatch.setattr(MasterKey, "unseal", lambda *words: worked.append(1) or unseal(*words))
    for node_id in (server.node().id, 999):
        assert server.web.get(f"/changes/{node_id}/1/{'0' * 64}").status_code == 403
        assert worked.pop()
        assert not worked


def test_a_node_that_is_not_there_looks_like_a_wrong_key_whatever_is_proven(server):
    # What stands for its key is no secret: anybody can make the right value.
    right = ChangesKey.derive(NodeKey(bytes(KEY_BYTES)), 999).path(1)
    answers = [server.web.get(path) for path in (f"/changes/{server.node().id}/1/{'0' * 64}", right)]
    assert len({(answer.status_code, answer.content, str(answer.headers)) for answer in answers}) == 1
    assert answers[0].status_code == 403


@pytest.mark.parametrize("number", ["-1", "x", "\u0661", "9" * 11, "9" * 5000])
def test_what_is_no_number_is_refused(server, number):
    for path in (f"/changes/{number}/1/x", f"/changes/1/{number}/x"):
        assert server.web.get(path).status_code == 403


def test_of_too_many_the_oldest_is_answered(server):
    async def scene(changes):
        waiting = [asyncio.create_task(waits(server)(changes))]
        # The key is read once; those that come then are proven in their order.
        await settled(changes, 1)
        waiting += [asyncio.create_task(waits(server)(changes)) for _ in range(module.REQUESTS_PER_NODE + 1)]
        assert await asyncio.gather(*waiting[:2]) == [False, False]
        assert not any(task.done() for task in waiting[2:])
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(server, scene)


def test_who_is_not_proven_pushes_nobody_out(server, monkeypatch):
    node, entered, go = server.node(), [], threading.Event()
    read = Changes._read

    def held(self, node_id):
        entered.append(node_id)
        go.wait(10)
        return read(self, node_id)

    async def scene(changes):
        proven = [asyncio.create_task(waits(server)(changes))]
        await settled(changes, 1)
        monkeypatch.setattr(Changes, "_read", held)
        wrong = [
            asyncio.create_task(changes.wait(node.id, 1, "0" * 64)) for _ in range(module.REQUESTS_PER_NODE)
        ]
        while len(entered) < len(wrong):
            await asyncio.sleep(0.001)
        proven.append(asyncio.create_task(waits(server)(changes)))
        await settled(changes, 2)
        # Whoever is answered is so in the next turn of the loop.
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in proven)
        go.set()
        assert {type(error) for error in await asyncio.gather(*wrong, return_exceptions=True)} == {
            HTTPException
        }
        assert not any(task.done() for task in proven)
        for task in proven:
            task.cancel()
        await asyncio.gather(*proven, return_exceptions=True)

    run(server, scene)


def test_a_look_that_is_faster_than_a_reading_is_not_forgotten(server, monkeypatch):
    server.add("node2")
    wait, other, read = waits(server), waits(server, name="node2"), Changes._read
    first = server.node().id

    def slow(self, node_id):
        found = read(self, node_id)
        if node_id == first:
            add_node(server)
            while self._latest.get(first, 0) <= found.generation:
                time.sleep(0.001)
        return found

    async def scene(changes):
        # As long as one waits, what is known is kept.
        waiting = asyncio.create_task(other(changes))
        await settled(changes, 1)
        monkeypatch.setattr(Changes, "_read", slow)
        assert await wait(changes)
        assert await asyncio.wait_for(wait(changes), 5)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(server, scene)


def test_a_server_that_ends_lets_everybody_go(server):
    ending = Ending()

    async def scene(changes):
        waiting = asyncio.create_task(waits(server)(changes))
        await settled(changes, 1)
        ending.near = True
        assert not await waiting

    run(server, scene, ending)


def test_all_wait_for_one_look(server, monkeypatch):
    names = [f"n{number}" for number in range(30)]
    for name in names:
        server.add(name)
    looks, reads = [], []
    since, read = Changes._since, Changes._read
    monkeypatch.setattr(Changes, "_since", lambda self, seen: looks.append(seen) or since(self, seen))
    monkeypatch.setattr(Changes, "_read", lambda self, node: reads.append(node) or read(self, node))
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    wanted = [waits(server, name=name) for name in names]

    async def scene(changes):
        waiting = [asyncio.create_task(wait(changes)) for wait in wanted]
        while len(changes._latest) < len(names):
            await asyncio.sleep(0.01)
        # Whoever asks again costs nothing of the database.
        again = [asyncio.create_task(wait(changes)) for wait in wanted]
        looks.clear()
        await asyncio.sleep(0.5)
        assert len(looks) <= 4, "one every 0.2 s"
        assert len(reads) == len(names)
        for task in (*waiting, *again):
            task.cancel()
        await asyncio.gather(*waiting, *again, return_exceptions=True)

    run(server, scene)


def test_the_application_answers(server):
    node = server.node()
    key = ChangesKey.derive(server.key(), node.id)
    add_node(server)
    answer = server.web.get(key.path(node.generation))
    assert (answer.status_code, answer.content) == (200, b"changed\n")
    assert answer.headers["cache-control"] == "no-store"
    assert server.web.get(f"/changes/{node.id}/1/{'0' * 64}").status_code == 403
    reply = server.client().call("GetSlivers")
    assert reply["generation"] == server.node().generation > node.generation


def test_the_reply_may_be_one_text(server):
    add_node(server)
    client = server.client()
    plain, text = client.call("GetSlivers"), client.call("GetSlivers", {"form": "json"})
    assert json.loads(text) | {"timestamp": 0} == plain | {"timestamp": 0}
