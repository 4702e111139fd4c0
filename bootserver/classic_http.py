"""The plain HTTP requests of classic boot managers, below /boot/. None of them is authenticated.

So a request counts as a node's only where the node proved itself from the same address before, by a call.
To everybody else there is nothing here, and whoever asks for a node's id by a MAC learns a number at most.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from bootserver import classic_nodes
from bootserver.bounded import read_bounded
from bootserver.peers import peer_of
from bootserver.state import State
from bootserver.tables import ClassicNode, Node
from host.files import write_atomic

log = logging.getLogger(__name__)

FOLDER = "classic"
LOGS = "logs"
# The originals kept 16 KiB of a log; one whole boot with an installation fits in this.
LOG_BYTES = 1024 * 1024
LOGS_KEPT = 8
_FORM_BYTES = 4096
_FIELDS = 8
UNKNOWN = -1
_ARCHIVE = re.compile(r"bootstrapfs(-[A-Za-z0-9_.]{1,32}){2,3}\.tar\.bz2(\.sha1sum)?")


class ClassicHttp:
    """What lies below /boot/."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._folder = state.folder / FOLDER

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/boot/getnodeid.php", self.node_id, methods=["POST"]),
            Route("/boot/upload-bmlog.php", self.upload_log, methods=["POST"]),
            Route("/boot/{archive}", self.archive, methods=["GET"]),
        ]

    async def node_id(self, request: Request) -> Response:
        """POST getnodeid.php: which marked node has `mac_addr`, else calls from this address; or -1."""
        form = await _form(request, _FORM_BYTES, files=0)
        mac = form.get("mac_addr") or request.query_params.get("mac_addr", "")
        found = await run_in_threadpool(self._find, str(mac), peer_of(request))
        return PlainTextResponse(str(found))

    def _find(self, mac: str, peer: str) -> int:
        with self._database.read() as session:
            if mac:
                marked = classic_nodes.by_mac(session, mac)
            else:
                marked = classic_nodes.only_one(classic_nodes.at(session, peer))
            return marked.classic_id if marked is not None else UNKNOWN

    async def upload_log(self, request: Request) -> Response:
        """POST upload-bmlog.php: multipart with `log` and perhaps `hostname`; kept for the operator."""
        peer = peer_of(request)
        # First whose it is: nobody else's megabyte is read.
        if not await run_in_threadpool(self._nodes_at, peer):
            raise HTTPException(404)
        form = await _form(request, LOG_BYTES + _FORM_BYTES, files=1)
        upload = form.get("log")
        content = await upload.read(LOG_BYTES) if isinstance(upload, UploadFile) else b""
        await run_in_threadpool(self._keep, peer, str(form.get("hostname", "")), content)
        return PlainTextResponse("")

    def _nodes_at(self, peer: str) -> list[int]:
        with self._database.read() as session:
            return [marked.node_id for marked in classic_nodes.at(session, peer)]

    def _keep(self, peer: str, hostname: str, content: bytes) -> None:
        with self._database.read() as session:
            marked = _sender(session, peer, hostname)
        if marked is None:
            raise HTTPException(404)
        folder = self._folder / LOGS / str(marked.node_id)
        write_atomic(folder / f"{time.time_ns()}.log", content, mode=0o600)
        for old in sorted(folder.glob("*.log"))[:-LOGS_KEPT]:
            old.unlink(missing_ok=True)
        log.info("kept a log of %d bytes that %s sent for node %d", len(content), peer, marked.node_id)

    async def archive(self, request: Request) -> Response:
        """GET bootstrapfs-...: a file that the operator laid there, for nodes that called before."""
        name = request.path_params["archive"]
        path: Path = self._folder / name
        if not _ARCHIVE.fullmatch(name) or not await run_in_threadpool(self._nodes_at, peer_of(request)):
            raise HTTPException(404)
        if not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="application/octet-stream")


def _sender(session: Session, peer: str, hostname: str) -> ClassicNode | None:
    """Return which node at that address a log is of; where there are several, they have to say."""
    found = classic_nodes.at(session, peer)
    names = {marked.node_id: node.name for marked in found if (node := session.get(Node, marked.node_id))}
    named = [marked for marked in found if names.get(marked.node_id) == hostname.lower()]
    return classic_nodes.only_one(named or found)


async def _form(request: Request, limit: int, *, files: int) -> FormData:
    """Return the form in a body of at most `limit` bytes. Answers 413 or 400."""
    body = await read_bounded(request, limit)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    # Read again from memory: the library has no bound for a whole body.
    return await Request(request.scope, receive).form(max_files=files, max_fields=_FIELDS)
