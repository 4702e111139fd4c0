"""The server's side of authentication: opened sessions, and the proof that a call belongs to one.

Opening a session stores nothing. Its name holds when it was issued (by the monotonic clock), a salt
and the node's nonce; the server's nonce is derived from those with a secret of this process. So a
flood of openings, by whomever, costs no memory and pushes nobody out. The first proven call makes the
session active; a name is made active once at most, so a recorded first call is worth nothing later.
A restart forgets everything, and nodes then open a new session.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wire.errors import TrustError
from wire.session import METHOD, NodeKey, Session, mac, same_mac

OPENING_SECONDS = 120
IDLE_SECONDS = 2 * 3600
LIFETIME_SECONDS = 24 * 3600
# A node has one program speaking at a time; two more leave room for a restart and a hand-over.
SESSIONS_PER_NODE = 3
_NAME = re.compile("([0-9a-f]{16})([0-9a-f]{16})([0-9a-f]{64})")
_NONCE = re.compile("[0-9a-f]{64}")


class NotAuthentic(TrustError):
    """A call does not prove that it comes from the node, now. The reason is for nobody outside."""

    code = "call-not-authentic"
    title = "A call was refused"
    hint = "Compare NODE_ID and key medium with `bootserver node list`."


@dataclass(frozen=True)
class Auth:
    """The first parameter of a signed call."""

    node_id: int
    node_ip: str
    session: str
    counter: int
    value: str

    @classmethod
    def read(cls, struct: object) -> Auth:
        """Read the struct. Raises NotAuthentic."""
        match struct:
            case {
                "AuthMethod": str(method),
                "node_id": int(node_id),
                "node_ip": str(node_ip),
                "session": str(session),
                "counter": int(counter),
                "value": str(value),
            } if not isinstance(node_id, bool) and not isinstance(counter, bool):
                if method == METHOD and len(node_ip) <= 64 and value.isascii() and 0 < node_id < 2**31:
                    return cls(node_id, node_ip, session, counter, value)
        raise NotAuthentic("no auth struct")


@dataclass
class _Active:
    session: Session
    key_digest: str
    opened: float
    used: float
    counter: int = 0


@dataclass(frozen=True)
class Proven:
    """A call that is proven; makes the MAC of its reply."""

    auth: Auth
    session: Session = field(repr=False)

    def reply(self, result: object, now: int) -> dict[str, Any]:
        """Return the authenticated reply."""
        value = self.session.reply_mac(self.auth.counter, self.auth.value, result, now)
        return {"result": result, "time": now, "value": value}


class Sessions:
    """All sessions of this process. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = os.urandom(32)
        self._lock = threading.Lock()
        self._active: OrderedDict[str, _Active] = OrderedDict()
        self._spent: OrderedDict[str, float] = OrderedDict()

    def open(self, node_id: int, key: NodeKey, client_nonce: str, now: int) -> dict[str, Any]:
        """Return the reply to OpenSession; `now` is the server's time in Unix seconds."""
        name = f"{int(self._clock() * 1000):016x}{os.urandom(8).hex()}{client_nonce}"
        server_nonce = self._server_nonce(node_id, name)
        session = Session.derive(key, node_id, name, client_nonce, server_nonce)
        value = session.opening_mac(client_nonce, server_nonce, now)
        return {"session": name, "nonce": server_nonce, "time": now, "value": value}

    def prove(self, auth: Auth, method: str, params: list[Any], key: NodeKey) -> Proven:
        """Check a call and count it. Raises NotAuthentic, for whatever reason, in the same way."""
        digest = mac(self._secret, "key", key.secret)
        with self._lock:
            known = self._active.get(auth.session)
        session = known.session if known else self._derive(auth, key)
        try:
            wanted = session.call_mac(method, auth.node_ip, auth.counter, params)
        except ValueError as error:
            raise NotAuthentic(str(error)) from None
        if not same_mac(auth.value, wanted):
            raise NotAuthentic("wrong MAC")
        if session.node_id != auth.node_id:
            raise NotAuthentic("another node's session")
        with self._lock:
            active = self._active.get(auth.session) or self._activate(auth, session, digest)
            self._count(auth, active, digest)
        return Proven(auth, session)

    def _derive(self, auth: Auth, key: NodeKey) -> Session:
        found = _NAME.fullmatch(auth.session)
        if not found:
            raise NotAuthentic("no such session")
        server_nonce = self._server_nonce(auth.node_id, auth.session)
        return Session.derive(key, auth.node_id, auth.session, found[3], server_nonce)

    def _server_nonce(self, node_id: int, name: str) -> str:
        return mac(self._secret, "nonce", node_id, name)

    def _activate(self, auth: Auth, session: Session, digest: str) -> _Active:
        now = self._clock()
        while self._spent and next(iter(self._spent.values())) < now - OPENING_SECONDS:
            self._spent.popitem(last=False)
        issued = int(auth.session[:16], 16) / 1000
        if auth.session in self._spent or not now - OPENING_SECONDS < issued <= now:
            raise NotAuthentic("an old session")
        self._spent[auth.session] = now
        self._forget(auth.node_id, now)
        active = _Active(session, digest, opened=now, used=now)
        self._active[auth.session] = active
        return active

    def _forget(self, node_id: int, now: float) -> None:
        """Drop what is too old, and the node's longest unused sessions beyond its share."""
        own = []
        for name, active in list(self._active.items()):
            if self._expired(active, now):
                del self._active[name]
            elif active.session.node_id == node_id:
                own.append(name)
        for name in own[: max(0, len(own) + 1 - SESSIONS_PER_NODE)]:
            del self._active[name]

    def _expired(self, active: _Active, now: float) -> bool:
        return now - active.used > IDLE_SECONDS or now - active.opened > LIFETIME_SECONDS

    def _count(self, auth: Auth, active: _Active, digest: str) -> None:
        now = self._clock()
        # A key that was changed at the server ends the sessions made with the old one.
        if self._expired(active, now) or not same_mac(active.key_digest, digest):
            del self._active[auth.session]
            raise NotAuthentic("the session has ended")
        if auth.counter != active.counter + 1:
            raise NotAuthentic("counter repeated or skipped")
        active.counter = auth.counter
        active.used = now
        self._active.move_to_end(auth.session)


def is_nonce(value: object) -> bool:
    """Say whether that may be a node's nonce: 64 lower-case hex digits."""
    return isinstance(value, str) and _NONCE.fullmatch(value) is not None
