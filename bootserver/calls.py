"""One XML-RPC call, from the bytes of its body to the bytes of the answer.

Who is not authentic gets fault 103 with one and the same text, whatever the reason. Everybody else
gets an authenticated reply; a fault is part of it, so that nobody on the path can make one up. Calls of
nodes that are marked for the classic protocol go their own way (bootserver.classic), replies as well.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from bootserver import nodes
from bootserver.classic import ClassicCalls, is_classic
from bootserver.enrolment import Enrolment
from bootserver.methods import METHODS, FaultCode, Faulty, chosen
from bootserver.sessions import Auth, NotAuthentic, Sessions, is_nonce
from bootserver.state import State
from bootserver.tables import Node
from bootserver.turns import Place, Turns
from wire import enrolment, xmlrpc
from wire.errors import BootError
from wire.session import KEY_BYTES, NodeKey
from wire.structure import MalformedMessage

log = logging.getLogger(__name__)

REFUSAL = "authentication failed"
_MAXIMUM_NODE_ID = 2**31 - 1


@dataclass(frozen=True)
class _Identity:
    """A key to compute with; for a node that does not exist, one that nobody has."""

    key: NodeKey
    sealed: bytes
    known: bool


class Calls:
    """Answers calls. Safe to use from several threads."""

    def __init__(self, state: State, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions
        self._classic = ClassicCalls(state)
        self._turns = Turns()
        self._enrolment = Enrolment(state)
        self._decoy = state.master.seal(bytes(KEY_BYTES), nodes.purpose(0))

    def answer(self, body: bytes, peer: str) -> bytes:
        """Return the answer to one call from the address `peer`."""
        try:
            method, params = xmlrpc.load_call(body)
            if method == "OpenSession":
                return xmlrpc.dump_reply(self._open(params, peer))
            if is_classic(params):
                return xmlrpc.dump_reply(self._classic.result(method, params, peer))
            if method == enrolment.METHOD:
                return xmlrpc.dump_reply(self._enrolment.announce(params, peer))
            return xmlrpc.dump_reply(self._signed(method, params, peer))
        except NotAuthentic as error:
            log.warning("refused a call from %s: %s", peer, error.detail)
            return xmlrpc.dump_fault(int(FaultCode.AUTHENTICATION), REFUSAL)
        except Faulty as error:  # Of a classic call; those of signed calls are inside a signed reply.
            return xmlrpc.dump_fault(int(error.code), error.text)
        except MalformedMessage as error:
            return xmlrpc.dump_fault(int(FaultCode.ARGUMENT), error.detail)

    def _open(self, params: list[Any], peer: str) -> dict[str, Any]:
        match params:
            case [{"node_id": int(node_id), "nonce": nonce}] if (
                0 < node_id <= _MAXIMUM_NODE_ID and not isinstance(node_id, bool)
            ):
                pass
            case _:
                raise MalformedMessage("OpenSession: a struct of node_id and nonce wanted")
        if not is_nonce(nonce):
            raise MalformedMessage("OpenSession: nonce: 64 hex digits wanted")
        log.info("%s begins a session as node %d", peer, node_id)
        return self._sessions.open(node_id, self._identity(node_id).key, nonce, int(time.time()))

    def _identity(self, node_id: int) -> _Identity:
        """Return the node's key. An unknown node costs the same work, so time tells nothing either.

        Only the key is read: a node's row has its inventory, and reading half a megabyte takes its time.
        """
        with self._state.database.read() as session:
            sealed = session.scalar(select(Node.sealed_key).where(Node.id == node_id))
        known = sealed is not None
        purpose = nodes.purpose(node_id if known else 0)
        key = NodeKey(self._state.master.unseal(sealed or self._decoy, purpose))
        decoy = NodeKey(NodeKey(self._state.master.secret).derive(f"unknown node {node_id}"))
        return _Identity(key if known else decoy, sealed or self._decoy, known)

    def _signed(self, method: str, params: list[Any], peer: str) -> dict[str, Any]:
        auth = Auth.read(params[0] if params else None)
        identity = self._identity(auth.node_id)
        proven = self._sessions.prove(auth, method, params[1:], identity.key)
        if not identity.known:
            raise NotAuthentic("unknown node")
        places = self._turns.spoke(auth, peer, method, params[1:])
        if places is not None:
            self._report_shared_key(auth.node_id, *places)
        return proven.reply(self._result(method, params[1:], auth, identity, peer), int(time.time()))

    def _report_shared_key(self, node_id: int, one: Place, two: Place) -> None:
        log.warning("the key of node %d is used from two places at once: %s and %s", node_id, one, two)
        with self._state.database.write() as session:
            node = session.get(Node, node_id)
            if node is not None:
                nodes.mark_shared_key(session, node, f"{one} and {two}")

    def _result(
        self, method: str, params: list[Any], auth: Auth, identity: _Identity, peer: str
    ) -> dict[str, Any]:
        try:
            with self._state.database.write() as session:
                node = session.get(Node, auth.node_id)
                if node is None:
                    raise NotAuthentic("the node was removed")
                if node.sealed_key != identity.sealed:
                    raise NotAuthentic("the key was rotated meanwhile")
                node.contacted = time.time()
                node.address = auth.node_ip or peer
                node.peer = peer
                return {"value": chosen(METHODS, method, params)(session, node, *params)}
        except Faulty as error:
            code, text = error.code, error.text
        except NotAuthentic:
            raise
        except BootError as error:
            log.error("%s from node %d: %s", method, auth.node_id, error)
            code, text = FaultCode.DATABASE, str(error)
        except Exception:  # The one place where a programming error in a method ends; the node is told.
            log.exception("%s from node %d", method, auth.node_id)
            code, text = FaultCode.INTERNAL, "internal error; see the server's log"
        return {"fault": {"code": int(code), "text": text}}
