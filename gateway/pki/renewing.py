"""The next certificate for the same names, in the place of the one before.

The earlier one stays valid until it ends, so nothing that has it loaded stops; `--revoke` ends it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.pki import certificates, finding, handing_out
from gateway.pki.authority import Where
from gateway.pki.certificates import Kind, Names
from gateway.pki.errors import PkiError
from gateway.pki.handing_out import Extras, Parcel

if TYPE_CHECKING:
    from gateway.pki.authority import Authority, Made
    from gateway.pki.index import Entry

DAYS: dict[Kind, int] = {Kind.SERVER: 365, Kind.CLIENT: 90}


class Renewal(NamedTuple):
    """How. `days` and `directory` as before unless given."""

    days: int | None = None
    rekey: bool = False
    revoke: bool = False
    directory_of_files: str | None = None
    extras: Extras = Extras()


class Renewed(NamedTuple):
    """What came of it."""

    made: Made
    before: Entry
    files: list[str]


def renew(authority: Authority, target: str, how: Renewal) -> Renewed:
    """Signs and writes. Raises PkiError."""
    before = _latest(authority, target)
    old = authority.copy_of(before.serial)
    where = Where(before.name, _directory(before, how))
    key = certificates.new_key() if how.rekey else None
    public = key.public_key() if key is not None else _public(old)
    days = how.days or DAYS[before.kind]
    made = authority.sign(public, names_of(old), before.kind, days, where)
    parcel = Parcel(made.certificate, authority.issuer.certificate, key)
    written = handing_out.write(
        where, parcel, _extras(where, how.extras), replace=True, gid=_group(where)
    )
    if how.revoke:
        authority.revoke([before], "superseded")
    return Renewed(made, before, written)


def names_of(certificate: x509.Certificate) -> Names:
    """What it was made with."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    return Names(
        str(common[0].value),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        dns=tuple(found.get_values_for_type(x509.DNSName)),
        addresses=tuple(_addresses(found)),
    )


def _addresses(names: x509.SubjectAlternativeName) -> list[certificates.Address]:
    return [one.value for one in names if isinstance(one, x509.IPAddress)]  # type: ignore[misc]


def _latest(authority: Authority, target: str) -> Entry:
    found = finding.find(authority, target)
    latest = found[-1]
    if latest.revoked is not None:
        raise PkiError(
            f"{latest.name}, serial {latest.serial}, was revoked; `pki issue` makes a new one, with"
            " a new key"
        )
    return latest


def _directory(before: Entry, how: Renewal) -> str:
    directory = os.path.abspath(how.directory_of_files or before.directory)
    if not os.path.isdir(directory):
        raise PkiError(f"there is no directory {directory}; --out says where the files go")
    return directory


def _public(old: x509.Certificate) -> ec.EllipticCurvePublicKey:
    public = old.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise PkiError("its key is not of an elliptic curve; --rekey makes one")
    return public


def _extras(where: Where, wanted: Extras) -> Extras:
    """A bundle that is there would be of the old certificate."""
    there = os.path.exists(os.path.join(where.directory, f"{where.name}.pem"))
    return wanted._replace(bundle=wanted.bundle or there)


def _group(where: Where) -> int | None:
    """That of a key which a group may read, so that it still may."""
    try:
        found = os.stat(handing_out.key_path(where))
    except OSError:
        return None
    return found.st_gid if found.st_mode & 0o040 else None
