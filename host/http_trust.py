"""What TLS trusts, and what was at the bottom of an error of requests."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator

from urllib3.exceptions import SSLError

from wire.errors import quoted

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL (x509_vfy.h, since 1.1.0), for which Python has no name.
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


def context(authority: str, *, judge_dates: bool) -> ssl.SSLContext:
    """Return a context that trusts one authority (PEM), or none at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if not judge_dates:
        context.verify_flags |= _NO_CHECK_TIME
    if authority:
        context.load_verify_locations(cadata=authority)
    return context


def unjudged() -> ssl.SSLContext:
    """Return a context that takes any certificate: for who compares its fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_fingerprint(host: str, port: int, seconds: float) -> str:
    """Return the SHA-256 (hex) of the certificate that is shown there; nothing is said. Raises OSError."""
    with (
        socket.create_connection((host, port), seconds) as plain,
        unjudged().wrap_socket(plain, server_hostname=host) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


def is_other_certificate(error: BaseException) -> bool:
    """Say whether an error of TLS came of a fingerprint, which is no error to the TLS library below."""
    *_, last = causes(error)
    return isinstance(last, SSLError)


def refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return why a certificate was refused, if that is what an error came of."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
    return None


def reason(error: BaseException) -> str:
    """Return the innermost cause: "Connection refused" rather than urllib3's whole story."""
    *_, last = causes(error)
    # It may quote what the other end sent in place of an answer.
    return quoted(last) or type(last).__name__


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, down to the first cause; each once."""
    cause: BaseException | None = error
    told: list[int] = []
    while cause is not None and id(cause) not in told:
        told.append(id(cause))
        yield cause
        # requests and urllib3 name the cause in one of these ways, through a proxy as an argument only.
        # Never as the context: what somebody has at hand while this comes has a cause of its own.
        inner = (cause.__cause__, getattr(cause, "reason", None), *cause.args)
        cause = next((found for found in inner if isinstance(found, BaseException)), None)
