"""Which client certificates count now: authorities, their revocation lists, and the clock.

`tls` reads the files and puts what it has checked in force here; OpenSSL asks the same of each
handshake. This is asked again for each request, because connections live longer than certificates.
Nothing here reads a file or writes a log.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.identity import Certificate

_SOON_SECONDS: Final = 14 * 86_400
_LIST: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_BROKEN: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
)  # fmt: skip


class TrustError(ValueError):
    """Authorities or lists that cannot be used. A sentence, without the file's name."""


class RevocationList(NamedTuple):
    """What one authority has taken back. Times in Unix seconds."""

    number: int | None
    begins: int
    ends: int
    serials: frozenset[str]  # as in Certificate.serial


class Authority(NamedTuple):
    """One certificate of the file `ca`."""

    name: str  # RFC 4514
    key_id: str  # hex
    begins: int
    ends: int
    revoked: RevocationList | None


class Anchors(NamedTuple):
    """All that is trusted at one time; `lists` says whether revocation lists are asked for."""

    authorities: tuple[Authority, ...]
    lists: bool


class Trust:
    """What is in force. `clock` gives Unix seconds."""

    def __init__(self, anchors: Anchors, clock: Callable[[], float] = time.time) -> None:
        self._anchors = anchors
        self._clock = clock

    @property
    def anchors(self) -> Anchors:
        """What is in force now."""
        return self._anchors

    def replace(self, anchors: Anchors) -> None:
        """From now on these count, for those who are connected as well."""
        self._anchors = anchors

    def refusal(self, certificate: Certificate) -> str | None:
        """Why a certificate, whose signature was checked before, does not count now; or None."""
        now = self._clock()
        if now > certificate.not_after:
            return f"the certificate ended at {stamp(certificate.not_after)}; it has to be renewed"
        issuers = [one for one in self._anchors.authorities if _issued(one, certificate)]
        if not issuers:
            return "the certificate's authority is not one of those that the gateway trusts now"
        refusals = [_refusal(one, certificate, now, lists=self._anchors.lists) for one in issuers]
        return next((why for why in refusals if why is not None), None)

    def complaints(self) -> list[str]:
        """What makes it refuse everybody of an authority: for log, health and metrics."""
        now, anchors = self._clock(), self._anchors
        found = (_state(one, now, lists=anchors.lists) for one in anchors.authorities)
        return [why for why in found if why is not None]

    def warnings(self) -> list[str]:
        """What will refuse everybody of an authority soon, for the log: with what prevents it."""
        now, anchors = self._clock(), self._anchors
        return [why for one in anchors.authorities for why in _warnings(one, now, anchors)]

    def ends(self) -> dict[str, int]:
        """When the first authority and the first list end, in Unix seconds, by `ca` and `crl`."""
        anchors = self._anchors
        times = {"ca": min(one.ends for one in anchors.authorities)}
        if lists := [one.revoked.ends for one in anchors.authorities if one.revoked]:
            times["crl"] = min(lists)
        return times


def read_anchors(ca: bytes, crl: bytes | None) -> Anchors:
    """The authorities of a PEM file, with the lists that they have signed.

    Raises TrustError: nothing is in it, something is no authority's, a list is of nobody here, has
    a false signature, or is of a kind that says less than all (a delta, a part).
    """
    certificates = _authorities(ca)
    lists = [] if crl is None else _lists(crl)
    read = [_authority(one, lists, asked=crl is not None) for one in certificates]
    for one in lists:
        if not any(_signed(one, authority) for authority in certificates):
            raise TrustError(
                f"the revocation list of {one.issuer.rfc4514_string()} is signed by none of the"
                " authorities that are trusted"
            )
    return Anchors(tuple(read), lists=crl is not None)


def older_list(new: Anchors, old: Anchors) -> str | None:
    """Why lists may not take the place of those in force: one is older, so it forgets revocations.

    A list that a backup brought back would let revoked certificates in again.
    """
    before = {one.key_id: one.revoked for one in old.authorities}
    for one in new.authorities:
        was, now = before.get(one.key_id), one.revoked
        if was is not None and now is not None and (why := _older(now, was)) is not None:
            return why
    return None


def ends_soon(begins: int, ends: int, now: float) -> bool:
    """Whether to warn: 14 days before, or in the last third of what lasts less than six weeks.

    A list that is signed each day for seven days is not always about to end.
    """
    return ends - min(_SOON_SECONDS, (ends - begins) / 3) <= now <= ends


