"""The application that nodes talk to: calls, signed metadata, blobs by hash, what classic nodes ask for."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bootserver import catalogue
from bootserver.bounded import Bodies
from bootserver.calls import Calls
from bootserver.changes import Changes
from bootserver.classic_http import ClassicHttp
from bootserver.ending import Ending
from bootserver.metadata import is_metadata_name
from bootserver.peers import peer_of
from bootserver.sessions import Sessions
from bootserver.state import State
from images.manifest import is_digest
from wire import changes, xmlrpc
from wire.trust import METADATA_PATH

# A body takes up to 96 MiB while it is read into values; anybody may send one.
CALLS_AT_A_TIME = 4


def node_app(state: State, ending: Ending | None = None) -> Starlette:
    """Return the nodes' application."""
    routes = _NodeRoutes(state, Calls(state, Sessions()))
    waiting = Changes(state, ending or Ending())
    return Starlette(
        routes=[
            Route("/PLCAPI/", routes.call, methods=["POST"]),
            Route("/PLCAPI", routes.call, methods=["POST"]),
            Route(changes.ROUTE, waiting.changes, methods=["GET"]),
            Route("/images/blobs/{digest}", routes.blob, methods=["GET"]),
            Route("/images/updates/{digest}", routes.updates, methods=["GET"]),
            *ClassicHttp(state).routes(),
            Route(METADATA_PATH + "{name}", routes.metadata, methods=["GET"]),
            Route("/tuf/targets/{digest}.{name}", routes.blob, methods=["GET"]),
        ]
    )


class _NodeRoutes:
    def __init__(self, state: State, calls: Calls) -> None:
        self._state = state
        self._blobs = state.blobs
        self._metadata = state.metadata
        self._calls = calls
        self._bodies = Bodies()
        self._room = asyncio.Semaphore(CALLS_AT_A_TIME)

    async def call(self, request: Request) -> Response:
        """POST /PLCAPI/: one XML-RPC call."""
        body = await self._bodies.read(request, xmlrpc.MAXIMUM_BYTES)
        async with self._room:
            answer = await run_in_threadpool(self._calls.answer, body, peer_of(request))
        return Response(answer, media_type="text/xml")

    async def blob(self, request: Request) -> Response:
        """GET /images/blobs/<sha256>: the file, with ranges. Content is checked by those who fetch it."""
        digest = request.path_params["digest"]
        if not is_digest(digest) or not self._blobs.has(digest):
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(self._blobs.path(digest), media_type="application/octet-stream", headers=headers)

    async def updates(self, request: Request) -> Response:
        """GET /images/updates/<sha256 of a manifest>: from which others there are updates to it.

        `[{"old": sha256, "update": sha256}]`, the newest first; both are manifests and so blobs.
        """
        digest = request.path_params["digest"]
        found = await run_in_threadpool(self._updates_to, digest) if is_digest(digest) else []
        return JSONResponse(found, headers={"Cache-Control": "no-cache"})

    def _updates_to(self, digest: str) -> list[dict[str, str]]:
        with self._state.database.read() as session:
            updates = catalogue.updates_to(session, digest)
            return [{"old": update.old, "update": update.manifest} for update in updates]

    async def metadata(self, request: Request) -> Response:
        """GET /tuf/metadata/<name>: timestamp.json changes, the others with their version never do."""
        name = request.path_params["name"]
        path = self._metadata / name
        if not is_metadata_name(name) or not await run_in_threadpool(path.is_file):
            raise HTTPException(404)
        age = "no-cache" if name == "timestamp.json" else "public, max-age=31536000, immutable"
        # Read in one go: the file may be replaced at any moment.
        content = await run_in_threadpool(path.read_bytes)
        return Response(content, media_type="application/json", headers={"Cache-Control": age})
