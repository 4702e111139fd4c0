"""The node's configuration file on the key medium (`plnode.txt`, older name `planet.cnf`).

Lines KEY="value"; comments start with # in column 0; quotes must match; unknown keys are ignored; an
empty value is an error. Host and domain names are lowercased and a MAC address uppercased, as the
original boot managers did. Added to the classic keys: BOOT_SERVER, the server's base URL; BOOT_CA, the
certificate of the authority that signs the server's, in base64 (DER) on one line, needed for https; PROTOCOL,
what is spoken with the server; BASE_IMAGE, an image and its manifest's hash, for servers that name none.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from wire.enrolment import BadToken, Token
from wire.errors import ConfigurationError
from wire.messages import ImageRef
from wire.plc import classic_key
from wire.session import BadNodeKey, NodeKey

FILE_NAMES = ("plnode.txt", "planet.cnf")
MAXIMUM_BYTES = 64 * 1024
NETWORK_KEYS = (
    "NET_DEVICE",
    "IP_METHOD",
    "IP_ADDRESS",
    "IP_NETMASK",
    "IP_GATEWAY",
    "IP_DNS1",
    "IP_DNS2",
)
_IMAGE = re.compile(r"([a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)@([0-9a-f]{64})")
_LINE = re.compile(r"""([A-Z][A-Z0-9_]*)=(?:"([^"]*)"|'([^']*)'|([^\s"']*))\s*""")


class MalformedNodeConfiguration(ConfigurationError):
    """The file cannot be read as a node configuration."""

    code = "malformed-node-configuration"
    title = "The node's configuration file is malformed"
    hint = "Correct the line, or write the key medium again at the server: bootserver media key NODE FILE."


class IpMethod(StrEnum):
    """How the node gets its address."""

    STATIC = "static"
    DHCP = "dhcp"


class Protocol(StrEnum):
    """What is spoken with the server: the project's own signed calls, or the classic PLC protocol."""

    SIGNED = "signed"
    PLCAPI = "plcapi"
    PLCAPI_SESSION = "plcapi-session"


@dataclass(frozen=True)
class NetworkSettings:
    """The node's own interface.

    `device` is a MAC address, an interface name, or "" for any wired one.
    """

    method: IpMethod = IpMethod.DHCP
    device: str = ""
    address: str = ""
    netmask: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()

    @property
    def prefix_length(self) -> int:
        """Bits of the netmask."""
        return ipaddress.ip_network(f"0.0.0.0/{self.netmask}").prefixlen


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
    return _Reader(_values(text, source), source).configuration()


def parse_any(text: str, source: str) -> NodeConfiguration | EnrolmentConfiguration:
    """Read the text of a key medium or, without NODE_ID and NODE_KEY, of an enrolment medium.

    Raises MalformedNodeConfiguration as parse() does.
    """
    reader = _Reader(_values(text, source), source)
    return reader.configuration() if reader.has_identity else reader.enrolment()


def parse_network(text: str, source: str) -> NetworkSettings:
    """Read lines with NETWORK_KEYS only, as a person edits them for one boot.

    Raises MalformedNodeConfiguration as parse() does.
    """
    return _Reader(_values(text, source), source).network()


def _is_url(text: str) -> bool:
    """Say whether it is http(s)://HOST or http(s)://HOST:PORT."""
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(r"https?://[^\s/?#]+", text) and parts.hostname and parts.port != 0)
    except ValueError:
        # A port that is none, a bracket that is not closed.
        return False


def _values(text: str, source: str) -> dict[str, tuple[int, str]]:
    values: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        values.update(_pair(line, number, source))
    return values


def _pair(line: str, number: int, source: str) -> dict[str, tuple[int, str]]:
    found = _LINE.fullmatch(line.strip())
    if not found:
        raise MalformedNodeConfiguration(f'{source}, line {number}: not of the form KEY="value"')
    key, value = found[1], found[2] or found[3] or found[4] or ""
    if not value:
        raise MalformedNodeConfiguration(f"{source}, line {number}: {key} is empty")
    return {key: (number, value)}


