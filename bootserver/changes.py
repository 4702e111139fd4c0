"""Nodes that wait for a change of their configuration: thousands of them, for one look a second.

A request that waits is a future in the event loop and no thread. One task looks for all of them, as long as
any waits: it asks the database which nodes have a generation beyond the last one that it saw, by an index.
So a change is noticed whoever made it, the command line in another process as well. A node's key is read
once while nodes wait, and again where a request is not proven by it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bootserver import nodes
from bootserver.ending import Ending
from bootserver.state import State
from bootserver.tables import Node
from wire.changes import CHANGED, UNCHANGED, WAIT_SECONDS, ChangesKey
from wire.errors import BootError
from wire.session import KEY_BYTES, NodeKey, same_mac

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# A node whose connections break leaves some behind; of too many the oldest is answered.
REQUESTS_PER_NODE = 4
_MAXIMUM = 2**31 - 1
_NUMBER = re.compile("[0-9]{1,10}")


@dataclass(frozen=True)
class _Found:
    """A node's key and latest generation; of one that is not `there`, those of nobody."""

    key: ChangesKey
    generation: int
    there: bool


class Changes:
    """Answers those who wait. Belongs to one event loop."""

    def __init__(self, state: State, ending: Ending) -> None:
        self._state = state
        self._ending = ending
        # How many requests are under way, and those that are proven.
        self._asking = 0
        self._waiting: dict[int, list[asyncio.Future[bool]]] = {}
        self._keys: dict[int, ChangesKey] = {}
        # For nodes that are not there: the same work for them.
        self._decoy = state.master.seal(bytes(KEY_BYTES), nodes.purpose(0))
        self._latest: dict[int, int] = {}
        self._looking: asyncio.Task[None] | None = None
        # Whether what is read of the database from now on is followed by looks.
        self._following = asyncio.Event()

    async def changes(self, request: Request) -> Response:
        """GET /changes/NODE/GENERATION/VALUE: answers at a later generation, or at last."""
        given = request.path_params
        numbers = given["node_id"], given["generation"]
        # Python takes other digits than these too, and raises an error for thousands of them.
        if not all(map(_NUMBER.fullmatch, numbers)):
            raise HTTPException(403)
        found = await self.wait(int(numbers[0]), int(numbers[1]), given["value"])
        # A proxy must not answer for the server.
        return Response(CHANGED if found else UNCHANGED, headers={"Cache-Control": "no-store"})

    async def wait(self, node_id: int, generation: int, value: str) -> bool:
        """Return whether the node's generation is later, after WAIT_SECONDS if it is not.

        Raises HTTPException 403 where `value` was not made with the node's key.
        """
        if not 0 < node_id <= _MAXIMUM or not 0 <= generation <= _MAXIMUM:
            raise HTTPException(403)
        self._asking += 1
        if self._looking is None:
            self._following = asyncio.Event()
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._following.wait()
                if await self._proven(node_id, generation, value) > generation:
                    return True
                return await self._answered(node_id)
        except TimeoutError:
            return False
        finally:
            self._asking -= 1
            if not self._asking:
                self._rest()

    async def _answered(self, node_id: int) -> bool:
        """Wait among the node's requests. Only proven ones are: others must push none of them out."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(node_id, [])
        waiting.append(future)
        _answer(waiting[:-REQUESTS_PER_NODE], changed=False)
        try:
            return await future
        finally:
            waiting.remove(future)
            if not waiting:
                del self._waiting[node_id]

    def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = None
        self._keys.clear()
        self._latest.clear()

    async def _proven(self, node_id: int, generation: int, value: str) -> int:
        """Return the node's latest generation. Raises HTTPException 403."""
        known = self._keys.get(node_id)
        if known is None or not same_mac(value, known.value(generation)):
            found = await run_in_threadpool(self._read, node_id)
            if not same_mac(value, found.key.value(generation)) or not found.there:
                raise HTTPException(403)
            self._keys[node_id] = found.key
            # A look may have been faster than this reading.
            self._latest[node_id] = max(found.generation, self._latest.get(node_id, 0))
        return self._latest[node_id]

    def _read(self, node_id: int) -> _Found:
        with self._state.database.read() as session:
            row = session.execute(select(Node.sealed_key, Node.generation).where(Node.id == node_id)).first()
        sealed, generation = row if row is not None else (self._decoy, 0)
        purpose = nodes.purpose(node_id if row is not None else 0)
        key = NodeKey(self._state.master.unseal(sealed, purpose))
        return _Found(ChangesKey.derive(key, node_id), generation, row is not None)

    async def _look(self) -> None:
        """Answer those whose node has another generation, until nobody waits."""
        seen = None
        while True:
            try:
                if seen is None:
                    seen = await run_in_threadpool(self._newest)
                    self._following.set()
                for node_id, generation in await run_in_threadpool(self._since, seen):
                    seen = max(seen, generation)
                    # What changed may be the key.
                    self._keys.pop(node_id, None)
                    self._latest[node_id] = generation
                    _answer(self._waiting.get(node_id, []), changed=True)
            except BootError as error:
                log.error("changes cannot be looked for: %s", error)
            if self._ending.near:
                for waiting in self._waiting.values():
                    _answer(waiting, changed=False)
            await asyncio.sleep(LOOK_SECONDS)

    def _newest(self) -> int:
        with self._state.database.read() as session:
            return session.scalar(select(func.max(Node.generation))) or 0

    def _since(self, seen: int) -> list[tuple[int, int]]:
        with self._state.database.read() as session:
            query = select(Node.id, Node.generation).where(Node.generation > seen)
            return [(row.id, row.generation) for row in session.execute(query)]


def _answer(waiting: Sequence[asyncio.Future[bool]], *, changed: bool) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(changed)
