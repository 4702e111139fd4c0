"""HTTP, for everything that crosses the network.

Every request has a time limit for connecting, for each pause in the answer, and for one that drips
(http_lines.py). Replies are read within a bound that the caller states. Nothing is retried here unless the
caller asks for it, which is right only for what cannot change.

https trusts one authority, the deployment's own, and no other: not those of this system, and none at all
where none is given. Chain and name are verified always. The dates of certificates are judged by this
machine's clock, which may say 1970 or 2099 until the server's authenticated time has set it; so there are
clients whose dates are judged, for everything, and clients whose dates are postponed, for the one call by
which the time is learnt. A device whose certificate nobody vouches for is known by that certificate alone,
which its client is given the fingerprint of. Versions and ciphers are those that the TLS library finds fit.
"""

from __future__ import annotations

import io
import logging
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry

from host.http_lines import USUAL, HttpTimeouts, Line, pools
from host.http_trust import context, is_other_certificate, reason, refused_certificate, unjudged
from host.texts import _
from wire.errors import ConfigurationError, TransientError, TrustError, VerificationError
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration

log = logging.getLogger(__name__)

# Read at a time at most; what came so far is never lost with what does not come.
PIECE_BYTES = 64 * 1024

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_DATE_CODES = (9, 10)
_DATE_HINT = _("Renew it at the server: bootserver tls renew. If the server's clock is wrong, set it first.")
_CALLS_HINT = _(
    "Something else answers there (a portal, another web server), or BOOT_SERVER's port is wrong."
)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")

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
    hint = "Publish the image again at the server: bootserver image publish NAME PATH."


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
        timeouts: HttpTimeouts = USUAL,
        authority: str = "",
        dates: Dates = Dates.JUDGED,
        fingerprint: str = "",
    ) -> None:
        """`authority` is the only certificate (PEM) that is trusted to vouch for an https server.

        `fingerprint` (SHA-256, hex) stands in its place for a server that is known by its own certificate.
        """
        self.base_url = base_url.rstrip("/")
        self._timeout = (timeouts.connect, timeouts.silence)
        self._session = _Session()
        # The environment (proxies, .netrc) must not decide where a node's calls go.
        self._session.trust_env = False
        # A compressed answer of the size allowed may unfold to a thousand times that in memory.
        self._session.headers["Accept-Encoding"] = "identity"
        self._line = Line()
        trusted = unjudged() if fingerprint else context(authority, judge_dates=dates is Dates.JUDGED)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Pinned(trusted, pools(self._line, timeouts), fingerprint))
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
                if answer.status_code == 404:
                    raise NotAtServer(url, hint=_CALLS_HINT)
                self._check(answer, url)
                return b"".join(_pieces(answer, limit, url))

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, limit: int
    ) -> tuple[int, bytes]:
        """Return the status, whichever, and the body of at most `limit` bytes of what a request is answered.

        Never asked again. Raises ServerUnreachable, ServerUntrusted, AnswerTooLong.
        """
        url = self.base_url + path
        with self._asking(url):
            answer = self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
            with answer:
                return answer.status_code, b"".join(_pieces(answer, limit, url))

    def get(self, path: str, *, limit: int, retry: Retry = ONCE) -> bytes:
        """Return the body at `path`, at most `limit` bytes.

        `retry` says how often and how patiently to ask again where no usable answer came.
        Raises ServerUnreachable, ServerUntrusted, NotAtServer, AnswerTooLong.
        """
        while True:
            try:
                return self._get_once(path, limit)
            except ServerUnreachable as error:
                retry = again(retry, error)
                retry.sleep()

    def resume(self, path: str, body: io.BytesIO, *, limit: int, on_piece: Callable[[int], None]) -> None:
        """Append to `body` what it lacks of what is at `path`, at most `limit` bytes together.

        What came stays in `body` where this raises, so the next try goes on there; a server that knows
        no ranges begins anew. `on_piece` is told the length of each piece and may raise to give up.
        Raises ServerUnreachable, ServerUntrusted, NotAtServer, AnswerTooLong.
        """
        url = self.base_url + path
        start = body.tell()
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._asking(url), self._answer(url, headers) as answer:
            self._check_place(answer, url, body)
            for piece in _pieces(answer, limit - body.tell(), url):
                body.write(piece)
                on_piece(len(piece))

    def abort(self) -> None:
        """End, from another thread, what this client does now. It is of no use afterwards."""
        self._line.cut()

    def _get_once(self, path: str, limit: int) -> bytes:
        url = self.base_url + path
        with self._asking(url), self._answer(url, {}) as answer:
            self._check(answer, url)
            return b"".join(_pieces(answer, limit, url))

    def _answer(self, url: str, headers: dict[str, str]) -> requests.Response:
        return self._session.get(
            url, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
        )

    @contextmanager
    def _asking(self, url: str) -> Iterator[None]:
        try:
            yield
        except requests.Timeout as error:
            kind = "to connect" if isinstance(error, requests.ConnectTimeout) else "for the answer"
            seconds = self._timeout[0] if isinstance(error, requests.ConnectTimeout) else self._timeout[1]
            raise ServerUnreachable(f"waited {seconds:.0f} s {kind} of {url}") from None
        except requests.exceptions.SSLError as error:
            if is_other_certificate(error):
                raise ServerUntrusted(f"{url}: {reason(error)}") from None
            refused = refused_certificate(error)
            if refused is None:
                raise ServerUnreachable(f"{url}: {reason(error)}") from None
            raise _untrusted(url, refused) from None
        except requests.RequestException as error:
            raise ServerUnreachable(f"{url}: {reason(error)}") from None

    def _check_place(self, answer: requests.Response, url: str, body: io.BytesIO) -> None:
        """Empty `body` where the answer does not go on at its end. Raises as _check does."""
        start = body.tell()
        goes_on = start > 0 and answer.status_code == 206
        if (goes_on and _first_byte(answer) != start) or answer.status_code in (200, 416):
            body.seek(0)
            body.truncate()
        if goes_on and not body.tell():
            raise ServerUnreachable(f"{url} answered with another range than bytes {start} onwards")
        self._check(answer, url, 206 if goes_on else 200)

    def _check(self, answer: requests.Response, url: str, status: int = 200) -> None:
        if answer.status_code == 404:
            raise NotAtServer(url)
        if answer.status_code != status:
            raise ServerUnreachable(f"{url} answered with status {answer.status_code}")
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise ServerUnreachable(
                f"{url} answered in the encoding {encoding[:20]!r}, which nobody asked for"
            )


