"""Calls by the classic protocol: who calls, proven as well as wire.plc can, and nothing beyond its methods.

Whoever is not a marked node with the right key gets the same fault as everybody else who is not authentic.
Replies and faults are bare, as existing boot managers expect them.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bootserver.classic_methods import METHODS, Visit
from bootserver.classic_nodes import MAXIMUM_ID, Identities, Identity
from bootserver.methods import FaultCode, Faulty, chosen
from bootserver.sessions import NotAuthentic
from bootserver.state import State
from bootserver.tables import ClassicNode, Node
from wire.errors import BootError
from wire.plc import HMAC_METHOD, SESSION_METHOD, classic_mac
from wire.session import mac, same_mac

log = logging.getLogger(__name__)

# The originals keep a node's session for ever. Who holds a recorded one holds the node, so not here.
SESSION_SECONDS = 24 * 3600


def is_classic(params: list[Any]) -> bool:
    """Say whether a call's first parameter is an auth struct of the classic protocol."""
    match params:
        case [{"AuthMethod": str(method)}, *_]:
            return method in (HMAC_METHOD, SESSION_METHOD)
    return False


@dataclass(frozen=True)
class _Open:
    name: str
    classic_id: int
    key_digest: str
    opened: float


class ClassicSessions:
    """What GetSession gave out: one session a node, forgotten with the process. Safe to use from threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = os.urandom(32)
        self._lock = threading.Lock()
        self._by_name: dict[str, _Open] = {}
        self._by_id: dict[int, _Open] = {}

    def open(self, identity: Identity) -> str:
        """Return a new session; the node's former one ends."""
        text = base64.b64encode(secrets.token_bytes(32)).decode()
        opened = _Open(self._name(text), identity.classic_id, self._digest(identity), self._clock())
        with self._lock:
            former = self._by_id.get(identity.classic_id)
            if former is not None:
                del self._by_name[former.name]
            self._by_id[identity.classic_id] = self._by_name[opened.name] = opened
        return text

    def classic_id(self, text: str) -> int:
        """Return whose session that may be, 0 for nobody's."""
        with self._lock:
            found = self._by_name.get(self._name(text))
        if found is None or self._clock() - found.opened > SESSION_SECONDS:
            return 0
        return found.classic_id

    def holds(self, text: str, identity: Identity) -> bool:
        """Say whether the session was opened with the key and the mark that the node has now."""
        with self._lock:
            found = self._by_name.get(self._name(text))
        return found is not None and same_mac(found.key_digest, self._digest(identity))

    def _name(self, text: str) -> str:
        # Looked up by a MAC: how long a dictionary takes to compare tells nothing about the session then.
        return mac(self._secret, "session", text)

    def _digest(self, identity: Identity) -> str:
        return mac(self._secret, "key", identity.node_id, identity.since, identity.key.secret)


class ClassicCalls:
    """Answers calls by the classic protocol. Safe to use from several threads."""

    def __init__(self, state: State, sessions: ClassicSessions | None = None) -> None:
        self._database = state.database
        self._identities = Identities(state.master)
        self._sessions = sessions or ClassicSessions()

    def result(self, method: str, params: list[Any], peer: str) -> object:
        """Return the result of a call for which is_classic() holds. Raises NotAuthentic, Faulty."""
        identity = self._proven(params[0], params[1:])
        try:
            with self._database.write() as session:
                node, marked = session.get(Node, identity.node_id), session.get(ClassicNode, identity.node_id)
                # Nothing can change from here on; something may have since the call was proven.
                if (
                    node is None
                    or marked is None
                    or self._identities.find(session, identity.classic_id) != identity
                ):
                    raise NotAuthentic("the node was removed, unmarked or given another key meanwhile")
                node.contacted = time.time()
                # What the node says of its address is proven by nothing here.
                node.address = marked.peer = peer
                visit = Visit(session, node, marked, lambda: self._session(params[0], identity))
                return chosen(METHODS, method, params[1:])(visit, *params[1:])
        except (Faulty, NotAuthentic):
            raise
        except BootError as error:
            log.error("%s from classic node %d: %s", method, identity.node_id, error)
            raise Faulty(FaultCode.DATABASE, str(error)) from None
        except Exception:  # As for signed calls: a programming error in a method ends here.
            log.exception("%s from classic node %d", method, identity.node_id)
            raise Faulty(FaultCode.INTERNAL, "internal error; see the server's log") from None

    def _proven(self, auth: dict[str, Any], params: list[Any]) -> Identity:
        if auth["AuthMethod"] == SESSION_METHOD:
            return self._by_session(auth)
        match auth:
            case {"node_id": int(classic_id), "value": str(value)} if 0 < classic_id <= MAXIMUM_ID:
                pass
            case _:
                raise Faulty(FaultCode.ARGUMENT, "auth: node_id and value wanted")
        if isinstance(classic_id, bool) or not isinstance(auth.get("node_ip", ""), str):
            raise Faulty(FaultCode.ARGUMENT, "auth: node_id is a number, node_ip a text")
        identity = self._identity(classic_id)
        try:
            right = same_mac(value, classic_mac(identity.key, params))
        except ValueError as error:
            raise Faulty(FaultCode.ARGUMENT, str(error)) from None
        # Both are known before either is looked at: an unknown node takes as long as a wrong key.
        if not identity.node_id or not right:
            raise NotAuthentic("classic: an unknown or unmarked node, or a wrong value")
        return identity

    def _by_session(self, auth: dict[str, Any]) -> Identity:
        text = auth.get("session")
        if not isinstance(text, str):
            raise Faulty(FaultCode.ARGUMENT, "auth: session wanted")
        identity = self._identity(self._sessions.classic_id(text))
        if not self._sessions.holds(text, identity) or not identity.node_id:
            raise NotAuthentic("classic: no such session")
        return identity

    def _identity(self, classic_id: int) -> Identity:
        with self._database.read() as session:
            return self._identities.find(session, classic_id)

    def _session(self, auth: dict[str, Any], identity: Identity) -> str:
        """Return the session that the call came with, else a new one."""
        return str(auth["session"]) if "session" in auth else self._sessions.open(identity)
