"""Which certificates count now: gateway.trust."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.identity import Certificate, read_certificate
from gateway.trust import Anchors, Trust, TrustError, older_list, read_anchors
from tests.unit.gateway.certificates import DAY, HOUR, Pair, Town, period

TOWN = Town()
ALICE = TOWN.client("runnerd:user:alice")


def known(pair: Pair) -> Certificate:
    return read_certificate(pair.der)


def trust_of(town: Town = TOWN, crl: bytes | None = None, *, ahead: float = 0) -> Trust:
    now = period(0, 0).start.timestamp()
    return Trust(read_anchors(town.ca_pem, crl), lambda: now + ahead)


def refusal(trust: Trust, pair: Pair = ALICE) -> str:
    why = trust.refusal(known(pair))
    assert why is not None
    return why


def test_a_certificate_of_a_trusted_authority_counts() -> None:
    assert trust_of().refusal(known(ALICE)) is None
    assert trust_of(crl=TOWN.crl()).refusal(known(ALICE)) is None


def test_a_revoked_one_does_not_and_others_do() -> None:
    bob = TOWN.client("runnerd:user:bob")
    trust = trust_of(crl=TOWN.crl([bob]))
    assert "was revoked" in refusal(trust, bob)
    assert trust.refusal(known(ALICE)) is None


def test_it_ends_with_its_time() -> None:
    assert "ended at" in refusal(trust_of(ahead=HOUR + 1))


def test_without_a_list_that_is_asked_for_nobody_is_let_in() -> None:
    other = Town("other CA")
    anchors = read_anchors(TOWN.ca_pem + other.ca_pem, other.crl())
    trust = Trust(anchors)
    assert "no revocation list of CN=test CA" in refusal(trust)
    assert trust.refusal(known(other.client("x:y"))) is None


def test_a_list_that_has_ended_lets_nobody_in() -> None:
    trust = trust_of(crl=TOWN.crl(starts=-DAY, ends=-1))
    assert "revocation list ended" in refusal(trust)
    assert "runner-gateway pki crl" in trust.complaints()[0]


def test_a_list_of_tomorrow_lets_nobody_in() -> None:
    assert "begins only" in refusal(trust_of(crl=TOWN.crl(starts=HOUR, ends=DAY)))


def test_an_authority_that_has_ended_lets_nobody_in() -> None:
    old = Town(starts=-2 * DAY, ends=-1)
    assert "authority's own certificate ended" in refusal(trust_of(old), old.client("x:y"))


def test_an_authority_of_the_same_name_is_another_one() -> None:
    stranger = Town()
    assert "not one of those" in refusal(trust_of(), stranger.client("runnerd:user:alice"))


def test_an_authority_that_is_taken_away_counts_no_more() -> None:
    other = Town("other CA")
    trust = Trust(read_anchors(TOWN.ca_pem + other.ca_pem, None))
    assert trust.refusal(known(ALICE)) is None
    trust.replace(read_anchors(other.ca_pem, None))
    assert "not one of those" in refusal(trust)


def test_each_authority_has_its_own_list() -> None:
    """Serials are one authority's: the same number may be good elsewhere."""
    other = Town("other CA")
    twin = Pair(ALICE.certificate, ALICE.key)
    lists = TOWN.crl() + other.crl([twin])
    trust = Trust(read_anchors(TOWN.ca_pem + other.ca_pem, lists))
    assert trust.refusal(known(ALICE)) is None


def test_of_two_lists_the_newer_counts() -> None:
    lists = TOWN.crl([ALICE], starts=-60) + TOWN.crl(starts=-3600)
    assert "was revoked" in refusal(trust_of(crl=lists))


def test_a_list_by_a_stranger_of_the_same_name_is_refused() -> None:
    with pytest.raises(TrustError, match="signed by none"):
        read_anchors(TOWN.ca_pem, Town().crl())


def test_a_list_whose_signature_was_touched_is_refused() -> None:
    crl = x509.load_pem_x509_crl(TOWN.crl([ALICE])).public_bytes(Encoding.DER)
    forged = x509.load_der_x509_crl(crl[:-1] + bytes([crl[-1] ^ 1]))
    with pytest.raises(TrustError, match="signed by none"):
        read_anchors(TOWN.ca_pem, forged.public_bytes(Encoding.PEM))


def test_a_delta_list_is_refused_because_it_says_less_than_all() -> None:
    span = period(-HOUR, HOUR)
    delta = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(TOWN.pair.certificate.subject)
        .last_update(span.start)
        .next_update(span.end)
        .add_extension(x509.DeltaCRLIndicator(1), critical=True)
        .sign(TOWN.pair.key, hashes.SHA256())
    )
    with pytest.raises(TrustError, match="delta"):
        read_anchors(TOWN.ca_pem, delta.public_bytes(Encoding.PEM))


@pytest.mark.parametrize(
    "crl", [b"", b"garbage", b"-----BEGIN X509 CRL-----\nx\n-----END X509 CRL-----"]
)
def test_a_file_without_a_list_is_refused(crl: bytes) -> None:
    with pytest.raises(TrustError, match="revocation list"):
        read_anchors(TOWN.ca_pem, crl)


@pytest.mark.parametrize("ca", [b"", b"garbage", TOWN.ca_pem[:100]])
def test_a_file_without_a_certificate_is_refused(ca: bytes) -> None:
    with pytest.raises(TrustError, match="no certificate in PEM"):
        read_anchors(ca, None)


def test_only_authorities_are_trusted_as_such() -> None:
    with pytest.raises(TrustError, match="not an authority's"):
        read_anchors(TOWN.ca_pem + ALICE.certificate_pem, None)


def test_an_older_list_does_not_take_the_place_of_a_newer() -> None:
    town = Town()
    first, second = town.crl(), town.crl()
    before, after = (read_anchors(town.ca_pem, crl) for crl in (first, second))
    assert older_list(after, before) is None
    assert older_list(before, before) is None
    assert "number 1, older than 2" in str(older_list(before, after))


def test_of_lists_without_a_number_the_date_counts() -> None:
    """As tools of other authorities make them."""
    day_before, today = (unnumbered(-DAY), unnumbered(-HOUR))
    assert "older than that of" in str(older_list(day_before, today))
    assert older_list(today, day_before) is None
    assert older_list(today, today) is None
    numbered = read_anchors(TOWN.ca_pem, TOWN.crl(starts=-DAY))
    assert "older than that of" in str(older_list(numbered, today))


def unnumbered(starts: float) -> Anchors:
    span = period(starts, DAY)
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(TOWN.pair.certificate.subject)
        .last_update(span.start)
        .next_update(span.end)
        .sign(TOWN.pair.key, hashes.SHA256())
    )
    return read_anchors(TOWN.ca_pem, made.public_bytes(Encoding.PEM))


def test_lists_of_different_authorities_are_not_compared() -> None:
    old, new = Town(), Town()
    old.crl()
    assert (
        older_list(read_anchors(new.ca_pem, new.crl()), read_anchors(old.ca_pem, old.crl())) is None
    )


def test_it_is_known_when_what_ends() -> None:
    crl = TOWN.crl(ends=HOUR)
    assert trust_of(crl=crl).ends()["crl"] == int(
        x509.load_pem_x509_crl(crl).next_update_utc.timestamp()  # type: ignore[union-attr]
    )
    assert set(trust_of().ends()) == {"ca"}
