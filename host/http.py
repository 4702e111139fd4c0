"""HTTP, for everything that crosses the network.

Every request has a time limit for connecting and for each pause in the answer. Replies are read within
a bound that the caller states. Nothing is retried here unless the caller asks for it, which is right only
for what cannot change: one lost packet in the middle of an image must not throw the whole step back.

https trusts one authority, the deployment's own, and no other: not those of this system, and none at all
where none is given. Chain and name are verified always. The dates of certificates are judged by this
machine's clock, which may say 1970 or 2099 until the server's authenticated time has set it; so there are
clients whose dates are judged, for everything, and clients whose dates are postponed, for the one call by
which the time is learnt. Versions and ciphers are those that the TLS library finds fit.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from wire.errors import ConfigurationError, TransientError, TrustError, VerificationError
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL (x509_vfy.h, since 1.1.0), for which Python has no name.
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_DATE_CODES = (9, 10)
_DATE_HINT = "Renew it at the server: bootserver tls renew. If the server's clock is wrong, set it first."

ONCE = Retry(total=0)
# Pauses of 0, 1, 2, 4 and 8 seconds, each with up to a second of jitter.
PATIENT = Retry(total=5, backoff_factor=0.5, backoff_jitter=1.0, backoff_max=30)


class ServerUnreachable(TransientError):
    """No usable answer from the server."""

    code = "server-unreachable"
    title = "The server does not answer"
    hint = "Check cable, address, gateway and BOOT_SERVER on the key medium, and that bootserver runs."


class NotAtServer(ConfigurationError):
    """The server answered that it does not have what was asked for."""

    code = "not-at-server"
    title = "The server does not have it"
    hint = "Publish the image again at the server: bootserver image publish NAME FILE."


class AnswerTooLong(VerificationError):
    """The answer is longer than what was asked for can be."""

    code = "answer-too-long"
    title = "The server's answer is too long"
    hint = "Something else answers in its place (a proxy, a portal), or its contents are damaged."


class ServerUntrusted(TrustError):
    """The certificate does not prove that the deployment's server answers."""

    code = "server-untrusted"
    title = "The server's certificate is refused"
    hint = "Compare `bootserver tls show` with BOOT_SERVER and BOOT_CA on the key medium; write it again."


class Dates(StrEnum):
    """What is done about the validity of certificates."""

    JUDGED = "judged"
    # For learning the time: nothing but nonces may be said, and nothing believed that carries no MAC.
    POSTPONED = "postponed"


@dataclass(frozen=True)
class HttpTimeouts:
    """Seconds to connect, and seconds of silence within an answer."""

    connect: float = CONNECT_SECONDS
    silence: float = SILENCE_SECONDS


