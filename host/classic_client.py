"""Calls of a node to an existing PLCAPI, with the surface that steps know from host.server.ServerClient.

What such a server cannot give: a time that could be trusted (server_time stays 0), the run and generation
of what is wanted (the node counts them itself, host.classic_run), which image is the base (pinned by its hash
on the key medium), ssh keys, and what shall run on the node. What it cannot take: single events (they go as a
log, at the end of a boot) and the inventory. Its replies are not authenticated: see docs/classic.md.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from urllib3 import encode_multipart_formdata

from host.classic_run import STATES, ForgetfulMemory, RunMemory
from host.http import HttpClient, http_of
from host.server import (
    FAULT_AUTHENTICATION,
    PATH,
    TROUBLE_FAULTS,
    AuthenticationRefused,
    CallRefused,
    ServerClient,
    ServerTrouble,
)
from host.texts import _
from wire import xmlrpc
from wire.errors import BootError, ConfigurationError, TransientError
from wire.messages import Minimum, NodeDetails, RunLevel
from wire.nodeconf import NodeConfiguration, Protocol
from wire.plc import hmac_auth, session_auth
from wire.structure import MalformedMessage, unstructure

log = logging.getLogger(__name__)

FAULT_METHOD = 100
# The database, and a fault in the server's program: as good as a server that is away.
UPLOAD_PATH = "/boot/upload-bmlog.php"
LOG_BYTES = 512 * 1024
# The events that end a boot: what was told until then is sent as a log.
_CHAINED = "chain.started"
_UPLOAD_AT = {_CHAINED, "debug.entered"}
# Our errors that the owners of a node were notified of by classic boot managers too.
_NOTIFIED = {
    "insufficient-memory": "insufficientmemory",
    "no-disk": "insufficientdisk",
    "disk-too-small": "insufficientdisk",
    "not-installed": "notinstalled",
    "filesystem-damaged": "filesystemcorrupted",
    "no-kernel": "missingkernel",
}
_FINISHED = "installfinished"


class MethodUnknown(CallRefused):
    """The server is of another year and does not have a method."""

    code = "method-unknown"
    title = "The server does not have this call"
    hint = "Is BOOT_SERVER a PLCAPI, and of which year? docs/classic.md lists the calls that are needed."


class NotClassic(ConfigurationError):
    """A classic server has nothing like what was asked of it."""

    code = "not-classic"
    title = "A classic server cannot do this"
    hint = 'It needs a bootserver: remove PROTOCOL="plcapi" from the key medium. See docs/classic.md.'


class UnknownClassicState(ConfigurationError):
    """The server wants a state that is none of ours and must not be mistaken for one."""

    code = "unknown-classic-state"
    title = "The server wants a state that this program does not have"
    hint = "Set boot_state to reinstall, boot or safeboot (2007: rins, boot, dbg) at the PLCAPI."


def client_for(
    configuration: NodeConfiguration, node_ip: str, memory: RunMemory | None = None
) -> ServerClient:
    """Return the client that speaks what the key medium says."""
    if configuration.protocol is Protocol.SIGNED:
        return ServerClient.of(configuration, node_ip)
    return ClassicClient(http_of(configuration), configuration, node_ip, memory)


class ClassicClient(ServerClient):
    """Calls by the classic protocol. Safe to use from several threads."""

    def __init__(
        self,
        http: HttpClient,
        configuration: NodeConfiguration,
        node_ip: str = "",
        memory: RunMemory | None = None,
    ) -> None:
        super().__init__(http, configuration.node_id, configuration.key, node_ip)
        self._configuration = configuration
        self._memory: RunMemory = memory or ForgetfulMemory()
        self._session_text = ""
        self._told: deque[str] = deque()
        self._told_bytes = 0
        self._notified: set[str] = set()
        self._methods: dict[str, Callable[..., Any]] = {
            "BootGetNodeDetails": self._details,
            "BootUpdateNode": self._update,
            "ReportRunlevel": self._run_level,
            "BootReportEvents": self._events,
        }

    def open(self) -> None:
        """Do nothing: there is no session to open, and no time that could be learnt."""

    def call(self, method: str, *params: Any) -> Any:
        """Do what a signed call of that name does, as far as a classic server can.

        Raises AuthenticationRefused, CallRefused, ServerTrouble, ServerUnreachable, MalformedMessage,
        NotClassic, UnknownClassicState.
        """
        with self._lock:
            if method not in self._methods:
                raise NotClassic(method)
            return self._methods[method](*params)

    def _details(self, _fields: object = None) -> Any:
        match self._record():
            case {"hostname": str(hostname), "boot_state": str(boot_state), "model": str(model)}:
                pass
            case _:
                raise MalformedMessage("the node's record: hostname, boot_state and model wanted")
        if boot_state not in STATES:
            raise UnknownClassicState(repr(boot_state[:64]))
        run = self._memory.load().after(boot_state, "/".join((hostname, boot_state, model)))
        self._memory.save(run)
        base = self._configuration.base_image
        if base is None:
            raise NotClassic("to say which base image is to be installed", hint=_("Set BASE_IMAGE."))
        details = NodeDetails(
            node_id=self._node_id,
            hostname=hostname.lower(),
            boot_state=STATES[boot_state],
            run_id=run.run_id,
            generation=run.generation,
            base_image=base,
        )
        # Flags follow the model's name, as in "Dell 2950/minhw": install whatever the hardware is.
        if "minhw" in model.split("/")[1:]:
            details = replace(details, minimum=Minimum(1, 1))
        return unstructure(details)

    def _record(self) -> Any:
        try:
            return self._ask("BootGetNodeDetails")
        except MethodUnknown:
            found = self._ask("GetNodes", self._node_id, ["hostname", "boot_state", "model"])
            return found[0] if isinstance(found, list) and found else None

    def _update(self, changes: dict[str, Any]) -> Any:
        """Tell the host key, then the finished installation; the inventory has no place there."""
        if "run_id" in changes and changes["run_id"] != self._memory.load().run_id:
            raise CallRefused("another run was begun meanwhile")
        if changes.get("ssh_host_key"):
            self._ask("BootUpdateNode", {"ssh_host_key": str(changes["ssh_host_key"]).strip()})
        if "boot_state" in changes:
            self._ask("BootUpdateNode", {"boot_state": str(changes["boot_state"])})
            self._notify(_FINISHED)
        return 1

    def _run_level(self, report: dict[str, Any]) -> Any:
        try:
            return self._ask("ReportRunlevel", {"run_level": str(RunLevel(report["run_level"]))})
        except MethodUnknown as error:
            # In 2007 a failure was told by setting the intent to dbg, and the node looked broken for ever.
            log.info("not told, this server has intents only: %s", error.detail)
            return 1

    def _events(self, events: list[dict[str, Any]]) -> Any:
        lines = [json.dumps(event, separators=(",", ":")) + "\n" for event in events]
        told = {event.get("event") for event in events}
        if _CHAINED in told:
            # configmanager, which runs next, has nothing to ask such a server: nobody else would say it.
            self._run_level({"run_level": RunLevel.BOOT})
        if _UPLOAD_AT & told:
            self._upload("".join((*self._told, *lines)))
        # Only now: a batch whose upload failed comes again.
        for line in lines:
            self._told.append(line)
            self._told_bytes += len(line)
        while self._told_bytes > LOG_BYTES:
            self._told_bytes -= len(self._told.popleft())
        for event in events:
            if event.get("event") == "error" and event.get("code") in _NOTIFIED:
                self._notify(_NOTIFIED[event["code"]])
        return len(events)

    def _notify(self, message: str) -> None:
        """Have the owners told, once a connection: a node that fails again and again must not flood them."""
        if message in self._notified:
            return
        try:
            self._ask("BootNotifyOwners", message, 1, 1, 0)
        except CallRefused as error:
            log.warning("the owners are not notified: %s", error)
        self._notified.add(message)

    def _upload(self, text: str) -> None:
        body, content_type = encode_multipart_formdata(
            [
                ("log", ("bm.log", text.encode()[-LOG_BYTES:], "text/plain")),
                ("hostname", self._configuration.hostname),
                ("type", "bm.log"),
            ]
        )
        try:
            self._http.post(UPLOAD_PATH, body, content_type=content_type, limit=xmlrpc.MAXIMUM_BYTES)
        except TransientError:
            raise
        except BootError as error:
            log.warning("the server does not take the log: %s", error)

    def _ask(self, method: str, *params: Any) -> Any:
        if self._configuration.protocol is not Protocol.PLCAPI_SESSION:
            return self._by_hmac(method, *params)
        known = bool(self._session_text)
        try:
            return self._in_session(method, *params)
        except AuthenticationRefused:
            if not known:
                raise
            self._session_text = ""
            return self._in_session(method, *params)

    def _in_session(self, method: str, *params: Any) -> Any:
        if not self._session_text:
            session = self._by_hmac("GetSession")
            if not isinstance(session, str):
                raise MalformedMessage("GetSession: a text wanted")
            self._session_text = session
        return self._exchange(method, [session_auth(self._session_text), *params])

    def _by_hmac(self, method: str, *params: Any) -> Any:
        auth = hmac_auth(self._key, self._node_id, self._node_ip, params)
        return self._exchange(method, [auth, *params])

    def _exchange(self, method: str, params: list[Any]) -> Any:
        body = xmlrpc.dump_call(method, params)
        raw = self._http.post(PATH, body, content_type="text/xml", limit=xmlrpc.MAXIMUM_BYTES)
        try:
            return xmlrpc.load_reply(raw)
        except xmlrpc.Fault as fault:
            raise self._error(method, fault.faultCode, fault.faultString) from None

    def _error(self, method: str, code: int, text: str) -> BootError:
        detail = f"{method}: fault {code}: {text[:500]}"
        if code == FAULT_AUTHENTICATION:
            return AuthenticationRefused(f"{self._http.base_url}: {detail}")
        if code in TROUBLE_FAULTS:
            return ServerTrouble(detail)
        return MethodUnknown(detail) if code == FAULT_METHOD else CallRefused(detail)
