"""TLS of the nodes' listener: the folder tls/ with the deployment's authority and the server's certificate.

tls/ca.pem        the authority's certificate; goes onto every key medium
tls/ca.key        its key, mode 0600; may be kept elsewhere between renewals
tls/server.pem    the server's certificate and key in one file, mode 0600, so that they change together
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from host.files import write_atomic
from wire import tls
from wire.errors import ConfigurationError
from wire.tls import BadCertificate, Described, Issued

log = logging.getLogger(__name__)

FOLDER = "tls"
# A month of a year is left for somebody to notice that renewing fails.
RENEW_BEFORE_SECONDS = 30 * 86400
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NoAuthority(ConfigurationError):
    """The server has no certification authority, or not its key."""

    code = "no-authority"
    title = "The deployment's TLS authority is not here"
    hint = (
        "Put tls/ca.key back for as long as the command runs. Another one needs all key media written again."
    )


class NameNotCovered(ConfigurationError):
    """A URL names the server in a way that its certificate does not."""

    code = "name-not-covered"
    title = "The server's certificate is not for this name"
    hint = "Issue one that is: bootserver tls renew --name NAME (once for each name and address)."


@dataclass(frozen=True)
class Tls:
    """The folder tls/ of a server."""

    folder: Path

    @property
    def present(self) -> bool:
        """Whether the server speaks TLS: it has a certificate."""
        return self.server.is_file()

    @property
    def server(self) -> Path:
        """The server's certificate and key."""
        return self.folder / "server.pem"

    @property
    def authority(self) -> Path:
        """The certificate that nodes trust."""
        return self.folder / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """What signs the server's certificates."""
        return self.folder / "ca.key"

    def make(self, names: Sequence[str]) -> None:
        """Make an authority and a first certificate. Raises BadCertificate."""
        wanted = covered(names)
        made = tls.make_authority(f"bootserver of {socket.gethostname()}", time.time())
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self.authority_key, made.key, mode=0o600)
        write_atomic(self.authority, made.certificate)
        self._issue(made, wanted)

    def renew(self, names: Sequence[str] = ()) -> None:
        """Issue another certificate, for `names` or for those of the present one.

        Raises NoAuthority, BadCertificate.
        """
        try:
            made = Issued(self.authority.read_bytes(), self.authority_key.read_bytes())
        except OSError as error:
            raise NoAuthority(f"{error.filename}: {error.strerror}") from None
        self._issue(made, covered(names) if names else self.described().names)

    def _issue(self, authority: Issued, names: Sequence[str]) -> None:
        issued = tls.issue(authority, names, time.time())
        write_atomic(self.server, issued.certificate + issued.key, mode=0o600)

    def described(self) -> Described:
        """Return what the server's certificate says. Raises NoAuthority, BadCertificate."""
        try:
            return tls.describe(self.server.read_bytes())
        except OSError as error:
            raise NoAuthority(f"{error.filename}: {error.strerror}") from None

    def authority_pem(self, url: str) -> str:
        """Return what a node needs to trust the server at `url`: "" for plain HTTP.

        Raises NoAuthority, NameNotCovered, BadCertificate.
        """
        if not url.startswith("https://"):
            return ""
        host = urlsplit(url).hostname or ""
        names = self.described().names
        if tls.canonical_name(host) not in names:
            raise NameNotCovered(f"{host}; it is for {', '.join(names)}")
        return self.authority.read_text()

    def renew_if_due(self) -> bool:
        """Renew a certificate that expires soon. Returns whether there is another one now; never raises."""
        try:
            left = self.described().not_after - time.time()
            if left > RENEW_BEFORE_SECONDS:
                return False
            self.renew()
        except ConfigurationError as error:
            log.error("the server's certificate cannot be renewed: %s", error)
            return False
        log.warning("the server's certificate was renewed; the old one had %.0f days left", left / 86400)
        return True

    def context(self) -> ssl.SSLContext:
        """Return what the listener speaks TLS with. Raises BadCertificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Let new connections of a listener use the certificate that there is now. Raises BadCertificate."""
        try:
            context.load_cert_chain(self.server)
        except (OSError, ssl.SSLError) as error:
            raise BadCertificate(f"{self.server}: {error}") from None


def covered(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a certificate is for: those given, and this machine as it calls itself."""
    wanted = [tls.canonical_name(name) for name in names]
    if not wanted:
        # A machine may be called what no certificate can carry; loopback is left then.
        with suppress(BadCertificate):
            wanted.append(tls.canonical_name(socket.gethostname()))
    return tuple(dict.fromkeys([*wanted, *LOOPBACK]))


def host_of(url: str) -> str:
    """Return the host that a URL names, "" for none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