class _Session(requests.Session):
    """Takes a redirection for an answer like others: requests would read its body without any bound."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class HttpClient:
    """Talks to one server; connections are kept open between requests. Not for several threads at once."""

    def __init__(
        self,
        base_url: str,
        *,
        proxy: str = "",
        timeouts: HttpTimeouts = HttpTimeouts(),
        authority: str = "",
        dates: Dates = Dates.JUDGED,
    ) -> None:
        """`authority` is the only certificate (PEM) that is trusted to vouch for an https server."""
        self.base_url = base_url.rstrip("/")
        self._timeout = (timeouts.connect, timeouts.silence)
        self._session = _Session()
        # The environment (proxies, .netrc) must not decide where a node's calls go.
        self._session.trust_env = False
        # A compressed answer of the size allowed may unfold to a thousand times that in memory.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.mount("https://", _Pinned(_context(authority, dates)))
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}

    def post(self, path: str, body: bytes, *, content_type: str, limit: int) -> bytes:
        """Send `body` and return the answer of at most `limit` bytes; never asked again.

        Raises ServerUnreachable, ServerUntrusted, NotAtServer, AnswerTooLong.
        """
        url = self.base_url + path
        with self._asking(url):
            answer = self._session.post(
                url,
                data=body,
                headers={"Content-Type": content_type},
                timeout=self._timeout,
                stream=True,
            )
            with answer:
                self._check(answer, url)
                return _bounded(answer, limit, url)

    def get(self, path: str, *, limit: int, retry: Retry = ONCE) -> bytes:
        """Return the body at `path`, at most `limit` bytes.

        `retry` says how often and how patiently to ask again where no usable answer came.
        Raises ServerUnreachable, ServerUntrusted, NotAtServer, AnswerTooLong.
        """
        while True:
            try:
                return self._get_once(path, limit)
            except ServerUnreachable as error:
                try:
                    retry = retry.increment("GET", path, error=error)
                except MaxRetryError:
                    raise error from None
                log.warning("asking again: %s", error)
                retry.sleep()

    def _get_once(self, path: str, limit: int) -> bytes:
        url = self.base_url + path
        with self._asking(url):
            answer = self._session.get(url, timeout=self._timeout, stream=True, allow_redirects=False)
            with answer:
                self._check(answer, url)
                return _bounded(answer, limit, url)

    @contextmanager
    def _asking(self, url: str) -> Iterator[None]:
        try:
            yield
        except requests.Timeout as error:
            kind = "to connect" if isinstance(error, requests.ConnectTimeout) else "for the answer"
            seconds = self._timeout[0] if isinstance(error, requests.ConnectTimeout) else self._timeout[1]
            raise ServerUnreachable(f"waited {seconds:.0f} s {kind} of {url}") from None
        except requests.exceptions.SSLError as error:
            refused = _refused_certificate(error)
            if refused is None:
                raise ServerUnreachable(f"{url}: {_reason(error)}") from None
            raise _untrusted(url, refused) from None
        except requests.RequestException as error:
            raise ServerUnreachable(f"{url}: {_reason(error)}") from None

    def _check(self, answer: requests.Response, url: str) -> None:
        if answer.status_code == 404:
            raise NotAtServer(url)
        if answer.status_code != 200:
            raise ServerUnreachable(f"{url} answered with status {answer.status_code}")
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise ServerUnreachable(
                f"{url} answered in the encoding {encoding[:20]!r}, which nobody asked for"
            )


def http_of(
    configuration: NodeConfiguration | EnrolmentConfiguration, dates: Dates = Dates.JUDGED
) -> HttpClient:
    """Return the way to a node's server as its medium says."""
    return HttpClient(
        configuration.server, proxy=configuration.proxy, authority=configuration.authority, dates=dates
    )


class _Pinned(HTTPAdapter):
    """Connections that are made with one context, which nothing here widens."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *words: Any, **options: Any) -> None:
        """Let direct connections use the context."""
        super().init_poolmanager(*words, ssl_context=self._context, **options)

    def proxy_manager_for(self, *words: Any, **options: Any) -> Any:
        """Let connections through a proxy's tunnel use it too."""
        return super().proxy_manager_for(*words, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add no other authorities: requests would load its own bundle into the context."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def _context(authority: str, dates: Dates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if dates is Dates.POSTPONED:
        context.verify_flags |= _NO_CHECK_TIME
    if authority:
        context.load_verify_locations(cadata=authority)
    return context


def _refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
    return None


def _untrusted(url: str, error: ssl.SSLCertVerificationError) -> ServerUntrusted:
    hint = _DATE_HINT if error.verify_code in _DATE_CODES else None
    return ServerUntrusted(f"{url}: {error.verify_message}", hint=hint)


def _bounded(answer: requests.Response, limit: int, url: str) -> bytes:
    parts, size = [], 0
    for part in answer.iter_content(256 * 1024):
        size += len(part)
        if size > limit:
            raise AnswerTooLong(f"{url} sent more than the {limit} bytes allowed")
        parts.append(part)
    return b"".join(parts)


def _reason(error: BaseException) -> str:
    """Return the innermost cause: "Connection refused" rather than urllib3's whole story."""
    *_, last = _causes(error)
    return str(last) or type(last).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, down to the first cause."""
    cause: object = error
    while isinstance(cause, BaseException):
        yield cause
        # urllib3 names the cause in one of these ways, through a proxy as an argument only.
        inner = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        cause = next((found for found in inner if isinstance(found, BaseException)), None)
