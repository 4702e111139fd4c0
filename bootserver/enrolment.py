"""Nodes that have no identity yet: who waits, who was admitted, and tokens that admit in advance.

An announcement is not authenticated, so what it can cause is bounded: a fixed number of rows, each of fixed
size, that go away when their node falls silent. It is answered with nothing but "waiting" until a
person admitted the very key pair that announced (by its fingerprint), or a valid token did. An announced
address (MAC) is shown and never trusted.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from bootserver import nodes
from bootserver.events import tell
from bootserver.methods import FaultCode, Faulty
from bootserver.state import State
from bootserver.tables import EnrolmentToken, Node, Waiting
from wire import enrolment
from wire.enrolment import Token, announcement_mac, answer_mac, seal_grant
from wire.errors import ConfigurationError
from wire.messages import TargetState
from wire.session import same_mac
from wire.structure import MalformedMessage

log = logging.getLogger(__name__)

MOST_WAITING = 200
MOST_WAITING_PER_PEER = 20
# A node asks at least once a minute.
FORGET_SECONDS = 900
# Asking more often than this changes nothing at the server.
NOTE_SECONDS = 20
# How long after its admission a node may fetch its identity with the key pair of that run.
GRANT_SECONDS = 24 * 3600
_ADDRESS = re.compile("([0-9A-F]{2}:){5}[0-9A-F]{2}")


class NobodyWaits(ConfigurationError):
    """No node with that fingerprint waits."""

    code = "nobody-waits"
    title = "No node with that fingerprint waits"
    hint = "See `bootserver node waiting`; the fingerprint is on the node's console, new at each boot."


class NoSuchToken(ConfigurationError):
    """No token has that name."""

    code = "no-such-token"
    title = "There is no such enrolment token"
    hint = "See `bootserver token list`."


@dataclass(frozen=True)
class Announcement:
    """What a node without identity says of itself. `token` and `proof` are "" without a token."""

    address: str
    public: str
    nonce: str
    token: str = ""
    proof: str = ""

    @classmethod
    def read(cls, params: list[Any]) -> Announcement:
        """Read the call's parameters. Raises MalformedMessage."""
        match params:
            case [{"mac": str(address), "public_key": str(public), "nonce": str(nonce), **more}]:
                token, proof = more.pop("token", ""), more.pop("proof", "")
                if not more and isinstance(token, str) and isinstance(proof, str):
                    said = cls(address, public, nonce, token, proof)
                    if said._well_formed:
                        return said
        raise MalformedMessage(f"{enrolment.METHOD}: a struct of mac, public_key and nonce wanted")

    @property
    def _well_formed(self) -> bool:
        numbers = (self.public, self.nonce, *filter(None, [self.proof]))
        short = len(self.token) <= 16 and _ADDRESS.fullmatch(self.address) is not None
        return short and all(map(enrolment.is_public, numbers))


