"""The deployment's own certification authority, and the server certificates that it issues.

One authority signs server certificates directly (path length 0), with keys on P-256, which every TLS
library reads. All extensions that RFC 5280 asks for are there, so that clients may check strictly.
Times are Unix seconds.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wire.errors import ConfigurationError

_DAY = 86400
# The certificate of the authority is on write-protected media: to replace it, somebody visits every node.
AUTHORITY_DAYS = 30 * 365
SERVER_DAYS = 365
# A server whose own clock was set back a little still holds a certificate that is valid.
_BEFORE_SECONDS = 2 * _DAY


class BadCertificate(ConfigurationError):
    """A certificate or its key cannot be read, or the two do not belong together."""

    code = "bad-certificate"
    title = "A TLS certificate or key cannot be used"
    hint = "Restore the folder tls/ from its backup, or issue a new certificate: bootserver tls renew."


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Described:
    """What a certificate says: the names and addresses it is for, and its validity."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str


def make_authority(name: str, now: float, days: int = AUTHORITY_DAYS) -> Issued:
    """Make an authority whose certificate is valid from a little before `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Issued(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(authority: Issued, names: Sequence[str], now: float) -> Issued:
    """Issue a server certificate with a new key for host names and IP addresses. Raises BadCertificate."""
    if not names:
        raise BadCertificate("a certificate for no name")
    issuer, issuer_key = _read(authority.certificate), _read_key(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, issuer.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    return Issued(_pem(builder.sign(issuer_key, hashes.SHA256())), _key_pem(key))


def describe(certificate: bytes) -> Described:
    """Return what a certificate (PEM) says. Raises BadCertificate."""
    found = _read(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        texts = [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        texts = []
    return Described(
        tuple(str(name) for name in texts),
        found.not_valid_before_utc.timestamp(),
        found.not_valid_after_utc.timestamp(),
        found.fingerprint(hashes.SHA256()).hex(),
    )


def canonical_name(name: str) -> str:
    """Return a host name or IP address as certificates carry it. Raises BadCertificate."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        # Also refuses labels that are empty or too long.
        text = name.rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        text = ""
    if not text or not all(part.replace("-", "").isalnum() for part in text.split(".")):
        raise BadCertificate(f"{name!r} is neither a host name nor an address")
    return text


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now - _BEFORE_SECONDS))
        .not_valid_after(_moment(now + days * _DAY))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**granted: bool) -> x509.KeyUsage:
    kinds = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{kind: granted.get(kind, False) for kind in kinds})


def _general(name: str) -> x509.GeneralName:
    text = canonical_name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _moment(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(when), datetime.UTC)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    kind, form = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    return key.private_bytes(form, kind, serialization.NoEncryption())


def _read(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise BadCertificate("not a certificate in PEM form") from None


def _read_key(authority: Issued) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(authority.key, None)
    except (ValueError, TypeError):
        raise BadCertificate("the authority's key is malformed") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadCertificate("the authority's key is not one on an elliptic curve")
    if key.public_key() != _read(authority.certificate).public_key():
        raise BadCertificate("the authority's key does not belong to its certificate")
    return key
