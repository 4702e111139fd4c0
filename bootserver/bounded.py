"""Bodies of requests, read within a bound."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

# For a whole body to come: who drips holds its memory no longer.
BODY_SECONDS = 60.0
# Bodies of more come a few at a time, others wait: anybody may begin one on each of a thousand connections.
SMALL_BYTES = 64 * 1024
LARGE_AT_A_TIME = 16


class Bodies:
    """Reads the bodies of all requests to one application."""

    def __init__(self) -> None:
        self._large = asyncio.Semaphore(LARGE_AT_A_TIME)

    async def read(self, request: Request, limit: int) -> bytes:
        """Return the body. Answers 413 and 408 as read_bounded does."""
        stated = request.headers.get("content-length", "")
        small = stated.isascii() and stated.isdigit() and len(stated) < 10 and int(stated) <= SMALL_BYTES
        async with nullcontext() if small else self._large:
            return await read_bounded(request, min(limit, SMALL_BYTES) if small else limit)


async def read_bounded(request: Request, limit: int) -> bytes:
    """Return the body. Answers 413 as soon as it is known to be longer than `limit` bytes.

    Answers 408 where it does not come within BODY_SECONDS.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request, limit)
    except TimeoutError:
        raise HTTPException(408, headers={"Connection": "close"}) from None


async def _read(request: Request, limit: int) -> bytes:
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > limit:
        raise HTTPException(413)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise HTTPException(413)
            parts.append(part)
    except ClientDisconnect:
        raise HTTPException(400) from None
    return b"".join(parts)
