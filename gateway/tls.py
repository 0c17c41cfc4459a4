"""TLS as this gateway speaks it, and its certificates, which are replaced while it runs.

TLS 1.3 only, a client certificate always, no resumption. `Tls.look` reads the files again when
they changed and puts the new ones in force for handshakes to come, and for `trust`, all or none:
what is broken leaves the old in force, and `Tls.problem` says so. `door` uses the contexts, `rpc`
the bytes.
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

from gateway import tls_files
from gateway.farewell import SpeakingContext
from gateway.tls_files import TlsError, TlsFiles
from gateway.trust import Trust, TrustError, older_list, read_anchors, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.trust import Anchors

__all__ = ["ALPN_HTTP", "ALPN_WIRE", "Material", "Tls", "TlsError", "TlsFiles", "server_context"]

ALPN_WIRE: Final = "runnerd/1"
ALPN_HTTP: Final = "http/1.1"

_LOG: Final = logging.getLogger(__name__)
_REPEAT_SECONDS: Final = 3600.0


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


class Tls:
    """The files of one gateway, and what is made of them. Made in the event loop's thread.

    Raises TlsError from `__init__`: a file cannot be read or used; without good files there is no
    gateway. `material` may be called by any thread.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._clock = clock
        self._mark = tls_files.mark(files)
        self._material, self._context, anchors = _made(files, 1, clock())
        self.trust = Trust(anchors, clock)
        self.problem: str | None = None
        self._said: dict[str, float] = {}
        self._say_what_refuses()

    def context(self) -> ssl.SSLContext:
        """For the next handshake. Never kept longer than that."""
        return self._context

    def material(self) -> Material:
        """The bytes in force, for whoever cannot use a context."""
        return self._material

    def ends(self) -> dict[str, int]:
        """When `certificate`, `ca`, `crl` end, in Unix seconds: nobody gets in after the first."""
        return {"certificate": _ends(self._material.certificate_chain), **self.trust.ends()}

    def look(self, *, again: bool = False) -> bool:
        """Puts changed files in force; True if it did. With `again` also what looks unchanged.

        Never raises: what is broken is logged once, and stands in `problem` until it is mended.
        """
        self._say_what_refuses()
        found = tls_files.mark(self._files)
        if found == self._mark and not again:
            return False
        self._mark = found
        try:
            self._put_in_force()
        except TlsError as error:
            self.problem = str(error)
            _LOG.error("new certificates are not used, the old stay in force: %s", error)
            return False
        self.problem = None
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

    def _put_in_force(self) -> None:
        material, context, anchors = _made(self._files, self._material.version + 1, self._clock())
        if (why := older_list(anchors, self.trust.anchors)) is not None:
            raise TlsError(f"{self._files.crl}: {why}")
        self._material, self._context = material, context
        self.trust.replace(anchors)

    def _say_what_refuses(self) -> None:
        """A list that ended refuses everybody: said when it happens, and each hour again."""
        now = self._clock()
        for complaint in self.trust.complaints():
            if now - self._said.get(complaint, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
                self._said[complaint] = now
                _LOG.error("clients are refused: %s", complaint)


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


def _made(files: TlsFiles, version: int, now: float) -> tuple[Material, ssl.SSLContext, Anchors]:
    read = tls_files.read(files)
    anchors = _anchors(files, read)
    _check_own(files, read, now)
    try:
        context = server_context(read)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(_unusable(files, error)) from None
    return Material(version, read.certificate, read.key, read.ca, read.crl), context, anchors


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


def _check_own(files: TlsFiles, read: tls_files.Read, now: float) -> None:
    try:
        ends = _ends(read.certificate)
    except ValueError as error:
        raise TlsError(f"{files.certificate}: no certificate in PEM: {error}") from None
    if now > ends:
        raise TlsError(
            f"{files.certificate} ended at {stamp(ends)}; `runner-gateway pki renew` makes"
            " the next one"
        )


def _ends(chain: bytes) -> int:
    return int(x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp())


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
