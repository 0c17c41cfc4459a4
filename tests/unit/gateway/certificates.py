"""Certificates for tests, good and bad ones, made by `gateway.pki` and kept in memory.

    town = Town()                                    # an authority
    alice = town.client("runnerd:user:alice")        # .certificate_pem, .key_pem, .serial, .der
    late = town.client("runnerd:user:bob", starts=-10 * DAY, ends=-1)
    files = town.write(tmp_path, town.server(), alice, revoked=[late])

`files` has the paths ca, crl, certificate, key (of the server) and what the gateway's TLS takes.
Times are seconds from now.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.pki import certificates as making
from gateway.pki.certificates import Issuer, Kind, Names, Period, Revoked

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

HOUR = 3600
DAY = 24 * HOUR


def period(starts: float, ends: float) -> Period:
    now = datetime.now(UTC).replace(microsecond=0)
    return Period(now + timedelta(seconds=starts), now + timedelta(seconds=ends))


class Pair(NamedTuple):
    """A certificate and a key: its own, unless a test wants another."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    def files(self, directory: Path, name: str) -> tuple[str, str]:
        """Writes NAME.crt and NAME.key (0600); their paths."""
        paths = (directory / f"{name}.crt", directory / f"{name}.key")
        put(paths[0], self.certificate_pem)
        put(paths[1], self.key_pem, 0o600)
        return str(paths[0]), str(paths[1])


class Files(NamedTuple):
    """What a gateway is given."""

    ca: str
    crl: str
    certificate: str
    key: str


class Town:
    """An authority in memory. Two of the same name are strangers with other keys."""

    def __init__(self, name: str = "test CA", *, starts: float = -HOUR, ends: float = DAY) -> None:
        key = making.new_key()
        self.pair = Pair(making.make_ca(name, key, period(starts, ends)), key)
        self._number = 0

    @property
    def ca_pem(self) -> bytes:
        return self.pair.certificate_pem

    @property
    def issuer(self) -> Issuer:
        return Issuer(*self.pair)

    def client(
        self,
        *uris: str,
        cn: str = "client",
        starts: float = -HOUR,
        ends: float = HOUR,
        kind: Kind = Kind.CLIENT,
    ) -> Pair:
        key = making.new_key()
        names = Names(cn, uris=uris)
        span = period(starts, ends)
        return Pair(making.make_leaf(self.issuer, key.public_key(), names, span, kind), key)

    def server(
        self,
        *dns: str,
        addresses: Iterable[str] = ("127.0.0.1", "::1"),
        starts: float = -HOUR,
        ends: float = HOUR,
    ) -> Pair:
        key = making.new_key()
        names = Names(
            "server", dns=dns or ("localhost",), addresses=tuple(map(ip_address, addresses))
        )
        span = period(starts, ends)
        leaf = making.make_leaf(self.issuer, key.public_key(), names, span, Kind.SERVER)
        return Pair(leaf, key)

    def crl(
        self, revoked: Iterable[Pair] = (), *, starts: float = -HOUR, ends: float = HOUR
    ) -> bytes:
        """A list (PEM) with those; `ends` below 0 makes one that is too old."""
        self._number += 1
        span = period(starts, ends)
        entries = [
            Revoked(pair.certificate.serial_number, span.start, "keyCompromise") for pair in revoked
        ]
        made = making.make_list(self.issuer, entries, self._number, span)
        return made.public_bytes(Encoding.PEM)

    def write(
        self, directory: Path, server: Pair | None = None, *, revoked: Iterable[Pair] = ()
    ) -> Files:
        """All that a gateway needs, as ca.crt, ca.crl, server.crt and server.key."""
        put(directory / "ca.crt", self.ca_pem)
        put(directory / "ca.crl", self.crl(revoked))
        certificate, key = (server or self.server()).files(directory, "server")
        return Files(str(directory / "ca.crt"), str(directory / "ca.crl"), certificate, key)


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """As an administrator's tool does it: another file under the same name, at once."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    new.replace(path)


def client_context(
    town: Town, pair: Pair | None, directory: Path, *, alpn: str | None = None
) -> ssl.SSLContext:
    """What a client in Python connects with: trusts `town` alone, shows `pair` if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=town.ca_pem.decode())
    if pair is not None:
        directory.mkdir(parents=True, exist_ok=True)
        context.load_cert_chain(*pair.files(directory, f"shown-{pair.serial}"))
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context
