"""The node's side of the signed calls: opens a session and proves every call and reply.

Nothing is retried here. A session that the server forgot (it was restarted) is opened again once,
because that is part of the protocol and not a failure.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from host.http import Dates, HttpClient, http_of
from wire import xmlrpc
from wire.errors import ConfigurationError, TransientError, TrustError
from wire.nodeconf import NodeConfiguration
from wire.session import METHOD, NodeKey, Session, new_nonce, same_mac
from wire.structure import MalformedMessage

PATH = "/PLCAPI/"
FAULT_AUTHENTICATION = 103
# The database, and any error in the program (PLCAPI): nothing that the node could do otherwise.
TROUBLE_FAULTS = (106, 111)


class AuthenticationRefused(TrustError):
    """The server does not accept that this is the node."""

    code = "authentication-refused"
    title = "The server refuses this node"
    hint = "Compare NODE_ID with the server's `bootserver node list`; write the key medium again."


class ServerNotAuthentic(TrustError):
    """The answer was not made by somebody who knows the node's key."""

    code = "server-not-authentic"
    title = "The answer is not from this node's server"
    hint = "Somebody else answers at BOOT_SERVER, or the key was changed at the server. Check both."


class CallRefused(ConfigurationError):
    """The server understood and authenticated a call but cannot do it."""

    code = "call-refused"
    title = "The server cannot do what was asked"
    hint = "See the server's log for the same call."


class ServerTrouble(TransientError):
    """The server says that it has a fault of its own; what it knows of the node stays as it was."""

    code = "server-trouble"
    title = "The server has a fault of its own"
    hint = "See the server's log for the same call, and whether its disk is full; the node asks again."


class ServerClient:
    """Signed calls of one node to its server. Safe to use from several threads."""

    def __init__(
        self,
        http: HttpClient,
        node_id: int,
        key: NodeKey,
        node_ip: str = "",
        *,
        time_learning: HttpClient | None = None,
    ) -> None:
        """`time_learning` is for opening sessions: before the server's time is known, dates say nothing."""
        self._http = http
        self._time_learning = time_learning or http
        self._node_id = node_id
        self._key = key
        self._node_ip = node_ip
        self._session: Session | None = None
        self._counter = 0
        self._lock = threading.Lock()
        self.server_time = 0
        self.server_time_at = 0.0

    @classmethod
    def of(cls, configuration: NodeConfiguration, node_ip: str) -> ServerClient:
        """Return the client of the node that the key medium names."""
        return cls(
            http_of(configuration),
            configuration.node_id,
            configuration.key,
            node_ip,
            time_learning=http_of(configuration, Dates.POSTPONED),
        )

    def open(self) -> None:
        """Open a session, and so learn the server's time.

        Raises what call() raises but CallRefused, ServerTrouble and MalformedMessage.
        """
        with self._lock:
            self._session = self._open()

    def server_now(self) -> float:
        """Return the server's time as last learnt and gone on since, in Unix seconds."""
        return self.server_time + (time.monotonic() - self.server_time_at)

    def call(self, method: str, *params: Any) -> Any:
        """Return the authenticated result of a call.

        Raises AuthenticationRefused, ServerNotAuthentic, CallRefused, ServerTrouble, ServerUnreachable,
        ServerUntrusted, NotAtServer, AnswerTooLong, MalformedMessage.
        """
        with self._lock:
            known = self._session is not None
            try:
                return self._signed(method, list(params))
            except AuthenticationRefused:
                if not known:
                    raise
                self._session = None
                return self._signed(method, list(params))

    def _signed(self, method: str, params: list[Any]) -> Any:
        session = self._session or self._open()
        self._counter += 1
        call_mac = session.call_mac(method, self._node_ip, self._counter, params)
        auth = {
            "AuthMethod": METHOD,
            "node_id": self._node_id,
            "node_ip": self._node_ip,
            "session": session.session,
            "counter": self._counter,
            "value": call_mac,
        }
        try:
            reply = self._post(method, [auth, *params], self._http)
            # An answer that never came leaves the counters apart, so any failure ends the session.
            return self._verified(method, session, call_mac, reply)
        except Exception:
            self._session = None
            raise

    def _verified(self, method: str, session: Session, call_mac: str, reply: Any) -> Any:
        match reply:
            case {"result": result, "time": int(now), "value": str(value)}:
                pass
            case _:
                raise self._not_authentic(method, "no struct of result, time and value")
        if not same_mac(value, session.reply_mac(self._counter, call_mac, result, now)):
            raise ServerNotAuthentic(f"{self._http.base_url}: the reply's MAC is wrong")
        self._note_time(now)
        match result:
            case {"fault": {"code": int(code), "text": str(text)}}:
                fault = ServerTrouble if code in TROUBLE_FAULTS else CallRefused
                raise fault(f"fault {code}: {text}")
            case {"value": answer}:
                self._session = session
                return answer
        raise MalformedMessage("reply: neither a value nor a fault")

    def _open(self) -> Session:
        client_nonce = new_nonce()
        params = [{"node_id": self._node_id, "nonce": client_nonce}]
        reply = self._post("OpenSession", params, self._time_learning)
        match reply:
            case {"session": str(name), "nonce": str(server_nonce), "time": int(now), "value": str(value)}:
                pass
            case _:
                raise self._not_authentic("OpenSession", "no struct of session, nonce, time and value")
        session = Session.derive(self._key, self._node_id, name, client_nonce, server_nonce)
        if not same_mac(value, session.opening_mac(client_nonce, server_nonce, now)):
            # A wrong key and an unknown node look the same from here, on purpose.
            raise AuthenticationRefused(
                f"{self._http.base_url} and this node (id {self._node_id}) do not share a key"
            )
        self._counter = 0
        self._note_time(now)
        return session

    def _note_time(self, now: int) -> None:
        self.server_time, self.server_time_at = now, time.monotonic()

    def _post(self, method: str, params: list[Any], http: HttpClient) -> Any:
        body = xmlrpc.dump_call(method, params)
        raw = http.post(PATH, body, content_type="text/xml", limit=xmlrpc.MAXIMUM_BYTES)
        try:
            return xmlrpc.load_reply(raw)
        except xmlrpc.Fault as fault:
            if fault.faultCode == FAULT_AUTHENTICATION:
                raise AuthenticationRefused(f"{self._http.base_url}: {fault.faultString}") from None
            # Faults of a call arrive signed, within a reply; who sent this one is not known.
            raise self._not_authentic(
                method, f"an unsigned fault {fault.faultCode}: {fault.faultString}"
            ) from None
        except MalformedMessage as error:
            raise self._not_authentic(method, error.detail) from None

    def _not_authentic(self, method: str, answer: str) -> ServerNotAuthentic:
        """Return the error of an answer that nobody with the node's key makes, such as a portal's page."""
        return ServerNotAuthentic(f"{self._http.base_url} answered {method} with {answer}")
