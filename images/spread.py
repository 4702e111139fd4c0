"""A task for each of many blobs, in several threads, no more than a bounded number ahead of the consumer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count, islice
from queue import SimpleQueue
from typing import TypeVar

from host.halt import Halt
from images.manifest import Blob


@dataclass(frozen=True)
class Got:
    """A blob with its verified content, and the end of its way into the cache, if it goes there."""

    blob: Blob
    data: bytes
    stored: Future[None] | None = None


# What a task is told to get: a blob, or where it chooses one.
Item = TypeVar("Item")
Task = Callable[[Item, Halt], Got]


def spread(
    items: Iterable[Item],
    task: Task[Item],
    pool: ThreadPoolExecutor,
    halt: Halt,
    *,
    most: int,
    in_order: bool,
) -> Generator[tuple[Blob, bytes], None, None]:
    """Yield the blob that each task got, with its content, in the order of `items` or as they come.

    At most `most` contents are in memory: being got, waiting, in the consumer's hands, or on their way
    into the cache. `items` is read as tasks are begun. The first task that fails gives `halt`, and its
    error is raised at once, whatever is ready in front of it. Leaving the generator gives `halt` too.
    """
    asked = iter(items)
    numbers = count()
    under_way: dict[int, Future[Got]] = {}
    ended: SimpleQueue[int] = SimpleQueue()
    ready: set[int] = set()
    storing: list[Future[None]] = []
    try:
        while True:
            # A full or broken dongle is no error; what result() raises is a fault in the program.
            storing = [stored for stored in storing if not stored.done() or stored.result() is not None]
            # One place is for the content that the consumer still has from the last time.
            room = most - 1 - len(under_way) - len(storing)
            for item in islice(asked, max(room, 0)):
                number = next(numbers)
                future = under_way[number] = _begin(pool, task, item, halt)
                future.add_done_callback(_ending(number, ended, halt))
                del future
            if not under_way and room > 0:
                return
            if not under_way:
                wait(storing, return_when=FIRST_COMPLETED)
                continue
            number = next(iter(under_way))
            while not ended.empty() or (number not in ready if in_order else not ready):
                now = ended.get()
                # Raises what the task raised.
                under_way[now].result()
                ready.add(now)
            if not in_order:
                number = next(iter(ready))
            ready.remove(number)
            got = under_way.pop(number).result()
            yield got.blob, got.data
            if got.stored is not None:
                storing.append(got.stored)
            del got
    finally:
        halt.set()
        for future in under_way.values():
            future.cancel()


def _begin(pool: ThreadPoolExecutor, task: Task[Item], item: Item, halt: Halt) -> Future[Got]:
    try:
        return pool.submit(task, item, halt)
    except RuntimeError:
        # Its pool was shut down, in another thread than the consumer's.
        halt.check()
        raise


def _ending(number: int, ended: SimpleQueue[int], halt: Halt) -> Callable[[Future[Got]], None]:
    def tell(future: Future[Got]) -> None:
        # In this order the consumer hears of the failure before it hears of what that cut short.
        ended.put(number)
        if future.cancelled() or future.exception() is not None:
            halt.set()

    return tell
