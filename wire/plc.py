"""The classic PLC authentication of nodes, for existing deployments: "hmac" and "session".

Every call's first parameter says who calls: `{AuthMethod: "hmac", node_id, node_ip, value}`, or
`{AuthMethod: "session", session}` with what GetSession gave. `value` is the HMAC-SHA1, in lower-case hex, of
the other parameters in the form that serialize_params() gives. Source: the PLCAPI of 2006 and later and the
boot managers that call it; tests/vectors/plc-bootauth.json holds examples.

What it does not do, and what no implementation that stays compatible can: a recorded call may be replayed at
any time and its MAC used for another method, because neither method nor time nor counter is under it; a value
may be moved to another field, split over two or change its type, because names and borders are dropped;
`node_ip` is under no MAC; replies are not authenticated; a session is a password that travels in every call.
Only TLS around it keeps an attacker on the path from all that. wire.session is the scheme without the holes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from wire.session import BadNodeKey, NodeKey

HMAC_METHOD = "hmac"
SESSION_METHOD = "session"
# What such a file can hold between quotes; the originals give out hex or base64.
_KEY_TEXT = re.compile(r"[\x21-\x7e]{8,1024}")


def serialize_params(params: Sequence[Any]) -> str:
    """Return the text that a call's value is computed over; `params` are without the auth struct.

    Structs contribute their values only, lists their items, every scalar its text as Python writes it. The
    texts are sorted by code point and joined without anything between. Raises ValueError for values that
    have no such text (dates, binary).
    """
    return f"[{''.join(sorted(_scalars(params)))}]"


def _scalars(params: Sequence[Any]) -> Iterator[str]:
    # Their order does not matter, since they are sorted: so no recursion, and no depth is too deep.
    waiting: list[Any] = list(params)
    while waiting:
        match waiting.pop():
            case dict() as struct:
                waiting.extend(struct.values())
            case list() | tuple() as items:
                waiting.extend(items)
            case None | bool() | int() | float() | str() as scalar:
                yield str(scalar)
            case other:
                raise ValueError(f"{type(other).__name__} has no classic form")


def classic_mac(key: NodeKey, params: Sequence[Any]) -> str:
    """Return a call's value in lower-case hex. Raises ValueError as serialize_params() does."""
    # SHA-1 is what the scheme says; as HMAC it is not what is weak about it.
    digest = HMAC(key.secret, hashes.SHA1())  # noqa: S303
    digest.update(serialize_params(params).encode())
    return digest.finalize().hex()


def hmac_auth(key: NodeKey, node_id: int, node_ip: str, params: Sequence[Any]) -> dict[str, Any]:
    """Return the auth struct of a call with these parameters. Raises ValueError."""
    value = classic_mac(key, params)
    return {"AuthMethod": HMAC_METHOD, "node_id": node_id, "node_ip": node_ip, "value": value}


def session_auth(session: str) -> dict[str, Any]:
    """Return the auth struct of a call within a session."""
    return {"AuthMethod": SESSION_METHOD, "session": session}


def classic_key(text: str) -> NodeKey:
    """Return the key that the text NODE_KEY is in the classic scheme: the text itself, never decoded.

    Raises BadNodeKey, without quoting the text.
    """
    if not _KEY_TEXT.fullmatch(text):
        raise BadNodeKey("a classic NODE_KEY has 8 to 1024 printable ASCII characters and no space")
    return NodeKey(text.encode())
