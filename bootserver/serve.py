"""Runs the applications, each on a socket of its own, in one process and one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from bootserver.app import node_app
from bootserver.ending import Ending
from bootserver.netboot_app import netboot_app
from bootserver.operator_app import operator_app
from bootserver.signing import renew
from bootserver.state import State
from bootserver.tls import Tls
from wire.errors import BootError, ConfigurationError
from wire.tls import BadCertificate

log = logging.getLogger(__name__)

# Transfers still under way are cut off so long after the server was told to end; nodes go on later.
GRACE_SECONDS = 3
# How often it is looked whether the certificate has to be renewed, or was.
FRESH_SECONDS = 60
# How often it is looked whether metadata have lived half of their period, which is a day at the least.
RENEW_SECONDS = 600


class CannotListen(ConfigurationError):
    """An address cannot be listened on."""

    code = "cannot-listen"
    title = "The server cannot listen there"
    hint = "Another program may have the port (ss -ltnp), or the address is not this machine's."


@dataclass(frozen=True)
class Address:
    """Where to listen: `::` is every address, IPv4 too; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT, an IPv6 address in brackets. Raises ValueError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not of the form HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def listen(self) -> socket.socket:
        """Return a listening socket. Raises CannotListen."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # The protocol is named (socket.create_server would leave it 0), because asyncio turns Nagle's
        # algorithm off for sockets only that say they are TCP: 40 ms for every call otherwise.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Every address of both versions, however this system is set.
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.host != "::")
            listening.bind((self.host, self.port))
            listening.listen(512)
        except OSError as error:
            listening.close()
            raise CannotListen(f"{self.host}:{self.port}: {error.strerror or error}") from None
        return listening


class _Server(uvicorn.Server):
    """Leaves signals alone: two servers in a process would take them from one another."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class _Listener:
    """An application on its socket, with TLS or without."""

    name: str
    app: Starlette
    socket: socket.socket
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return f"{'http' if self.tls is None else 'https'}://{place}/"


def serve(
    state: State, nodes: Address, operator: Address, *, plain: bool = False, netboot: Address | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; nodes by TLS if there is a certificate, unless `plain`.

    `netboot` is where machines get what they start with, which is by plain HTTP.

    Raises CannotListen, BadCertificate.
    """
    with contextlib.ExitStack() as stack:
        context = None
        if state.tls.present and not plain:
            state.tls.renew_if_due()
            context = state.tls.context()
        sockets = [stack.enter_context(address.listen()) for address in (nodes, operator)]
        ending = Ending()
        listeners = [
            _Listener("nodes", node_app(state, ending), sockets[0], context),
            _Listener("operator", operator_app(state, operator.host, ending), sockets[1]),
        ]
        if netboot is not None:
            listening = stack.enter_context(netboot.listen())
            listeners.append(_Listener("netboot", netboot_app(state), listening))
        asyncio.run(_run(state, listeners, ending))


async def _run(state: State, listeners: Sequence[_Listener], ending: Ending) -> None:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    servers = [_Server(_config(listener)) for listener in listeners]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, servers, ending)
    renewing = asyncio.create_task(_renew(state))
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener.socket]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    # The sockets accept already, so whoever reads this line may connect.
    for listener in listeners:
        click.echo(f"{listener.name}: {listener.url}")
    fresh = [asyncio.create_task(_keep_fresh(state.tls, one.tls)) for one in listeners if one.tls is not None]
    await asyncio.gather(*tasks)
    for task in (renewing, *fresh):
        task.cancel()


async def _keep_fresh(tls: Tls, context: ssl.SSLContext) -> None:
    """Renew the certificate in time, and take up one that an operator renewed."""
    known = _version(tls)
    while True:
        await asyncio.sleep(FRESH_SECONDS)
        tls.renew_if_due()
        found = _version(tls)
        if found == known:
            continue
        try:
            tls.load(context)
        except BadCertificate as error:
            log.error("the server goes on with the certificate that it has: %s", error)
        known = found


def _version(tls: Tls) -> tuple[int, int]:
    try:
        status = tls.server.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


async def _renew(state: State) -> None:
    """Sign the images' metadata again in time, as long as the server runs."""
    while True:
        try:
            for role in await run_in_threadpool(renew, state):
                log.info("signed the metadata of %s again", role)
        except (BootError, OSError) as error:
            # Nodes go on with what is signed until that expires; the log says so each time.
            log.error("the images' metadata cannot be renewed: %s", error)
        await asyncio.sleep(RENEW_SECONDS)


def _end(servers: list[_Server], ending: Ending) -> None:
    ending.near = True
    for server in servers:
        server.should_exit = True


def _config(listener: _Listener) -> uvicorn.Config:
    config = uvicorn.Config(
        listener.app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Keep-alive outlasts the pauses between a node's calls during an installation.
        timeout_keep_alive=60,
    )
    config.load()
    # Ours, because uvicorn would name a protocol version, and because it is loaded again later.
    config.ssl = listener.tls
    return config
