"""The keys of the root role: files that the operator keeps away from the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer

from host.files import write_atomic
from wire import pem


def load_root_keys(files: Sequence[Path], passphrase: bytes = b"") -> tuple[Signer, ...]:
    """Return the root keys in these files. Raises BadSigningKey."""
    return tuple(CryptoSigner(pem.load(_read(file), str(file), passphrase)) for file in files)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(pem.MAXIMUM_BYTES)
    except OSError as error:
        raise pem.BadSigningKey(f"{file}: {error.strerror}") from None


def make_root_keys(folder: Path, count: int, passphrase: bytes = b"") -> tuple[Signer, ...]:
    """Make root keys, in files of mode 0600 in a new folder of mode 0700. Raises BadSigningKey."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise pem.BadSigningKey(f"{folder}: {error.strerror}") from None
    keys = [pem.generate() for _ in range(count)]
    for number, key in enumerate(keys, 1):
        write_atomic(folder / f"root-{number}.pem", pem.dump(key, passphrase), mode=0o600)
    return tuple(CryptoSigner(key) for key in keys)