def stamp(seconds: int) -> str:
    """A time for people: 2026-11-23 10:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _older(now: RevocationList, was: RevocationList) -> str | None:
    """By number (RFC 5280 5.2.3); by date where one has none, as lists of other tools."""
    if was.number is not None and now.number is not None:
        if now.number < was.number:
            return f"the revocation list has number {now.number}, older than {was.number} in force"
    elif now.begins < was.begins:
        return (
            f"the revocation list is of {stamp(now.begins)}, older than that of"
            f" {stamp(was.begins)} in force"
        )
    return None


def _warnings(authority: Authority, now: float, anchors: Anchors) -> Iterator[str]:
    if ends_soon(authority.begins, authority.ends, now):
        yield (
            f"the certificate of the authority {authority.name} ends at {stamp(authority.ends)},"
            " and whom it signed is refused then; a new one has to be in the file `ca` before"
        )
    revoked = authority.revoked
    if anchors.lists and revoked is not None and ends_soon(revoked.begins, revoked.ends, now):
        yield (
            f"the revocation list ends at {stamp(revoked.ends)}, and nobody is let in then;"
            " `runner-gateway pki crl` signs the next one"
        )


def _issued(authority: Authority, certificate: Certificate) -> bool:
    """By name, and by key where the certificate says which: an authority may be made anew."""
    if certificate.issuer != authority.name:
        return False
    return certificate.authority is None or certificate.authority == authority.key_id


def _refusal(
    authority: Authority, certificate: Certificate, now: float, *, lists: bool
) -> str | None:
    if (why := _state(authority, now, lists=lists)) is not None:
        return why
    if authority.revoked is not None and certificate.serial in authority.revoked.serials:
        return f"the certificate with serial {certificate.serial} was revoked"
    return None


def _state(authority: Authority, now: float, *, lists: bool) -> str | None:
    if now > authority.ends:
        return f"the authority's own certificate ended at {stamp(authority.ends)}"
    if not lists:
        return None
    if authority.revoked is None:
        return f"there is no revocation list of {authority.name}, and without it nobody is let in"
    if now < authority.revoked.begins:
        return f"the revocation list begins only at {stamp(authority.revoked.begins)}"
    if now > authority.revoked.ends:
        return (
            f"the revocation list ended at {stamp(authority.revoked.ends)}, and without one nobody"
            " is let in; `runner-gateway pki crl` signs the next one"
        )
    return None


def _authorities(ca: bytes) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(ca)
        for one in certificates:
            _check_authority(one)
    except _BROKEN as error:
        if isinstance(error, TrustError):
            raise
        raise TrustError("there is no certificate in PEM that can be read") from None
    return certificates


def _check_authority(certificate: x509.Certificate) -> None:
    """What is trusted as an authority and is none would let its holder in as anybody."""
    name = certificate.subject.rfc4514_string()
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise TrustError(f"{name} is not an authority's certificate") from None
    if not constraints.ca:
        raise TrustError(f"{name} is not an authority's certificate")


def _authority(
    certificate: x509.Certificate, lists: Iterable[x509.CertificateRevocationList], *, asked: bool
) -> Authority:
    own = [one for one in lists if _signed(one, certificate)] if asked else []
    newest = max(own, key=lambda one: one.last_update_utc, default=None)
    return Authority(
        name=certificate.subject.rfc4514_string(),
        key_id=_key_id(certificate),
        begins=int(certificate.not_valid_before_utc.timestamp()),
        ends=int(certificate.not_valid_after_utc.timestamp()),
        revoked=None if newest is None else _revocations(newest),
    )


def _key_id(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        found = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return found.digest.hex()


def _lists(crl: bytes) -> Sequence[x509.CertificateRevocationList]:
    try:
        lists = [x509.load_pem_x509_crl(block) for block in _LIST.findall(crl)]
        for one in lists:
            _check_list(one)
    except _BROKEN as error:
        if isinstance(error, TrustError):
            raise
        raise TrustError("the revocation list cannot be read") from None
    if not lists:
        raise TrustError("there is no revocation list in PEM")
    return lists


def _check_list(one: x509.CertificateRevocationList) -> None:
    if one.next_update_utc is None:
        raise TrustError("the revocation list says not when the next one comes")
    critical = [extension.oid.dotted_string for extension in one.extensions if extension.critical]
    if critical:
        raise TrustError(
            f"the revocation list is a delta or a part of one (critical {', '.join(critical)})"
        )


def _signed(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if one.issuer != authority.subject:
        return False
    try:
        return one.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (*_BROKEN, InvalidSignature):
        return False


def _revocations(one: x509.CertificateRevocationList) -> RevocationList:
    ends = one.next_update_utc
    assert ends is not None  # noqa: S101  _check_list has seen to it
    return RevocationList(
        number=_number(one),
        begins=int(one.last_update_utc.timestamp()),
        ends=int(ends.timestamp()),
        serials=frozenset(f"{entry.serial_number:x}" for entry in one),
    )


def _number(one: x509.CertificateRevocationList) -> int | None:
    try:
        return one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
