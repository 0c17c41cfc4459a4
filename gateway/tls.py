"""TLS as this gateway speaks it, and its certificates, which are replaced while it runs.

TLS 1.3 only, a client certificate always, no resumption. `Tls.look` reads files again when they
changed: the server's pair (certificate, key) and the trust (authorities, lists), each by itself, so
that a bad pair holds up no revocation. What is broken leaves the old in force, and `Tls.problem`
says so. `door` uses the contexts, `rpc` the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway import tls_files
from gateway.farewell import SpeakingContext
from gateway.tls_files import TlsError, TlsFiles
from gateway.trust import Trust, TrustError, ends_soon, older_list, read_anchors, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.trust import Anchors

__all__ = ["ALPN_HTTP", "ALPN_WIRE", "Material", "Tls", "TlsError", "TlsFiles", "server_context"]

ALPN_WIRE: Final = "runnerd/1"
ALPN_HTTP: Final = "http/1.1"

_LOG: Final = logging.getLogger(__name__)
_ERROR_SECONDS: Final = 3600.0
_WARNING_SECONDS: Final = 86_400.0
_NEXT: Final = "`runner-gateway pki renew server` makes the next one"
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


class Material(NamedTuple):
    """What is in force, in PEM. `version` grows by one with each change."""

    version: int
    certificate_chain: bytes
    key: bytes
    ca: bytes
    crl: bytes | None

    def __repr__(self) -> str:
        """Without the key."""
        return f"Material(version={self.version})"


class _Period(NamedTuple):
    """Of a certificate, in Unix seconds."""

    begins: int
    ends: int


class Tls:
    """The files of one gateway, and what is made of them. Made in the event loop's thread.

    Raises TlsError from `__init__`: a file cannot be read or used; without good files there is no
    gateway. `material` may be called by any thread.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._clock = clock
        self._marks = tls_files.mark_pair(files), tls_files.mark_trust(files)
        read = tls_files.read(files)
        anchors = _anchors(files, read)
        self._period = _check_own(files, read, clock())
        self._context = _context(files, read)
        self._read = read
        self._material = Material(1, *read)
        self.trust = Trust(anchors, clock)
        self._problems: dict[str, str] = {}
        self._said: dict[str, float] = {}
        self._say_what_ends()

    def context(self) -> ssl.SSLContext:
        """For the next handshake. Never kept longer than that."""
        return self._context

    @property
    def problem(self) -> str | None:
        """Why the newest files are not in force; None: they are."""
        return "; ".join(self._problems.values()) or None

    def material(self) -> Material:
        """The bytes in force, for whoever cannot use a context."""
        return self._material

    def ends(self) -> dict[str, int]:
        """When `certificate`, `ca`, `crl` end, in Unix seconds: nobody gets in after the first."""
        return {"certificate": self._period.ends, **self.trust.ends()}

    def look(self, *, again: bool = False) -> bool:
        """Puts changed files in force; True if it did. With `again` also what looks unchanged.

        Never raises: what is broken is logged once, and stands in `problem` until it is mended.
        """
        self._say_what_ends()
        marks = tls_files.mark_pair(self._files), tls_files.mark_trust(self._files)
        pair, trust = (again or new != old for new, old in zip(marks, self._marks, strict=True))
        self._marks = marks
        before = self._read
        try:
            # The lists first: nothing that is wrong with the pair may hold up a revocation.
            if trust:
                self._try("authorities and lists", self._take_trust)
            if pair:
                self._try("server's certificate and key", self._take_pair)
        finally:  # at once, for whoever asks in another thread
            if self._read is not before:
                self._material = Material(self._material.version + 1, *self._read)
        if self._read is before:
            return False
        _LOG.info("certificates are in force, version %d", self._material.version)
        return True

    async def follow(self, *then: Callable[[], object], seconds: float = 1.0) -> None:
        """Looks again and again, and calls `then` each time, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            for call in (self.look, *then):
                try:
                    call()
                except Exception:  # noqa: BLE001  a fault must not end the looking for good
                    _LOG.exception("looking at changed files failed")

    def _try(self, what: str, take: Callable[[], None]) -> None:
        try:
            take()
        except TlsError as error:
            self._problems[what] = str(error)
            _LOG.error("the new %s are not used, the old stay in force: %s", what, error)
        else:
            self._problems.pop(what, None)

    def _take_trust(self) -> None:
        read = self._read._replace(**tls_files.read_trust(self._files))
        anchors = _anchors(self._files, read)
        if (why := older_list(anchors, self.trust.anchors)) is not None:
            raise TlsError(f"{self._files.crl}: {why}")
        self._use(read)
        self.trust.replace(anchors)

    def _take_pair(self) -> None:
        read = self._read._replace(**tls_files.read_pair(self._files))
        period = _check_own(self._files, read, self._clock())
        self._use(read)
        self._period = period

    def _use(self, read: tls_files.Read) -> None:
        self._context = _context(self._files, read)
        self._read = read

    def _say_what_ends(self) -> None:
        """What refuses everybody is said when it happens and each hour; what will, each day."""
        for complaint in self.trust.complaints():
            self._say(logging.ERROR, f"clients are refused: {complaint}")
        for warning in self.trust.warnings():
            self._say(logging.WARNING, warning)
        where, now = self._files.certificate, self._clock()
        at = stamp(self._period.ends)
        if now > self._period.ends:
            self._say(logging.ERROR, f"clients refuse this gateway: {where} ended at {at}; {_NEXT}")
        elif ends_soon(self._period.begins, self._period.ends, now):
            self._say(
                logging.WARNING, f"{where} ends at {at}, and nobody can connect then; {_NEXT}"
            )

    def _say(self, level: int, text: str) -> None:
        now = self._clock()
        pause = _ERROR_SECONDS if level >= logging.ERROR else _WARNING_SECONDS
        if now - self._said.get(text, -pause) >= pause:
            self._said[text] = now
            _LOG.log(level, "%s", text)


def server_context(read: tls_files.Read) -> ssl.SSLContext:
    """What a handshake is made with. Raises ssl.SSLError, ValueError."""
    context = SpeakingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # No ticket, no resumption: each connection shows its certificate, and the lists are asked.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN_WIRE, ALPN_HTTP])
    context.load_verify_locations(cadata=read.ca.decode("ascii"))
    if read.crl is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        with _as_file(read.crl) as path:  # `cadata` takes no lists
            context.load_verify_locations(cafile=path)
    with _as_file(read.certificate) as chain, _as_file(read.key) as key:
        context.load_cert_chain(chain, key, password=_no_password)
    return context


def _context(files: TlsFiles, read: tls_files.Read) -> ssl.SSLContext:
    try:
        return server_context(read)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(_unusable(files, error)) from None


def _anchors(files: TlsFiles, read: tls_files.Read) -> Anchors:
    try:
        anchors = read_anchors(read.ca, None)
    except TrustError as error:
        raise TlsError(f"{files.ca}: {error}") from None
    if read.crl is None:
        return anchors
    try:
        return read_anchors(read.ca, read.crl)
    except TrustError as error:
        raise TlsError(f"{files.crl}: {error}") from None


def _check_own(files: TlsFiles, read: tls_files.Read, now: float) -> _Period:
    try:
        own = x509.load_pem_x509_certificate(read.certificate)
        why = _not_for_servers(own)
    except (ValueError, x509.DuplicateExtension):  # the library's text is about its own manual
        raise TlsError(f"{files.certificate}: no certificate in PEM that can be read") from None
    if why is not None:
        raise TlsError(f"{files.certificate} {why}; `runner-gateway pki issue --server` makes one")
    period = _Period(
        int(own.not_valid_before_utc.timestamp()), int(own.not_valid_after_utc.timestamp())
    )
    if now > period.ends:
        raise TlsError(f"{files.certificate} ended at {stamp(period.ends)}; {_NEXT}")
    return period


def _not_for_servers(own: x509.Certificate) -> str | None:
    """Each client would refuse it, and only there one could see why."""
    for extension in own.extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as usage:
                if ExtendedKeyUsageOID.CLIENT_AUTH in usage and _SERVER not in usage:
                    return "is a certificate for clients, and the gateway needs one for servers"
                if _SERVER not in usage:
                    return "is no certificate for servers (extended key usage serverAuth)"
            case x509.BasicConstraints(ca=True):
                return "is an authority's certificate, and the gateway needs one for servers"
            case _:
                pass
    return None


def _unusable(files: TlsFiles, error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{files.key} is not the key of {files.certificate}"
    return f"{files.certificate}, {files.key} and {files.ca} cannot be used: {reason or error}"


def _no_password() -> str:
    """Without this OpenSSL asks at the terminal of a service."""
    raise ValueError("the key is encrypted, and nobody is there to be asked for its passphrase")


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The bytes that were checked, for a library that takes only names. memfd_create(2)."""
    fd = os.memfd_create("runner-gateway", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