def again(retry: Retry, error: ServerUnreachable) -> Retry:
    """Return what is left of the patience after a try that ended in `error`; raises that if none is."""
    try:
        left = retry.increment("GET", error=error)
    except MaxRetryError:
        raise error from None
    log.warning("asking again: %s", error)
    return left


def http_of(
    configuration: NodeConfiguration | EnrolmentConfiguration,
    dates: Dates = Dates.JUDGED,
    base_url: str = "",
    timeouts: HttpTimeouts = USUAL,
) -> HttpClient:
    """Return the way to a node's server as its medium says, or the same way to `base_url`."""
    return HttpClient(
        base_url or configuration.server,
        proxy=configuration.proxy,
        authority=configuration.authority,
        dates=dates,
        timeouts=timeouts,
    )


class _Pinned(HTTPAdapter):
    """Connections that are made with one context, which nothing here widens; or to one certificate."""

    def __init__(self, context: ssl.SSLContext, pools: dict[str, Any], fingerprint: str) -> None:
        self._context = context
        self._pools = pools
        self._fingerprint = fingerprint or None
        super().__init__()

    def init_poolmanager(self, *words: Any, **options: Any) -> None:
        """Let direct connections use the context."""
        super().init_poolmanager(
            *words, ssl_context=self._context, assert_fingerprint=self._fingerprint, **options
        )
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *words: Any, **options: Any) -> Any:
        """Let connections through a proxy's tunnel use it too."""
        manager = super().proxy_manager_for(*words, ssl_context=self._context, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add no other authorities: requests would load its own bundle into the context."""
        conn.cert_reqs = "CERT_NONE" if self._fingerprint else "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def _untrusted(url: str, error: ssl.SSLCertVerificationError) -> ServerUntrusted:
    hint = _DATE_HINT if error.verify_code in _DATE_CODES else None
    return ServerUntrusted(f"{url}: {error.verify_message}", hint=hint)


def _pieces(answer: requests.Response, limit: int, url: str) -> Iterator[bytes]:
    """Yield the body as it comes. Raises AnswerTooLong, and errors of requests."""
    size = 0
    try:
        while piece := answer.raw.read1(PIECE_BYTES, decode_content=False):
            size += len(piece)
            if size > limit:
                raise AnswerTooLong(f"{url} sent more than the {limit} bytes allowed")
            yield piece
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except HTTPError as error:
        raise requests.ConnectionError(error) from error


def _first_byte(answer: requests.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None
