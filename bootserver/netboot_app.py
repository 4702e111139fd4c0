"""The application that machines start from: iPXE, its scripts, and the boot medium's parts. By plain HTTP.

Whoever asks gets it: there is no secret in it, and nothing of it is believed because it came from here.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from bootserver import ipxe
from bootserver.metadata import ROOT, versions
from bootserver.netboot import arguments_for, published
from bootserver.state import State
from wire.trust import METADATA_FILE

# Where Debian's package ipxe has it.
LOADERS = Path("/usr/lib/ipxe")
LOADER_NAMES = ("snponly.efi", "ipxe.efi", "undionly.kpxe")
_MAC = re.compile(r"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}")
_KEY = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"vmlinuz|initrd|[A-Za-z0-9_-]{1,60}\.squashfs")
# The initial ramdisk knows addresses only, of version 4.
_HOST = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?")
# A machine is looked up among all that nodes told.
_LOOKUPS_AT_A_TIME = 2
_FRESH = {"Cache-Control": "no-store"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def netboot_app(state: State, loaders: Path = LOADERS) -> Starlette:
    """Return the application; `loaders` is the folder with iPXE."""
    routes = _Routes(state, loaders)
    return Starlette(
        routes=[
            Route("/netboot/boot.ipxe", routes.first, methods=["GET"]),
            Route("/netboot/{mac}.ipxe", routes.script, methods=["GET"]),
            Route("/netboot/{key}/" + METADATA_FILE, routes.metadata, methods=["GET"]),
            Route("/netboot/{key}/{name}", routes.file, methods=["GET"]),
            Route("/netboot/{name}", routes.loader, methods=["GET"]),
        ]
    )


class _Routes:
    def __init__(self, state: State, loaders: Path) -> None:
        self._state = state
        self._loaders = loaders
        self._room = asyncio.Semaphore(_LOOKUPS_AT_A_TIME)

    async def first(self, request: Request) -> Response:
        """GET /netboot/boot.ipxe: the script for every machine."""
        return PlainTextResponse(ipxe.FIRST, headers=_FRESH)

    async def script(self, request: Request) -> Response:
        """GET /netboot/MAC.ipxe: the script for one machine, known or not."""
        mac, host = request.path_params["mac"].lower(), request.headers.get("host", "")
        if not _MAC.fullmatch(mac):
            raise HTTPException(404)
        if not _HOST.fullmatch(host):
            raise HTTPException(400, "ask by http://ADDRESS:PORT/, with an address of IPv4")
        async with self._room:
            key, arguments = await run_in_threadpool(self._wanted, mac.replace("-", ":"))
        if not key:
            raise HTTPException(404)
        return PlainTextResponse(ipxe.start(f"http://{host}", key, arguments), headers=_FRESH)

    def _wanted(self, mac: str) -> tuple[str, str]:
        with self._state.database.read() as session:
            return published(session), arguments_for(session, mac)

    async def metadata(self, request: Request) -> Response:
        """GET /netboot/KEY/metadata.json: what is signed now, all files in one."""
        files = await run_in_threadpool(_bundle, self._state.metadata)
        return Response(json.dumps(files), media_type="application/json", headers=_FRESH)

    async def file(self, request: Request) -> Response:
        """GET /netboot/KEY/NAME: kernel, initial ramdisk or a layer, with ranges."""
        key, name = request.path_params["key"], request.path_params["name"]
        path = self._state.netboot / key / name
        if not _KEY.fullmatch(key) or not _FILE.fullmatch(name) or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="application/octet-stream", headers=_FOR_EVER)

    async def loader(self, request: Request) -> Response:
        """GET /netboot/NAME: iPXE itself, for firmware that boots by HTTP."""
        name = request.path_params["name"]
        path = self._loaders / name
        if name not in LOADER_NAMES or not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, media_type="application/efi", headers=_FRESH)


def _bundle(folder: Path) -> dict[str, str]:
    """Return the signed metadata that the timestamp leads to, and every root: media may be old."""
    files = {"timestamp.json": (folder / "timestamp.json").read_text()}
    before = "timestamp.json"
    for name in ("snapshot.json", "targets.json"):
        version = int(json.loads(files[before])["signed"]["meta"][name]["version"])
        files[name] = (folder / f"{version}.{name}").read_text()
        before = name
    return files | {path.name: path.read_text() for path in versions(folder, ROOT).values()}
