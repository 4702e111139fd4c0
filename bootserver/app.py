"""The application that nodes talk to: signed calls, and blobs by their hash. Nothing else is on this port."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from bootserver.calls import Calls
from bootserver.sessions import Sessions
from bootserver.state import State
from images.manifest import is_digest
from wire import xmlrpc

# A body takes up to 96 MiB while it is read into values; anybody may send one.
CALLS_AT_A_TIME = 4


def node_app(state: State) -> Starlette:
    """Return the nodes' application."""
    routes = _NodeRoutes(state, Calls(state, Sessions()))
    return Starlette(
        routes=[
            Route("/PLCAPI/", routes.call, methods=["POST"]),
            Route("/PLCAPI", routes.call, methods=["POST"]),
            Route("/images/blobs/{digest}", routes.blob, methods=["GET"]),
        ]
    )


class _NodeRoutes:
    def __init__(self, state: State, calls: Calls) -> None:
        self._blobs = state.blobs
        self._calls = calls
        self._room = asyncio.Semaphore(CALLS_AT_A_TIME)

    async def call(self, request: Request) -> Response:
        """POST /PLCAPI/: one XML-RPC call."""
        body = await read_bounded(request, xmlrpc.MAXIMUM_BYTES)
        peer = request.client.host if request.client else ""
        async with self._room:
            answer = await run_in_threadpool(self._calls.answer, body, peer)
        return Response(answer, media_type="text/xml")

    async def blob(self, request: Request) -> Response:
        """GET /images/blobs/<sha256>: the file, with ranges. Content is checked by those who fetch it."""
        digest = request.path_params["digest"]
        if not is_digest(digest) or not self._blobs.has(digest):
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(self._blobs.path(digest), media_type="application/octet-stream", headers=headers)


async def read_bounded(request: Request, limit: int) -> bytes:
    """Return the body. Answers 413 as soon as it is known to be longer than `limit` bytes."""
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
