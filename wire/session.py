"""Authentication of calls and replies between a node and its server.

Both sides know the node's key. `OpenSession` exchanges a nonce each; HKDF-SHA256 of the key with both
nonces gives the session key. Every later call carries a counter that grows by exactly one, and an
HMAC-SHA256 over method, node, address, session, counter and parameters; every reply an HMAC over the
same session and counter, the MAC of its call, the result and the server's time. So nothing can be
replayed, re-aimed, reordered or reflected, and no clock is needed.
"""

from __future__ import annotations

import base64
import binascii
import hmac as _compare
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wire.canonical import canonical
from wire.errors import ConfigurationError

METHOD = "hmac-sha256"
NONCE_BYTES = 32
KEY_BYTES = 32


class BadNodeKey(ConfigurationError):
    """NODE_KEY is not 32 bytes in base64."""

    code = "bad-node-key"
    title = "The node's key is malformed"
    hint = "Write the key medium again at the server: bootserver media key NODE FILE."


@dataclass(frozen=True)
class NodeKey:
    """The node's secret; its text form never shows it."""

    secret: bytes = field(repr=False)

    @classmethod
    def from_text(cls, text: str) -> NodeKey:
        """Decode base64. Raises BadNodeKey, without quoting the text."""
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadNodeKey("NODE_KEY is not base64") from None
        if len(secret) != KEY_BYTES:
            raise BadNodeKey(f"NODE_KEY has {len(secret)} bytes, {KEY_BYTES} wanted")
        return cls(secret)

    @classmethod
    def generate(cls) -> NodeKey:
        """Return a new random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def to_text(self) -> str:
        """Return base64, for the key medium only."""
        return base64.b64encode(self.secret).decode()

    def derive(self, purpose: str, salt: bytes = b"") -> bytes:
        """Return 32 bytes for one purpose; keys for different purposes tell nothing of one another."""
        return HKDF(hashes.SHA256(), KEY_BYTES, salt, purpose.encode()).derive(self.secret)


def new_nonce() -> str:
    """Return a fresh nonce, 64 hex digits."""
    return secrets.token_hex(NONCE_BYTES)


def mac(key: bytes, *values: object) -> str:
    """Return HMAC-SHA256 in hex over the canonical form of the list of values."""
    digest = HMAC(key, hashes.SHA256())
    digest.update(canonical(list(values)))
    return digest.finalize().hex()


def same_mac(one: str, other: str) -> bool:
    """Compare in constant time. Either may be any text that JSON can hold, half surrogate pairs as well."""
    return _compare.compare_digest(*(text.encode(errors="surrogatepass") for text in (one, other)))


@dataclass(frozen=True)
class Session:
    """What both sides know of an open session."""

    node_id: int
    session: str
    key: bytes = field(repr=False)

    @classmethod
    def derive(
        cls, node_key: NodeKey, node_id: int, session: str, client_nonce: str, server_nonce: str
    ) -> Session:
        """Derive the session key from the node's key and both nonces (hex)."""
        salt = canonical([client_nonce, server_nonce])
        purpose = f"bootmanager session 1 node {node_id} session {session}"
        return cls(node_id, session, node_key.derive(purpose, salt))

    def opening_mac(self, client_nonce: str, server_nonce: str, time: int) -> str:
        """Return the server's proof in the reply to OpenSession."""
        return mac(self.key, "open", self.session, self.node_id, client_nonce, server_nonce, time)

    def call_mac(self, method: str, node_ip: str, counter: int, params: list[object]) -> str:
        """Return the MAC of one call."""
        return mac(self.key, "call", method, self.node_id, node_ip, self.session, counter, params)

    def reply_mac(self, counter: int, call_mac: str, result: object, time: int) -> str:
        """Return the MAC of the reply to the call that carried `call_mac`."""
        return mac(self.key, "reply", self.session, counter, call_mac, result, time)
