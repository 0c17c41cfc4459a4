"""New certificates: a key, a signature, and the files for who will hold it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gateway.pki import certificates, files, handing_out
from gateway.pki.authority import Where
from gateway.pki.certificates import Kind, Names
from gateway.pki.handing_out import Extras, Parcel

if TYPE_CHECKING:
    from gateway.pki.authority import Authority, Made
    from gateway.pki.index import Entry
    from gateway.pki.places import Places


class Wanted(NamedTuple):
    """One certificate. Without `directory` it goes to its place below the authority's."""

    kind: Kind
    names: Names
    name: str
    days: int
    directory: str | None = None
    extras: Extras = Extras()
    gid: int | None = None
    replace: bool = False


class Issued(NamedTuple):
    """What came of it. `others` of the same name still count."""

    made: Made
    files: list[str]
    others: list[Entry]


def issue(authority: Authority, wanted: Wanted) -> Issued:
    """Signs and writes. Raises PkiError; a certificate that could not be written is revocable."""
    where = place(authority.places, wanted)
    refuse_existing(authority.places, wanted)
    _make_place(authority, where, wanted)
    others = [one for one in authority.index.by_name(wanted.name) if one.counts(authority.seconds)]
    key = certificates.new_key()
    made = authority.sign(key.public_key(), wanted.names, wanted.kind, wanted.days, where)
    parcel = Parcel(made.certificate, authority.issuer.certificate, key)
    written = handing_out.write(
        where, parcel, wanted.extras, replace=wanted.replace, gid=wanted.gid
    )
    return Issued(made, written, others)


def refuse_existing(places: Places, wanted: Wanted) -> None:
    """Raises PkiError when its files are there and shall not be replaced."""
    if not wanted.replace:
        handing_out.refuse_existing(place(places, wanted))


def place(places: Places, wanted: Wanted) -> Where:
    """Where its files go."""
    if wanted.directory is not None:
        return Where(wanted.name, os.path.abspath(wanted.directory))
    if wanted.kind is Kind.SERVER:
        return Where(wanted.name, places.directory)
    return Where(wanted.name, os.path.join(places.clients, wanted.name))


def _make_place(authority: Authority, where: Where, wanted: Wanted) -> None:
    if wanted.kind is Kind.CLIENT and wanted.directory is None:
        files.make_directory(authority.places.clients)
    files.make_directory(where.directory)
    if wanted.gid is not None and where.directory == authority.places.directory:
        files.share_directory(where.directory, wanted.gid)
