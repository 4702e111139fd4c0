"""Secrets at rest: sealed with a master key, opened only with it and for the purpose they were sealed for.

AES-256-GCM with a random 96-bit nonce before the ciphertext. The purpose (for example "node 5") is
authenticated too, so that a sealed key copied to another row does not open there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wire.errors import VerificationError

MASTER_BYTES = 32
_NONCE_BYTES = 12


class CannotUnseal(VerificationError):
    """A sealed secret does not open with this master key."""

    code = "cannot-unseal"
    title = "A stored secret cannot be opened"
    hint = "The master key is not this database's: put the right one back. If it is lost: docs/server.md."


@dataclass(frozen=True)
class MasterKey:
    """The key that seals the others; its text form never shows it."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> MasterKey:
        """Return a new random master key."""
        return cls(os.urandom(MASTER_BYTES))

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """Return the sealed form of a secret."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, secret, purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Return the secret. Raises CannotUnseal."""
        try:
            nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return AESGCM(self.secret).decrypt(nonce, text, purpose.encode())
        except (InvalidTag, ValueError):
            raise CannotUnseal(f"the secret of {purpose}") from None
