"""HTTP, for everything that crosses the network.

Every request has a time limit for connecting and for each pause in the answer; nothing is retried
here. Replies are read within a bound that the caller states.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from wire.errors import ConfigurationError, TransientError

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0


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


@dataclass(frozen=True)
class HttpTimeouts:
    """Seconds to connect, and seconds of silence within an answer."""

    connect: float = CONNECT_SECONDS
    silence: float = SILENCE_SECONDS


class HttpClient:
    """Talks to one server; connections are kept open between requests. Not for several threads at once."""

    def __init__(self, base_url: str, *, proxy: str = "", timeouts: HttpTimeouts = HttpTimeouts()) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = (timeouts.connect, timeouts.silence)
        self._session = requests.Session()
        # The environment (proxies, .netrc) must not decide where a node's calls go.
        self._session.trust_env = False
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}

    def post(self, path: str, body: bytes, *, content_type: str, limit: int) -> bytes:
        """Send `body` and return the answer of at most `limit` bytes. Raises ServerUnreachable."""
        url = self.base_url + path
        with self._asking(url):
            answer = self._session.post(
                url, data=body, headers={"Content-Type": content_type}, timeout=self._timeout, stream=True
            )
            with answer:
                self._check(answer, url)
                return _bounded(answer, limit, url)

    def get(self, path: str, *, limit: int) -> bytes:
        """Return the body at `path`, at most `limit` bytes. Raises ServerUnreachable, NotAtServer."""
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


def _bounded(answer: requests.Response, limit: int, url: str) -> bytes:
    parts, size = [], 0
    for part in answer.iter_content(256 * 1024):
        size += len(part)
        if size > limit:
            raise ServerUnreachable(f"{url} sent more than the {limit} bytes allowed")
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
