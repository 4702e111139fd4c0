"""Ed25519 private keys as PEM files (PKCS #8), plain or encrypted with a passphrase."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wire.errors import ConfigurationError

MAXIMUM_BYTES = 4096


class BadSigningKey(ConfigurationError):
    """A file does not hold a private key that signs, or the passphrase is wrong."""

    code = "bad-signing-key"
    title = "The signing key cannot be used"
    hint = "Give the .pem files that `bootserver init` or `keys rotate root` wrote, and their passphrase."


def generate() -> Ed25519PrivateKey:
    """Return a new random key."""
    return Ed25519PrivateKey.generate()


def dump(key: Ed25519PrivateKey, passphrase: bytes = b"") -> bytes:
    """Return the key as PEM; with a passphrase, encrypted."""
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def load(pem: bytes, source: str, passphrase: bytes = b"") -> Ed25519PrivateKey:
    """Read a key; `source` is named in errors. Raises BadSigningKey, without quoting anything."""
    try:
        key = load_pem_private_key(pem, passphrase or None)
    except TypeError:
        # The library's way to say that a passphrase is missing, or given for a key that has none.
        raise BadSigningKey(f"{source}: {'is not encrypted' if passphrase else 'is encrypted'}") from None
    except ValueError:
        raise BadSigningKey(f"{source}: no PEM of a private key, or a wrong passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadSigningKey(f"{source}: no Ed25519 key")
    return key
