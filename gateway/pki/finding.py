"""Which certificates somebody means: by serial, by name, by subject, by file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki import files, keys, naming
from gateway.pki.certificates import Kind
from gateway.pki.errors import PkiError
from gateway.pki.index import Entry

if TYPE_CHECKING:
    from gateway.pki.authority import Authority


def find(authority: Authority, target: str) -> list[Entry]:
    """All that `target` means, oldest first: one by serial or file, more by name or subject.

    A certificate that the authority signed and forgot (its index came from a backup) is found by
    its file, and is in the index from then on. Raises PkiError: nothing is meant.
    """
    serial = naming.serial(target)
    if serial is not None and (entry := authority.index.by_serial(serial)) is not None:
        return [entry]
    if named := authority.index.by_name(target):
        return named
    if subjects := authority.index.by_subject(target):
        return subjects
    if os.path.isfile(target):
        return [_of_file(authority, target)]
    raise PkiError(
        f"{target!r} is no serial, name, subject or file of a certificate that this authority"
        " has signed; `runner-gateway pki list` shows them"
    )


def others(authority: Authority, found: list[Entry]) -> list[Entry]:
    """Those that still count for the same subjects."""
    subjects = {one.subject for one in found}
    return [
        one
        for one in authority.index.certificates
        if one.subject in subjects and one not in found and one.counts(authority.seconds)
    ]


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


def _subject(certificate: x509.Certificate) -> str:
    """As `Entry.subject`: others of the same are found by it."""
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if uris := names.get_values_for_type(x509.UniformResourceIdentifier):
            return uris[0]
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"CN={common[0].value!s}" if common else certificate.subject.rfc4514_string()


def _take_up(authority: Authority, certificate: x509.Certificate, path: str) -> Entry:
    """Into the index of the open authority; who changes it afterwards writes it down."""
    name = os.path.basename(path).removesuffix(".crt")
    entry = Entry(
        serial=f"{certificate.serial_number:x}",
        kind=_kind(certificate),
        name=name,
        subject=_subject(certificate),
        issued=int(certificate.not_valid_before_utc.timestamp()),
        ends=int(certificate.not_valid_after_utc.timestamp()),
        directory=os.path.dirname(os.path.abspath(path)),
    )
    authority.index.certificates.append(entry)
    return entry
