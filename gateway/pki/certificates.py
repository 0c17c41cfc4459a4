"""What the authority signs: its own certificate, those of servers and clients, the revocation list.

No file, no clock and no index here: times and serials come in, objects of `cryptography` go out.
`authority` beside it decides what is signed and keeps it.

All keys are EC P-256: each TLS 1.3 stack has it (RFC 8446 9.1 demands it), browsers and grpcio take
it for client certificates, and hold no Ed25519; a signature takes a tenth of RSA-2048's time.
"""

from __future__ import annotations

import enum
import secrets
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

SERIAL_BITS: Final = 128  # RFC 5280 4.1.2.2 allows 159, CA/B asks for 64 of chance
Address = IPv4Address | IPv6Address

_HASH: Final = hashes.SHA256()


class Kind(enum.StrEnum):
    """What a certificate is good for, and nothing else."""

    SERVER = "server"
    CLIENT = "client"


_PURPOSE: Final = {
    Kind.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Kind.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


class Period(NamedTuple):
    """From when until when something counts, both in UTC."""

    start: datetime
    end: datetime


class Names(NamedTuple):
    """What a certificate says its holder is called. `common_name` is at most 64 characters."""

    common_name: str
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()


class Issuer(NamedTuple):
    """A certificate that may sign others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Revoked(NamedTuple):
    """One entry of a revocation list; `reason` as RFC 5280 calls it, keyCompromise and so on."""

    serial: int
    at: datetime
    reason: str


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of one's own."""
    return ec.generate_private_key(ec.SECP256R1())


def new_serial() -> int:
    """128 random bits, so that no serial tells how many there were or what the next one is."""
    return secrets.randbits(SERIAL_BITS) or 1


def make_ca(name: str, key: ec.EllipticCurvePrivateKey, period: Period) -> x509.Certificate:
    """A root that signs leaves and revocation lists, and no other authority (pathlen 0)."""
    subject = _distinguished(name)
    builder = _builder(subject, subject, key.public_key(), period, new_serial())
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, _HASH)
    )


def make_leaf(
    issuer: Issuer, public_key: ec.EllipticCurvePublicKey, names: Names, period: Period, kind: Kind
) -> x509.Certificate:
    """A server's or a client's certificate, good for that alone."""
    parent = issuer.certificate
    builder = _builder(
        _distinguished(names.common_name), parent.subject, public_key, period, new_serial()
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_PURPOSE[kind]]), critical=False)
        .add_extension(authority_key(parent), critical=False)
    )
    if alternative := _alternative_names(names):
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(issuer.key, _HASH)


def make_list(
    issuer: Issuer, revoked: Iterable[Revoked], number: int, period: Period
) -> x509.CertificateRevocationList:
    """The list of what does not count any more. `number` grows with each list (RFC 5280 5.2.3)."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(period.start)
        .next_update(period.end)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(authority_key(issuer.certificate), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(_revoked(entry))
    return builder.sign(issuer.key, _HASH)


def authority_key(parent: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Which key signed, for certificates of authorities that have the same name."""
    subject_key = parent.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    period: Period,
    serial: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(period.start)
        .not_valid_after(period.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _distinguished(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(names: Names) -> list[x509.GeneralName]:
    return [
        *(x509.UniformResourceIdentifier(uri) for uri in names.uris),
        *(x509.DNSName(name) for name in names.dns),
        *(x509.IPAddress(address) for address in names.addresses),
    ]


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists, and takes part in no handshake; a leaf does."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _revoked(entry: Revoked) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(entry.at)
    if entry.reason != x509.ReasonFlags.unspecified.value:  # which RFC 5280 5.3.1 wants left out
        flag = x509.ReasonFlags(entry.reason)
        builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()
