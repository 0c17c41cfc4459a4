"""The next certificate for the same names, in the place of the one before.

The earlier one stays valid until it ends, so nothing that has it loaded stops; `--revoke` ends it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.pki import certificates, finding, handing_out, walking
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
    where = Where(before.name, os.path.abspath(how.directory_of_files or before.directory))
    with walking.entered(where.directory) as at:
        made, written = _renew(authority, before, old, where, how, at)
    if how.revoke:
        authority.revoke([before], "superseded")
    return Renewed(made, before, written)


def _renew(
    authority: Authority, before: Entry, old: x509.Certificate, where: Where, how: Renewal, at: int
) -> tuple[Made, list[str]]:
    key = certificates.new_key() if how.rekey else None
    public = key.public_key() if key is not None else _public(old)
    days = how.days or DAYS[before.kind]
    made = authority.sign(public, names_of(old), before.kind, days, where)
    parcel = Parcel(made.certificate, authority.issuer.certificate, key)
    extras = how.extras._replace(bundle=how.extras.bundle or _has_bundle(before, at))
    written = handing_out.write(where, parcel, extras, replace=True, gid=_group(before, at), at=at)
    return made, written


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


def _public(old: x509.Certificate) -> ec.EllipticCurvePublicKey:
    public = old.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise PkiError("its key is not of an elliptic curve; --rekey makes one")
    return public


def _has_bundle(before: Entry, at: int) -> bool:
    """A bundle that is there would be of the old certificate."""
    return _stat(f"{before.name}.pem", at) is not None


def _group(before: Entry, at: int) -> int | None:
    """That of a key which a group may read, so that it still may."""
    found = _stat(f"{before.name}.key", at)
    return found.st_gid if found is not None and found.st_mode & 0o040 else None


def _stat(name: str, at: int) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None
