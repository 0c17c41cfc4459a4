"""Keys and certificates as files have them: PEM and PKCS #12, with passphrases where wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Callable


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """As PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """As PKCS #8 in PEM; encrypted where there is a passphrase (PBKDF2, AES-256)."""
    shell = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, shell)


def key_pkcs12(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    certificate: x509.Certificate,
    ca: x509.Certificate,
    passphrase: bytes,
) -> bytes:
    """What browsers import."""
    shell = BestAvailableEncryption(passphrase)
    return pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, [ca], shell)


def read_certificate_file(path: str, pem: bytes) -> x509.Certificate:
    """The first in a PEM file. Raises PkiError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise PkiError(f"{path} has no certificate in PEM: {error}") from None


def read_key(path: str, pem: bytes, ask: Callable[[], bytes]) -> ec.EllipticCurvePrivateKey:
    """A key; `ask` is called where it is encrypted. Raises PkiError."""
    passphrase = ask() if b"ENCRYPTED" in pem else None
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError):
        why = "the passphrase is wrong, or it is damaged" if passphrase else "it is damaged"
        raise PkiError(f"the key {path} cannot be read: {why}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"the key {path} is not of an elliptic curve, which all keys here are")
    return key
