"""A long, thin line on the loopback: every byte comes later, and all connections share its rate."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

_FORK = multiprocessing.get_context("fork")
_PIECE = 16 * 1024
# What waits before the line in its router. Without it a late wake-up of this program would cost line time.
_QUEUE_SECONDS = 0.05


@dataclass(frozen=True)
class Link:
    """`delay` in seconds one way; `rate` in bits per second for each direction."""

    delay: float
    rate: float

    @property
    def round_trip(self) -> float:
        """Seconds there and back."""
        return 2 * self.delay


class _Direction:
    """One way of the link: a byte leaves when those before it, of whatever connection, have left."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bring all that comes from `reader` to `writer`, in time."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(under_way, writer))
        clock = asyncio.get_running_loop().time
        try:
            while data := await reader.read(_PIECE):
                self._free_at = max(self._free_at, clock()) + len(data) * 8 / self._link.rate
                under_way.put_nowait((self._free_at + self._link.delay, data))
                await asyncio.sleep(self._free_at - clock() - _QUEUE_SECONDS)
        finally:
            under_way.put_nowait((clock() + self._link.delay, b""))
            await delivering

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        clock = asyncio.get_running_loop().time
        with suppress(ConnectionError):
            while True:
                at, data = await under_way.get()
                await asyncio.sleep(at - clock())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


class _Proxy:
    def __init__(self, link: Link, port: int) -> None:
        self._link = link
        self._port = port
        self._there, self._back = _Direction(link), _Direction(link)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The loopback connects in no time; over the line that takes a round trip.
        await asyncio.sleep(self._link.round_trip)
        with suppress(ConnectionError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(
                self._there.carry(reader, far_writer),
                self._back.carry(far_reader, writer),
                return_exceptions=True,
            )
            far_writer.close()
        writer.close()


@contextmanager
def apart(serve: Callable[[Callable[[int], None]], None]) -> Iterator[int]:
    """Run a server in a process of its own, where it takes no turns with the client that is measured.

    Yields the port that `serve` tells by the function it is given.
    """
    here, there = _FORK.Pipe()
    process = _FORK.Process(target=serve, args=(there.send,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def slow_link(link: Link, port: int) -> AbstractContextManager[int]:
    """Open a port of the loopback that leads over the link to `port`."""

    async def run(tell: Callable[[int], None]) -> None:
        server = await asyncio.start_server(_Proxy(link, port).serve, "127.0.0.1", 0)
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    return apart(lambda tell: asyncio.run(run(tell)))