class _Reader:
    """Typed access to the values, with the line in each complaint."""

    def __init__(self, values: dict[str, tuple[int, str]], source: str) -> None:
        self._values = values
        self._source = source

    def configuration(self) -> NodeConfiguration:
        protocol = self._protocol()
        name = ".".join(part for part in (self._text("HOST_NAME"), self._text("DOMAIN_NAME")) if part)
        return NodeConfiguration(
            node_id=self._node_id(),
            key=self._key(protocol),
            server=self._server(),
            network=self.network(),
            hostname=name.lower(),
            proxy=self._proxy(),
            protocol=protocol,
            base_image=self._base_image() if protocol is not Protocol.SIGNED else None,
            authority=self._authority(),
        )

    @property
    def has_identity(self) -> bool:
        """Whether anything says which node this is, or the file is empty, which is a mistake as before."""
        return not self._text("BOOT_SERVER") or bool(self._text("NODE_ID") or self._text("NODE_KEY"))

    def enrolment(self) -> EnrolmentConfiguration:
        token = self._token()
        if token is None and not self._server().startswith("https:"):
            raise self._wrong("BOOT_SERVER", "is not https, and without ENROL_TOKEN nothing else proves it")
        return EnrolmentConfiguration(self._server(), self.network(), self._proxy(), self._authority(), token)

    def _token(self) -> Token | None:
        if not self._text("ENROL_TOKEN"):
            return None
        try:
            return Token.from_text(self._text("ENROL_TOKEN"))
        except BadToken as error:
            raise self._wrong("ENROL_TOKEN", f"is malformed: {error.detail}") from None

    def _text(self, key: str) -> str:
        return self._values.get(key, (0, ""))[1]

    def _wrong(self, key: str, reason: str) -> MalformedNodeConfiguration:
        line = self._values.get(key, (0, ""))[0]
        where = f"{self._source}, line {line}" if line else self._source
        return MalformedNodeConfiguration(f"{where}: {key} {reason}")

    def _need(self, key: str) -> str:
        value = self._text(key)
        if not value:
            raise self._wrong(key, "is missing")
        return value

    def _node_id(self) -> int:
        text = self._need("NODE_ID")
        # Ten digits at most: Python refuses to read thousands of them.
        if not re.fullmatch(r"[0-9]{1,10}", text) or not 0 < int(text) < 2**31:
            raise self._wrong("NODE_ID", "is not a positive number")
        return int(text)

    def _protocol(self) -> Protocol:
        try:
            return Protocol(self._text("PROTOCOL") or Protocol.SIGNED)
        except ValueError:
            raise self._wrong("PROTOCOL", f"is none of {', '.join(Protocol)}") from None

    def _base_image(self) -> ImageRef:
        found = _IMAGE.fullmatch(self._need("BASE_IMAGE"))
        if found is None:
            raise self._wrong("BASE_IMAGE", "is not of the form NAME@SHA256, the hash of its manifest")
        return ImageRef(found[1], found[2])

    def _key(self, protocol: Protocol) -> NodeKey:
        read = NodeKey.from_text if protocol is Protocol.SIGNED else classic_key
        try:
            return read(self._need("NODE_KEY"))
        except BadNodeKey as error:
            raise self._wrong("NODE_KEY", f"is malformed: {error.detail}") from None

    def _server(self) -> str:
        url = self._need("BOOT_SERVER").rstrip("/")
        if not _is_url(url):
            raise self._wrong("BOOT_SERVER", "is not of the form https://host:port")
        return url

    def _proxy(self) -> str:
        url = self._text("PROXY_SERVER")
        # Without a scheme it is http, as in older files.
        if url and not _is_url((url if "://" in url else f"http://{url}").rstrip("/")):
            raise self._wrong("PROXY_SERVER", "is not of the form http://host:port")
        return url

    def _authority(self) -> str:
        if not self._text("BOOT_CA"):
            if self._server().startswith("https:"):
                raise self._wrong("BOOT_CA", "is missing, and BOOT_SERVER is reached by https")
            return ""
        try:
            pem = ssl.DER_cert_to_PEM_cert(base64.b64decode(self._text("BOOT_CA"), validate=True))
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
        except (ValueError, ssl.SSLError):
            raise self._wrong("BOOT_CA", "is not a certificate in base64") from None
        return pem

    def network(self) -> NetworkSettings:
        device = self._text("NET_DEVICE")
        if ":" in device:
            device = device.upper()
        try:
            method = IpMethod(self._text("IP_METHOD") or "dhcp")
        except ValueError:
            raise self._wrong("IP_METHOD", "is neither static nor dhcp") from None
        if method is IpMethod.DHCP:
            return NetworkSettings(method, device)
        return NetworkSettings(
            method,
            device,
            self._address("IP_ADDRESS"),
            self._netmask(),
            self._address("IP_GATEWAY"),
            tuple(self._address(key) for key in ("IP_DNS1", "IP_DNS2") if self._text(key)),
        )

    def _address(self, key: str) -> str:
        try:
            return str(ipaddress.IPv4Address(self._need(key)))
        except ipaddress.AddressValueError:
            raise self._wrong(key, "is not an IPv4 address") from None

    def _netmask(self) -> str:
        text = self._need("IP_NETMASK")
        try:
            ipaddress.ip_network(f"0.0.0.0/{text}")
        except ValueError:
            raise self._wrong("IP_NETMASK", "is not a netmask") from None
        return text
