"""The node's configuration file on the key medium (`plnode.txt`, older name `planet.cnf`).

Lines KEY="value"; comments start with # in column 0; quotes must match; unknown keys are ignored; an
empty value is an error. Host and domain names are lowercased and a MAC address uppercased, as the
original boot managers did. Added to the classic keys: BOOT_SERVER, the server's base URL; BOOT_CA, the
certificate of the authority that signs the server's, in base64 (DER) on one line, needed for https; PROTOCOL,
what is spoken with the server; BASE_IMAGE, an image and its manifest's hash, for servers that name none;
and those of the network (nodenet.py).
"""

from __future__ import annotations

import base64
import re
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from wire.enrolment import BadToken, Token
from wire.messages import ImageRef
from wire.nodefile import Values
from wire.nodenet import NetworkSettings, read_network
from wire.plc import classic_key
from wire.session import BadNodeKey, NodeKey

FILE_NAMES = ("plnode.txt", "planet.cnf")
MAXIMUM_BYTES = 64 * 1024
_IMAGE = re.compile(r"([a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)@([0-9a-f]{64})")


class Protocol(StrEnum):
    """What is spoken with the server: the project's own signed calls, or the classic PLC protocol."""

    SIGNED = "signed"
    PLCAPI = "plcapi"
    PLCAPI_SESSION = "plcapi-session"


@dataclass(frozen=True)
class NodeConfiguration:
    """Who this node is and how it reaches its server.

    `base_image` is set with the classic protocols only, whose servers cannot name one.
    """

    node_id: int
    key: NodeKey = field(repr=False)
    server: str
    network: NetworkSettings
    hostname: str = ""
    proxy: str = ""
    protocol: Protocol = Protocol.SIGNED
    base_image: ImageRef | None = None
    # PEM, "" where the server is reached by plain HTTP.
    authority: str = ""


@dataclass(frozen=True)
class EnrolmentConfiguration:
    """How a node that has no identity yet reaches the server that may give it one. `token` "" for none."""

    server: str
    network: NetworkSettings
    proxy: str = ""
    authority: str = ""
    token: Token | None = None


def one_line(authority: str) -> str:
    """Return a certificate (PEM) as the value of BOOT_CA."""
    return base64.b64encode(ssl.PEM_cert_to_DER_cert(authority)).decode()


def parse(text: str, source: str) -> NodeConfiguration:
    """Read the file's text; `source` is named in errors.

    Raises MalformedNodeConfiguration with source, line and reason; values are never quoted, because
    one of them is the key.
    """
    return _Reader(text, source).configuration()


def parse_any(text: str, source: str) -> NodeConfiguration | EnrolmentConfiguration:
    """Read the text of a key medium or, without NODE_ID and NODE_KEY, of an enrolment medium.

    Raises MalformedNodeConfiguration as parse() does.
    """
    reader = _Reader(text, source)
    return reader.configuration() if reader.has_identity else reader.enrolment()


def _is_url(text: str) -> bool:
    """Say whether it is http(s)://HOST or http(s)://HOST:PORT."""
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(r"https?://[^\s/?#]+", text) and parts.hostname and parts.port != 0)
    except ValueError:
        # A port that is none, a bracket that is not closed.
        return False


class _Reader(Values):
    """Typed access to the values."""

    def configuration(self) -> NodeConfiguration:
        protocol = self._protocol()
        name = ".".join(part for part in (self.text("HOST_NAME"), self.text("DOMAIN_NAME")) if part)
        return NodeConfiguration(
            node_id=self._node_id(),
            key=self._key(protocol),
            server=self._server(),
            network=read_network(self),
            hostname=name.lower(),
            proxy=self._proxy(),
            protocol=protocol,
            base_image=self._base_image() if protocol is not Protocol.SIGNED else None,
            authority=self._authority(),
        )

    @property
    def has_identity(self) -> bool:
        """Whether anything says which node this is, or the file is empty, which is a mistake as before."""
        return not self.text("BOOT_SERVER") or bool(self.text("NODE_ID") or self.text("NODE_KEY"))

    def enrolment(self) -> EnrolmentConfiguration:
        token = self._token()
        if token is None and not self._server().startswith("https:"):
            raise self.wrong("BOOT_SERVER", "is not https, and without ENROL_TOKEN nothing else proves it")
        return EnrolmentConfiguration(
            self._server(), read_network(self), self._proxy(), self._authority(), token
        )

    def _token(self) -> Token | None:
        if not self.text("ENROL_TOKEN"):
            return None
        try:
            return Token.from_text(self.text("ENROL_TOKEN"))
        except BadToken as error:
            raise self.wrong("ENROL_TOKEN", f"is malformed: {error.detail}") from None

    def _node_id(self) -> int:
        text = self.need("NODE_ID")
        # Ten digits at most: Python refuses to read thousands of them.
        if not re.fullmatch(r"[0-9]{1,10}", text) or not 0 < int(text) < 2**31:
            raise self.wrong("NODE_ID", "is not a positive number")
        return int(text)

    def _protocol(self) -> Protocol:
        try:
            return Protocol(self.text("PROTOCOL") or Protocol.SIGNED)
        except ValueError:
            raise self.wrong("PROTOCOL", f"is none of {', '.join(Protocol)}") from None

    def _base_image(self) -> ImageRef:
        found = _IMAGE.fullmatch(self.need("BASE_IMAGE"))
        if found is None:
            raise self.wrong("BASE_IMAGE", "is not of the form NAME@SHA256, the hash of its manifest")
        return ImageRef(found[1], found[2])

    def _key(self, protocol: Protocol) -> NodeKey:
        read = NodeKey.from_text if protocol is Protocol.SIGNED else classic_key
        try:
            return read(self.need("NODE_KEY"))
        except BadNodeKey as error:
            raise self.wrong("NODE_KEY", f"is malformed: {error.detail}") from None

    def _server(self) -> str:
        url = self.need("BOOT_SERVER").rstrip("/")
        if not _is_url(url):
            raise self.wrong("BOOT_SERVER", "is not of the form https://host:port")
        return url

    def _proxy(self) -> str:
        url = self.text("PROXY_SERVER").rstrip("/")
        if not url:
            return ""
        # Without a scheme it is http, as in older files.
        url = url if "://" in url else f"http://{url}"
        if not _is_url(url):
            raise self.wrong("PROXY_SERVER", "is not of the form http://host:port")
        return url

    def _authority(self) -> str:
        if not self.text("BOOT_CA"):
            if self._server().startswith("https:"):
                raise self.wrong("BOOT_CA", "is missing, and BOOT_SERVER is reached by https")
            return ""
        try:
            pem = ssl.DER_cert_to_PEM_cert(base64.b64decode(self.text("BOOT_CA"), validate=True))
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
        except (ValueError, ssl.SSLError):
            raise self.wrong("BOOT_CA", "is not a certificate in base64") from None
        return pem
