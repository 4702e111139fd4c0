"""HTTP, for everything that crosses the network.

Every request has a time limit for connecting and for each pause in the answer. Replies are read within
a bound that the caller states. Nothing is retried here unless the caller asks for it, which is right only
for what cannot change: one lost packet in the middle of an image must not throw the whole step back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from urllib3.exceptions import MaxRetryError
from urllib3.util import Retry

from wire.errors import ConfigurationError, TransientError, VerificationError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0

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

    def __init__(self, base_url: str, *, proxy: str = "", timeouts: HttpTimeouts = HttpTimeouts()) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = (timeouts.connect, timeouts.silence)
        self._session = _Session()
        # The environment (proxies, .netrc) must not decide where a node's calls go.
        self._session.trust_env = False
        # A compressed answer of the size allowed may unfold to a thousand times that in memory.
        self._session.headers["Accept-Encoding"] = "identity"
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}

    def post(self, path: str, body: bytes, *, content_type: str, limit: int) -> bytes:
        """Send `body` and return the answer of at most `limit` bytes; never asked again.

        Raises ServerUnreachable, NotAtServer, AnswerTooLong.
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
        Raises ServerUnreachable, NotAtServer, AnswerTooLong.
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
            answer = self._session.get(url, timeout=self._timeout, stream=True)
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
    cause: BaseException = error
    while True:
        inner = cause.__cause__ or cause.__context__ or getattr(cause, "reason", None)
        if not isinstance(inner, BaseException):
            return str(cause) or type(cause).__name__
        cause = inner
