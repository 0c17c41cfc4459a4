"""Who a certificate says its holder is: gateway.identity."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import MAX_URIS, IdentityError, read_certificate, read_certificate_pem
from gateway.pki.certificates import new_key
from tests.unit.gateway.certificates import HOUR, Town, period

if TYPE_CHECKING:
    from collections.abc import Iterable

TOWN = Town()
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def odd(
    names: Iterable[str] = ("alice",),
    *,
    usage: x509.ExtendedKeyUsage | None = CLIENT,
    uris: Iterable[str] = (),
    ca: bool | None = False,
) -> bytes:
    """A certificate as other authorities might sign it."""
    key = new_key()
    span = period(-HOUR, HOUR)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(TOWN.pair.certificate.subject)
        .public_key(key.public_key())
        .serial_number(0x0A)
        .not_valid_before(span.start)
        .not_valid_after(span.end)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if alternative := [x509.UniformResourceIdentifier(uri) for uri in uris]:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(TOWN.pair.key, hashes.SHA256()).public_bytes(Encoding.DER)


def refused(der: bytes) -> str:
    with pytest.raises(IdentityError) as caught:
        read_certificate(der)
    return str(caught.value)


def test_a_client_is_called_by_its_first_uri() -> None:
    pair = TOWN.client("runnerd:user:alice", "spiffe://example.org/ci", cn="Alice")
    read = read_certificate(pair.der)
    assert read.subject == "runnerd:user:alice"
    assert read.uris == ("runnerd:user:alice", "spiffe://example.org/ci")
    assert read.common_name == "Alice"
    assert read.serial == pair.serial
    assert read.issuer == "CN=test CA"
    assert read.not_after == int(pair.certificate.not_valid_after_utc.timestamp())
    assert read.fingerprint == hashlib.sha256(pair.der).hexdigest()
    assert read == read_certificate_pem(pair.certificate_pem.decode())


def test_a_client_without_uri_is_called_by_its_common_name() -> None:
    assert read_certificate(TOWN.client(cn="alice").der).subject == "CN=alice"


def test_serials_are_hex_without_leading_zeros() -> None:
    assert read_certificate(odd()).serial == "a"


def test_the_key_that_signed_is_known_where_the_certificate_says_it() -> None:
    identifier = TOWN.pair.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert read_certificate(TOWN.client().der).authority == identifier.value.digest.hex()
    assert read_certificate(odd()).authority is None


def test_a_certificate_that_names_nobody_is_refused() -> None:
    assert "names nobody" in refused(odd(names=()))


def test_several_common_names_are_refused() -> None:
    assert "2 common names" in refused(odd(("alice", "root")))


@pytest.mark.parametrize("name", ["al\nice", "\x1b[31m", "alice ", " alice", "a\u202eb"])
def test_a_common_name_that_would_lie_in_a_log_is_refused(name: str) -> None:
    assert "not printable" in refused(odd((name,)))


@pytest.mark.parametrize("uri", ["CN=alice", "alice", "runnerd:user:a b", "x:", "1x:y"])
def test_a_uri_that_is_none_is_refused(uri: str) -> None:
    assert "is not `scheme:" in refused(odd(uris=[uri]))


def test_too_many_and_too_long_uris_are_refused() -> None:
    assert "more than" in refused(odd(uris=[f"x:{number}" for number in range(MAX_URIS + 1)]))
    assert "256" in refused(odd(uris=["x:" + "y" * 300]))


def test_an_authority_is_no_client_whatever_else_it_is_for() -> None:
    assert "authority's" in refused(TOWN.pair.der)
    assert "authority's" in refused(odd(ca=True))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    ],
)
def test_only_what_is_made_for_clients_is_one(usage: x509.ExtendedKeyUsage | None) -> None:
    assert "not one for clients" in refused(odd(usage=usage))


def test_a_server_is_no_client() -> None:
    assert "not one for clients" in refused(TOWN.server().der)


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_sentence(garbage: bytes) -> None:
    assert "cannot be read" in refused(garbage)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_certificate_is_read_or_refused_and_nothing_else(at: int, octet: int) -> None:
    der = bytearray(_GOOD)
    der[at % len(der)] = octet
    try:
        assert read_certificate(bytes(der)).subject
    except IdentityError as error:
        assert str(error).isprintable()


@given(st.text(max_size=80))
def test_what_is_no_pem_is_refused(text: str) -> None:
    with pytest.raises(IdentityError, match="cannot be read"):
        read_certificate_pem(text)


def test_a_huge_certificate_is_not_even_looked_at() -> None:
    assert "more than" in refused(b"\x30" * 20_000)


_GOOD = TOWN.client("runnerd:user:alice").der
