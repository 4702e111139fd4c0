"""One event loop, with threads, for the requests of all tests: a client makes its own for each request."""

from contextlib import ExitStack
from functools import cache

_kept = ExitStack()


@cache
def portal():
    """What a TestClient reaches its application through; it lasts until close()."""
    # Most tests send no request.
    from anyio.from_thread import start_blocking_portal

    return _kept.enter_context(start_blocking_portal())


def close():
    """End it: the process would wait for its threads."""
    _kept.close()
