"""Which certificates somebody means: by serial, by file, by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import files, keys, naming
from gateway.pki.certificates import Kind
from gateway.pki.errors import PkiError
from gateway.pki.index import Entry

if TYPE_CHECKING:
    from gateway.pki.authority import Authority


def find(authority: Authority, target: str) -> list[Entry]:
    """All that `target` means, oldest first: one by its serial or file, perhaps more by their name.

    A certificate that the authority signed and forgot (its index came from a backup) is found by
    its file, and is in the index from then on. Raises PkiError: nothing is meant.
    """
    serial = naming.serial(target)
    if serial is not None and (entry := authority.index.by_serial(serial)) is not None:
        return [entry]
    if named := authority.index.by_name(target):
        return named
    if os.path.isfile(target):
        return [_of_file(authority, target)]
    raise PkiError(
        f"{target!r} is no serial, name or file of a certificate that this authority has signed;"
        " `runner-gateway pki list` shows them"
    )


def _of_file(authority: Authority, path: str) -> Entry:
    certificate = keys.read_certificate_file(path, files.read(path))
    try:
        certificate.verify_directly_issued_by(authority.issuer.certificate)
    except (ValueError, TypeError, InvalidSignature):
        raise PkiError(f"{path} was signed by another authority, which has to revoke it") from None
    entry = authority.index.by_serial(f"{certificate.serial_number:x}")
    return entry or _take_up(authority, certificate, path)


def _kind(certificate: x509.Certificate) -> Kind:
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return Kind.SERVER if ExtendedKeyUsageOID.SERVER_AUTH in usage else Kind.CLIENT


def _take_up(authority: Authority, certificate: x509.Certificate, path: str) -> Entry:
    """Into the index of the open authority; who changes it afterwards writes it down."""
    name = os.path.basename(path).removesuffix(".crt")
    entry = Entry(
        serial=f"{certificate.serial_number:x}",
        kind=_kind(certificate),
        name=name,
        subject=certificate.subject.rfc4514_string(),
        issued=int(certificate.not_valid_before_utc.timestamp()),
        ends=int(certificate.not_valid_after_utc.timestamp()),
        directory=os.path.dirname(os.path.abspath(path)),
    )
    authority.index.certificates.append(entry)
    return entry