class Enrolment:
    """Answers announcements. Safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._state = state

    def announce(self, params: list[Any], peer: str) -> dict[str, Any]:
        """Return the answer to an announcement. Raises MalformedMessage, Faulty when too many wait."""
        said, now = Announcement.read(params), time.time()
        with self._state.database.read() as session:
            row = session.get(Waiting, said.public)
            token_key = self._token_key(session, said, now)
            due = row is None or now - row.seen >= NOTE_SECONDS or (token_key and row.node_id is None)
        if due:
            with self._state.database.write() as session:
                self._note(session, said, peer, token_key is not None, now)
        with self._state.database.read() as session:
            grant = self._grant(session, said, now)
        answer: dict[str, Any] = {
            "state": enrolment.ADMITTED if grant else enrolment.WAITING,
            "grant": grant,
            "time": int(now),
        }
        if token_key is not None:
            told = (said.proof, answer["state"], grant, answer["time"])
            answer["value"] = answer_mac(token_key, *told)
        return answer

    def _token_key(self, session: Session, said: Announcement, now: float) -> bytes | None:
        """Return the key of the token that the announcement proves to hold, None without."""
        token = session.get(EnrolmentToken, said.token) if said.token else None
        if token is None:
            return None
        key = self._state.master.unseal(token.sealed_key, _purpose(token.name))
        wanted = announcement_mac(key, token.name, said.address, said.public, said.nonce)
        if not same_mac(said.proof, wanted):
            log.warning("an announcement of %s does not prove token %s", said.address, token.name)
            return None
        return key

    def _note(self, session: Session, said: Announcement, peer: str, proven: bool, now: float) -> None:
        row = session.get(Waiting, said.public)
        if row is None:
            _make_room(session, peer, now)
            row = Waiting(public=said.public, mac=said.address, first=now)
            session.add(row)
        row.peer, row.seen, row.token = peer, now, said.token if proven else ""
        if proven and row.node_id is None:
            self._admit_by_token(session, row, now)

    def _admit_by_token(self, session: Session, row: Waiting, now: float) -> None:
        token = session.get(EnrolmentToken, row.token)
        if token is None or token.remaining < 1 or token.expires <= now:
            return
        known = select(Waiting).where(Waiting.mac == row.mac, Waiting.node_id.is_not(None))
        name = f"{row.mac.replace(':', '').lower()}.{token.site}"
        if session.scalar(known) or session.scalar(select(Node).where(Node.name == name)):
            # That machine has an identity already: whether this is really it, a person says.
            return
        token.remaining -= 1
        node = nodes.add(session, self._state.master, name, TargetState(token.state), token.base_image)
        node.site = token.site
        _bind(session, row, node, now, token=token.name)

    def _grant(self, session: Session, said: Announcement, now: float) -> dict[str, Any]:
        row = session.get(Waiting, said.public)
        node = session.get(Node, row.node_id) if row is not None and row.node_id is not None else None
        if row is None or node is None or now - row.admitted > GRANT_SECONDS:
            return {}
        try:
            return seal_grant(said.public, node.id, nodes.key_of(self._state.master, node), said.nonce)
        except ValueError:
            raise MalformedMessage(f"{enrolment.METHOD}: public_key: not a point to agree on") from None


def _make_room(session: Session, peer: str, now: float) -> None:
    """Forget who fell silent; refuse where too many are left. Raises Faulty."""
    silent = delete(Waiting).where(Waiting.node_id.is_(None), Waiting.seen < now - FORGET_SECONDS)
    session.execute(silent)
    waiting = select(func.count()).select_from(Waiting).where(Waiting.node_id.is_(None))
    if session.scalars(waiting).one() >= MOST_WAITING:
        raise Faulty(FaultCode.PERMISSION, "too many nodes wait already")
    if session.scalars(waiting.where(Waiting.peer == peer)).one() >= MOST_WAITING_PER_PEER:
        raise Faulty(FaultCode.PERMISSION, "too many nodes wait at this address already")


def _bind(session: Session, row: Waiting, node: Node, now: float, **how: str) -> None:
    row.node_id, row.admitted = node.id, now
    tell(session, node, "node.admitted", mac=row.mac, fingerprint=enrolment.fingerprint(row.public), **how)


def admit(session: Session, state: State, mark: str, name: str, intent: TargetState, *, known: bool) -> Node:
    """Admit who waits with a fingerprint, as a new node, or as a known one, which gets a new key.

    Raises NobodyWaits, NodeExists, NoSuchNode, BadNodeName.
    """
    row = _waiting_with(session, mark)
    if known:
        node = nodes.find(session, name)
        nodes.rotate_key(session, state.master, node)
    else:
        node = nodes.add(session, state.master, name, intent, "base")
    _bind(session, row, node, time.time())
    return node


def _waiting_with(session: Session, mark: str) -> Waiting:
    wanted = mark.replace(" ", "").lower()
    for row in who_waits(session):
        if enrolment.fingerprint(row.public).replace(" ", "") == wanted:
            return row
    raise NobodyWaits(mark)


def who_waits(session: Session) -> list[Waiting]:
    """Return who waits to be admitted and has not fallen silent, the longest first."""
    recent = Waiting.seen >= time.time() - FORGET_SECONDS
    query = select(Waiting).where(Waiting.node_id.is_(None), recent).order_by(Waiting.first)
    return list(session.scalars(query))


def waiting_row(row: Waiting) -> dict[str, Any]:
    """Return one who waits as plain data."""
    return {
        "fingerprint": enrolment.fingerprint(row.public),
        "mac": row.mac,
        "address": row.peer,
        "first": row.first,
        "seen": row.seen,
        "token": row.token,
    }


def new_token(
    session: Session, state: State, site: str, count: int, days: float, intent: TargetState
) -> Token:
    """Make a token for `count` nodes of a site. Raises BadNodeName for a site that names cannot end with."""
    # As the nodes will be called, so that none of them is refused for its name.
    try:
        site = nodes.checked_name(f"{'0' * 12}.{site}").partition(".")[2]
    except nodes.BadNodeName:
        raise nodes.BadNodeName(f"no name can end with .{site!r}") from None
    token, now = Token.generate(), time.time()
    session.add(
        EnrolmentToken(
            name=token.name,
            sealed_key=state.master.seal(token.key(), _purpose(token.name)),
            site=site,
            state=str(intent),
            base_image="base",
            remaining=count,
            created=now,
            expires=now + days * 86400,
        )
    )
    return token


def find_token(session: Session, name: str) -> EnrolmentToken:
    """Return a token by its name, the part before the dot. Raises NoSuchToken."""
    token = session.get(EnrolmentToken, name)
    if token is None:
        raise NoSuchToken(name)
    return token


def _purpose(name: str) -> str:
    return f"enrolment token {name}"
