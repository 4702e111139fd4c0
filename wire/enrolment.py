"""How a node without an identity gets one: what it announces, how it is proven, how its key is handed out.

The node makes a key pair for this run (X25519) and announces the public half. Its fingerprint is on the
node's console and at the server, so that a person can compare them. The identity comes back sealed to
that public key: X25519 with a fresh pair of the server's, HKDF-SHA256, AES-256-GCM.

A token in the announcement is never sent: it gives a key by which both sides authenticate what they say.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wire.canonical import canonical
from wire.errors import ConfigurationError, TrustError
from wire.session import KEY_BYTES, NodeKey, mac

METHOD = "EnrolNode"
WAITING, ADMITTED = "waiting", "admitted"
_HEX32 = re.compile("[0-9a-f]{64}")
_TOKEN = re.compile(r"([0-9a-f]{16})\.([0-9A-Za-z_-]{43})")
_NONCE_BYTES = 12


class BadToken(ConfigurationError):
    """ENROL_TOKEN is not what `bootserver token new` prints."""

    code = "bad-token"
    title = "The enrolment token is malformed"
    hint = "Write the enrolment medium again with a token of `bootserver token new`."


class GrantNotOpened(TrustError):
    """What the server sent does not open with this node's key of this run."""

    code = "grant-not-opened"
    title = "The identity that came is not for this node"
    hint = "Somebody else answers at BOOT_SERVER, or admitted another announcement; compare fingerprints."


@dataclass(frozen=True)
class Token:
    """A one-time permission to enrol: a public name and a secret."""

    name: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Token:
        """Return a new random token."""
        return cls(secrets.token_hex(8), secrets.token_urlsafe(32))

    @classmethod
    def from_text(cls, text: str) -> Token:
        """Read a token. Raises BadToken, without quoting it."""
        found = _TOKEN.fullmatch(text.strip())
        if not found:
            raise BadToken("not of the form NAME.SECRET")
        return cls(found[1], found[2])

    def to_text(self) -> str:
        """Return the token as it is printed once and written onto media."""
        return f"{self.name}.{self.secret}"

    def key(self) -> bytes:
        """Return the key that both sides authenticate with; the token does not follow from it."""
        info = f"bootmanager enrolment 1 token {self.name}".encode()
        return HKDF(hashes.SHA256(), KEY_BYTES, b"", info).derive(self.secret.encode())


def announcement_mac(token_key: bytes, name: str, address: str, public: str, nonce: str) -> str:
    """Return the proof that who announces (by MAC address and public key) holds the token."""
    return mac(token_key, "announce", name, address, public, nonce)


def answer_mac(token_key: bytes, announced: str, state: str, grant: dict[str, object], time: int) -> str:
    """Return the proof that who answers the announcement with the proof `announced` knows the token."""
    return mac(token_key, "answer", announced, state, grant, time)


def fingerprint(public: str) -> str:
    """Return what people compare: 80 bits of the SHA-256 of a public key (hex), in groups."""
    digest = hashlib.sha256(bytes.fromhex(public)).hexdigest()[:20]
    return " ".join(digest[start : start + 4] for start in range(0, 20, 4))


def is_public(text: str) -> bool:
    """Say whether a text can be a public key or a nonce: 64 lower-case hex digits."""
    return bool(_HEX32.fullmatch(text))


@dataclass(frozen=True)
class EnrolmentKey:
    """The node's key pair of this run; its text form never shows the private half."""

    private: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> EnrolmentKey:
        """Return a new key pair."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> EnrolmentKey:
        """Return the pair of a private key. Raises ValueError unless it has 32 bytes."""
        return cls(X25519PrivateKey.from_private_bytes(data))

    def to_bytes(self) -> bytes:
        """Return the private key, to keep it in RAM between two tries."""
        return self.private.private_bytes_raw()

    @property
    def public(self) -> str:
        """The public key in hex."""
        return self.private.public_key().public_bytes_raw().hex()

    def open(self, node_id: int, sealed: str, ephemeral: str, nonce: str) -> NodeKey:
        """Return the node's key from the server's grant. Raises GrantNotOpened."""
        try:
            shared = self.private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(ephemeral)))
            data = base64.b64decode(sealed, validate=True)
            text = _cipher(shared, ephemeral, self.public).decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(node_id, nonce)
            )
        except (InvalidTag, ValueError):
            raise GrantNotOpened(f"as node {node_id}") from None
        if len(text) != KEY_BYTES:
            raise GrantNotOpened(f"a key of {len(text)} bytes")
        return NodeKey(text)


def seal_grant(public: str, node_id: int, key: NodeKey, nonce: str) -> dict[str, object]:
    """Return an identity sealed to a public key (hex), bound to the announcement's nonce.

    Raises ValueError for a public key that no pair has.
    """
    pair = EnrolmentKey.generate()
    shared = pair.private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    random = os.urandom(_NONCE_BYTES)
    sealed = _cipher(shared, pair.public, public).encrypt(random, key.secret, _bound(node_id, nonce))
    return {
        "node_id": node_id,
        "ephemeral": pair.public,
        "sealed": base64.b64encode(random + sealed).decode(),
    }


def _cipher(shared: bytes, ephemeral: str, public: str) -> AESGCM:
    salt = canonical([ephemeral, public])
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, b"bootmanager enrolment 1 grant").derive(shared))


def _bound(node_id: int, nonce: str) -> bytes:
    return canonical(["grant", node_id, nonce])
