"""Who a certificate says its holder is, read from its DER and nothing else.

Pure: whether the certificate counts (its signature, its time, whether it was revoked) is asked of
`tls` at the handshake and of `trust` at each request; what its holder may do, of `policy`.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import warnings
from typing import Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_DER: Final = 16 * 1024
MAX_URIS: Final = 16
MAX_NAME: Final = 256
_SHOWN: Final = 40
# They are compared octet by octet and stand in logs. None can look like a subject `CN=…`.
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_UNREADABLE: Final = (
    ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.DuplicateExtension,
    x509.InvalidVersion, x509.UnsupportedGeneralNameType, CryptographyDeprecationWarning,
)  # fmt: skip

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class IdentityError(ValueError):
    """A certificate that is no client's, or names nobody whom a policy could know. A sentence."""


class Certificate(msgspec.Struct, frozen=True):
    """What of a client's certificate counts from here on."""

    uris: tuple[str, ...]  # of its subject alternative name, in its order
    common_name: str | None
    serial: str  # lower-case hex without leading zeros
    issuer: str  # RFC 4514
    not_after: int  # Unix seconds
    fingerprint: str  # SHA-256 of the DER, hex
    authority: str | None = None  # the key that signed, hex: its authority key identifier

    @property
    def subject(self) -> str:
        """How its holder is called in policy, audit and metrics: its first URI, else `CN=…`."""
        return self.uris[0] if self.uris else f"CN={self.common_name}"


def read_certificate(der: bytes) -> Certificate:
    """The certificate that a peer has shown.

    Raises IdentityError: it cannot be read, is an authority's, is not for clients (clientAuth named
    in its extended key usage), or its names are none, too many, too long or not printable.
    """
    certificate = _parsed(der)
    extensions = certificate.extensions
    _check_use(extensions)
    uris, common_name = _uris(extensions), _common_name(certificate)
    if not uris and common_name is None:
        raise IdentityError("the certificate names nobody: it has no URI and no common name")
    return Certificate(
        uris=uris,
        common_name=common_name,
        serial=f"{certificate.serial_number:x}",
        issuer=certificate.issuer.rfc4514_string(),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        fingerprint=hashlib.sha256(der).hexdigest(),
        authority=_authority(extensions),
    )


def read_certificate_pem(pem: str) -> Certificate:
    """The same from PEM. Raises IdentityError."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem)
    except ValueError as error:
        raise IdentityError(f"the certificate cannot be read: {error}") from None
    return read_certificate(der)


def _parsed(der: bytes) -> x509.Certificate:
    if len(der) > MAX_DER:
        raise IdentityError(f"the certificate has {len(der)} bytes, more than {MAX_DER}")
    try:
        # What the library only warns of, such as a serial below 1, RFC 5280 forbids.
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            # Each is parsed when it is asked for.
            _ = certificate.extensions, certificate.subject, certificate.issuer
            _ = certificate.not_valid_after_utc, certificate.serial_number
    except _UNREADABLE as error:
        raise IdentityError(f"the certificate cannot be read: {error}") from None
    return certificate


def _check_use(extensions: x509.Extensions) -> None:
    """A certificate without extended key usage is good for anything, which is not enough here."""
    constraints = _extension(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise IdentityError("the certificate is an authority's; nobody may connect with that")
    usage = _extension(extensions, x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise IdentityError("the certificate is not one for clients (extended key usage)")


def _uris(extensions: x509.Extensions) -> tuple[str, ...]:
    names = _extension(extensions, x509.SubjectAlternativeName)
    uris = () if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > MAX_URIS:
        raise IdentityError(f"the certificate has {len(uris)} URIs, more than {MAX_URIS}")
    for uri in uris:
        if len(uri) > MAX_NAME or not _URI.fullmatch(uri):
            raise IdentityError(
                f"the certificate's URI {shortened(uri)} is not `scheme:…` in at most {MAX_NAME}"
                " visible ASCII characters"
            )
    return tuple(uris)


def _common_name(certificate: x509.Certificate) -> str | None:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names:
        return None
    if len(names) > 1:
        raise IdentityError(f"the certificate has {len(names)} common names, and may have one")
    name = names[0].value
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MAX_NAME
        or not name.isprintable()
        or name != name.strip()
    ):
        raise IdentityError(
            f"the certificate's common name {shortened(name)} is not printable, begins or ends with"
            f" a space, is empty, or is longer than {MAX_NAME} characters"
        )
    return name


def _authority(extensions: x509.Extensions) -> str | None:
    identifier = _extension(extensions, x509.AuthorityKeyIdentifier)
    if identifier is None or identifier.key_identifier is None:
        return None
    return identifier.key_identifier.hex()


def shortened(name: object) -> str:
    """A name that may be hostile, for a sentence: escaped, and at most 40 characters of it."""
    text = ascii(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
