"""The files that the holder of a certificate gets: ca.crt, NAME.crt, NAME.key, and two more.

NAME.pem    key, certificate and authority in one file, for `runctl context add`
NAME.p12    the same for browsers, with a passphrase
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gateway.pki import files, keys

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from gateway.pki.authority import Where


class Parcel(NamedTuple):
    """What is handed out. Without `key` the holder keeps the one that is there."""

    certificate: x509.Certificate
    ca: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None = None


class Extras(NamedTuple):
    """What is written beside: one file in PEM, one in PKCS #12 with this passphrase."""

    bundle: bool = False
    pkcs12_passphrase: bytes | None = None


def key_path(where: Where) -> str:
    """Where the key of a holder is."""
    return os.path.join(where.directory, f"{where.name}.key")


def refuse_existing(where: Where) -> None:
    """Raises PkiError when this would replace a certificate or a key."""
    files.refuse_existing(os.path.join(where.directory, f"{where.name}.crt"), key_path(where))


def write(
    where: Where,
    parcel: Parcel,
    extras: Extras,
    *,
    replace: bool,
    gid: int | None = None,
    at: int | None = None,
) -> list[str]:
    """All the files of one holder; their paths. The key comes first: without it nothing is of use.

    `at`: the descriptor of the directory, as of `files.write`. Raises PkiError.
    """
    written = []

    def put(path: str, content: bytes, mode: int, *, over: bool = replace) -> None:
        group = gid if mode != files.PUBLIC else None
        files.write(path, content, mode, replace=over, gid=group, at=at)
        written.append(path)

    base = os.path.join(where.directory, where.name)
    secret = files.PRIVATE if gid is None else 0o640
    if parcel.key is not None:
        put(f"{base}.key", keys.key_pem(parcel.key), secret)
    put(f"{base}.crt", keys.certificate_pem(parcel.certificate), files.PUBLIC)
    put(os.path.join(where.directory, "ca.crt"), keys.certificate_pem(parcel.ca), files.PUBLIC,
        over=True)  # fmt: skip
    for path, content in _extras(where, parcel, extras, at):
        put(path, content, files.PRIVATE, over=True)
    return written


def _extras(
    where: Where, parcel: Parcel, extras: Extras, at: int | None
) -> list[tuple[str, bytes]]:
    base = os.path.join(where.directory, where.name)
    made: list[tuple[str, bytes]] = []
    if not extras.bundle and extras.pkcs12_passphrase is None:
        return made
    key = parcel.key or _key_of(where, at)
    if extras.bundle:
        together = (keys.key_pem(key), *map(keys.certificate_pem, parcel[:2]))
        made.append((f"{base}.pem", b"".join(together)))
    if extras.pkcs12_passphrase is not None:
        content = keys.key_pkcs12(
            where.name, key, parcel.certificate, parcel.ca, extras.pkcs12_passphrase
        )
        made.append((f"{base}.p12", content))
    return made


def _key_of(where: Where, at: int | None) -> ec.EllipticCurvePrivateKey:
    path = key_path(where)
    return keys.read_key(path, files.read(path, secret=True, at=at), lambda: b"")
