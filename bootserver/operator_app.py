"""The operator's pages and API, on a port of their own: read only, and on loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jinja2
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bootserver import enrolment, nodes, output, views
from bootserver.ending import Ending
from bootserver.state import State
from bootserver.tables import Event, Node

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE_EVENTS = 300
API_EVENTS = 1000
MAXIMUM_WAIT_SECONDS = 60.0
# Command lines write into the database too, so news is looked for, not only signalled.
LOOK_SECONDS = 0.5


def operator_app(state: State, host: str, ending: Ending | None = None) -> Starlette:
    """Return the operator's application; `host` is where it listens."""
    routes = _OperatorRoutes(state, ending or Ending())
    # A page from elsewhere must not read the fleet by a name that it points to 127.0.0.1.
    allowed = [*LOOPBACK, "[::1]"] if host in LOOPBACK else ["*"]
    return Starlette(
        routes=[
            Route("/", routes.fleet),
            Route("/nodes/{name}", routes.node),
            Route("/fleet", routes.fleet_table),
            Route("/events", routes.changes),
            Route("/api/nodes", routes.api_nodes),
            Route("/api/waiting", routes.api_waiting),
            Route("/api/nodes/{name}", routes.api_node),
            Route("/api/nodes/{name}/events", routes.api_events),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed)],
    )


class _OperatorRoutes:
    def __init__(self, state: State, ending: Ending) -> None:
        self._database = state.database
        self._ending = ending
        loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
        self._pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        self._pages.filters.update(ago=output.ago, moment=output.moment, event_text=views.event_text)

    async def fleet(self, request: Request) -> Response:
        """GET /: the dashboard."""
        return await self._page("fleet.html", self._rows)

    async def fleet_table(self, request: Request) -> Response:
        """GET /fleet: the dashboard's table alone, to replace the one shown."""
        return await self._page("fleet_table.html", self._rows)

    async def node(self, request: Request) -> Response:
        """GET /nodes/NAME: a node and its timeline."""
        name = request.path_params["name"]
        return await self._page("node.html", lambda: self._whole(name))

    async def changes(self, request: Request) -> Response:
        """GET /events: a server-sent event whenever something about the fleet changed."""
        return StreamingResponse(self._changes(), media_type="text/event-stream")

    async def api_nodes(self, request: Request) -> Response:
        """GET /api/nodes."""
        return JSONResponse((await run_in_threadpool(self._rows))["nodes"])

    async def api_waiting(self, request: Request) -> Response:
        """GET /api/waiting: nodes that ask to be admitted."""
        return JSONResponse((await run_in_threadpool(self._rows))["waiting"])

    async def api_node(self, request: Request) -> Response:
        """GET /api/nodes/NAME."""
        whole = await run_in_threadpool(self._whole, request.path_params["name"])
        return JSONResponse(whole["node"])

    async def api_events(self, request: Request) -> Response:
        """GET /api/nodes/NAME/events?after=ID&wait=SECONDS: waits until there is an event, or for so long."""
        name = request.path_params["name"]
        after = int(_number(request, "after"))
        until = time.monotonic() + min(_number(request, "wait"), MAXIMUM_WAIT_SECONDS)
        while True:
            rows = await run_in_threadpool(self._events, name, after)
            late = time.monotonic() >= until or self._ending.near
            if rows or late or await request.is_disconnected():
                return JSONResponse(rows)
            await asyncio.sleep(LOOK_SECONDS)

    async def _changes(self) -> AsyncIterator[bytes]:
        known: object = None
        while not self._ending.near:
            found = await run_in_threadpool(self._version)
            if found != known:
                known = found
                yield b"data: %s\n\n" % json.dumps(found).encode()
            await asyncio.sleep(LOOK_SECONDS)

    async def _page(self, template: str, values: Callable[[], dict[str, Any]]) -> Response:
        shown = await run_in_threadpool(values)
        headers = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"}
        return HTMLResponse(self._pages.get_template(template).render(shown), headers=headers)

    def _version(self) -> list[object]:
        query = select(func.count(), func.sum(Node.generation), func.max(Node.contacted))
        with self._database.read() as session:
            newest = session.scalar(select(func.max(Event.id)))
            return [*session.execute(query).one(), newest, len(enrolment.who_waits(session))]

    def _rows(self) -> dict[str, Any]:
        with self._database.read() as session:
            return {
                "nodes": [views.node_row(node) for node in nodes.everyone(session)],
                "waiting": [enrolment.waiting_row(row) for row in enrolment.who_waits(session)],
                "now": time.time(),
            }

    def _whole(self, name: str) -> dict[str, Any]:
        with self._database.read() as session:
            node = self._find(session, name)
            rows = views.latest_events(session, node, PAGE_EVENTS)
            return {"node": views.node_whole(node), "events": rows, "now": time.time()}

    def _events(self, name: str, after: int) -> list[dict[str, Any]]:
        with self._database.read() as session:
            return views.events_after(session, self._find(session, name), after, API_EVENTS)

    def _find(self, session: Session, name: str) -> Node:
        try:
            return nodes.find(session, name)
        except nodes.NoSuchNode:
            raise HTTPException(404, "no such node") from None


def _number(request: Request, name: str) -> float:
    try:
        value = float(request.query_params.get(name, "0"))
    except ValueError:
        raise HTTPException(400, f"{name}: a number wanted") from None
    if not 0 <= value < 2**53:
        raise HTTPException(400, f"{name}: a number from 0 on wanted")
    return value
