"""The authority: made once, opened to sign, and what it keeps of that.

In which order things reach the disk is what matters here. A certificate is in the index before
anybody has it; a revocation is in the index before the list is signed, so a list that could not be
written is written by the next `pki crl`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import certificates, files, index, keys
from gateway.pki.certificates import Issuer, Kind, Names, Period, Revoked
from gateway.pki.errors import PkiError
from gateway.pki.index import Entry, Index
from gateway.pki.places import Inner, Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# Clocks of other machines may be behind; nothing was signed so early, so nothing is let in by it.
_EARLIER: Final = timedelta(minutes=5)
# Once it has ended a certificate is refused anyway; one more day for clocks that are behind.
_ON_LIST_AFTER_END: Final = 86_400
REASONS: Final = (
    "unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation",
    "privilegeWithdrawn",
)  # fmt: skip


class Made(NamedTuple):
    """A certificate that was signed. `shortened`: it ends with the authority, before its days."""

    entry: Entry
    certificate: x509.Certificate
    shortened: bool


class Plan(NamedTuple):
    """What an authority is made with. `gid`: the gateway's group, which may read what it needs."""

    name: str
    days: int
    list_days: int
    passphrase: bytes | None = None
    gid: int | None = None


class Authority:
    """One that is open and locked. `now` is the time of everything that it does."""

    def __init__(self, places: Places, issuer: Issuer, kept: Index, now: datetime) -> None:
        self.places = places
        self.issuer = issuer
        self.index = kept
        self.now = now
        self._inner = Inner(places.authority)

    @property
    def seconds(self) -> int:
        """Now, in Unix seconds."""
        return int(self.now.timestamp())

    def sign(
        self, key: ec.EllipticCurvePublicKey, names: Names, kind: Kind, days: int, where: Where
    ) -> Made:
        """A certificate, kept before it is given to the caller. Raises PkiError."""
        end = min(self.now + timedelta(days=days), self.issuer.certificate.not_valid_after_utc)
        if end <= self.now:
            raise PkiError("the authority's own certificate has ended: `pki init` makes another")
        period = Period(self.now - _EARLIER, end)
        made = certificates.make_leaf(self.issuer, key, names, period, kind)
        entry = self._entry(made, names, kind, where)
        files.write(self._inner.issued(entry.serial), keys.certificate_pem(made), files.PRIVATE)
        self.index.certificates.append(entry)
        index.save(self._inner.register, self.index)
        return Made(entry, made, shortened=end < self.now + timedelta(days=days))

    def copy_of(self, serial: str) -> x509.Certificate:
        """What was signed. Raises PkiError: the copy is gone."""
        path = self._inner.issued(serial)
        return keys.read_certificate_file(path, files.read(path))

    def revoke(self, entries: list[Entry], reason: str) -> None:
        """They do not count from the next list on, which is signed here. Raises PkiError."""
        for entry in entries:
            if entry.revoked is None:
                entry.revoked, entry.reason = self.seconds, reason
        index.save(self._inner.register, self.index)
        self.sign_list()

    def sign_list(self, days: int | None = None) -> datetime:
        """The next revocation list, in its place; when it ends. `days` is kept for later ones."""
        self.index.list_number += 1
        self.index.list_days = self.index.list_days if days is None else days
        index.save(self._inner.register, self.index)
        period = Period(self.now - _EARLIER, self.now + timedelta(days=self.index.list_days))
        made = certificates.make_list(self.issuer, self._revoked(), self.index.list_number, period)
        files.write(
            self.places.revocations, made.public_bytes(Encoding.PEM), files.PUBLIC, replace=True
        )
        self._show_certificate()
        return period.end

    def _entry(self, made: x509.Certificate, names: Names, kind: Kind, where: Where) -> Entry:
        return Entry(
            serial=f"{made.serial_number:x}",
            kind=kind,
            name=where.name,
            subject=names.uris[0] if names.uris else f"CN={names.common_name}",
            issued=self.seconds,
            ends=int(made.not_valid_after_utc.timestamp()),
            directory=where.directory,
        )

    def _revoked(self) -> Iterator[Revoked]:
        for entry in self.index.certificates:
            if entry.revoked is not None and self.seconds <= entry.ends + _ON_LIST_AFTER_END:
                at = datetime.fromtimestamp(entry.revoked, UTC)
                yield Revoked(int(entry.serial, 16), at, entry.reason or "unspecified")

    def _show_certificate(self) -> None:
        """Beside the list, where the gateway and everybody else find it."""
        pem = keys.certificate_pem(self.issuer.certificate)
        if not os.path.exists(self.places.ca) or files.read(self.places.ca) != pem:
            files.write(self.places.ca, pem, files.PUBLIC, replace=True)


class Where(NamedTuple):
    """What the files of a certificate are called, and where they are put."""

    name: str
    directory: str


def refuse_existing(places: Places) -> None:
    """Raises PkiError where an authority is already."""
    if os.path.lexists(places.authority):
        raise PkiError(
            f"there is an authority in {places.directory} already; --force moves it aside, and what"
            " it signed does not count any more"
        )


def create(places: Places, plan: Plan, *, now: datetime) -> str | None:
    """A new authority; one that is there is moved aside. Returns where that is now.

    It comes to be by one rename(2). Raises PkiError.
    """
    files.make_directory(places.directory, 0o700 if plan.gid is None else 0o750, plan.gid)
    new = f"{places.authority}.new-{os.getpid()}"
    _fill(Inner(new), plan, now)
    aside = _move_aside(places.authority, now)
    try:
        os.rename(new, places.authority)
    except OSError as error:
        raise PkiError(f"cannot make {places.authority}: {error.strerror}") from None
    return aside


@contextlib.contextmanager
def opened(directory: str, ask: Callable[[], bytes], now: datetime) -> Iterator[Authority]:
    """The authority of a directory, locked. `ask` gives the passphrase of an encrypted key.

    Raises PkiError: there is none, it cannot be read, or somebody else is at it.
    """
    places = Places(directory)
    inner = Inner(places.authority)
    require(directory)
    ca = keys.read_certificate_file(inner.certificate, files.read(inner.certificate))
    key = keys.read_key(inner.key, files.read(inner.key, secret=True), ask)
    if key.public_key() != ca.public_key():
        raise PkiError(f"{inner.key} is not the key of {inner.certificate}; one is of a backup")
    with files.locked(inner.lock):
        yield Authority(places, Issuer(ca, key), index.load(inner.register), now)


def require(directory: str) -> Inner:
    """Raises PkiError where no authority is."""
    inner = Inner(Places(directory).authority)
    if not os.path.lexists(inner.directory):
        raise PkiError(
            f"there is no authority in {directory}; `runner-gateway pki init --dir {directory}`"
            " makes one"
        )
    return inner


def _fill(inner: Inner, plan: Plan, now: datetime) -> None:
    files.make_directory(inner.directory)
    files.make_directory(os.path.join(inner.directory, "issued"))
    key = certificates.new_key()
    period = Period(now - _EARLIER, now + timedelta(days=plan.days))
    ca = certificates.make_ca(plan.name, key, period)
    files.write(inner.key, keys.key_pem(key, plan.passphrase), files.PRIVATE)
    files.write(inner.certificate, keys.certificate_pem(ca), files.PUBLIC)
    index.save(inner.register, Index(list_days=plan.list_days))


def _move_aside(path: str, now: datetime) -> str | None:
    if not os.path.lexists(path):
        return None
    aside = f"{path}.old-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise PkiError(f"cannot move {path} to {aside}: {error.strerror}") from None
    return aside
