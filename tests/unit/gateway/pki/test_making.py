"""`pki init` and `pki issue`: what is made, with which rights, and what is refused."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity import read_certificate, read_certificate_pem
from gateway.pki import handing_out
from gateway.pki.errors import PkiError
from gateway.tls import Tls, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.gateway.pki.commands import Office

FOR_GATEWAY = ("server.crt", "server.key", "ca.crt", "ca.crl")
ALICE = "clients/alice/alice.crt"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def days(certificate: x509.Certificate) -> int:
    """How long it counts from now on, rounded."""
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return round(left / timedelta(days=1))


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_the_authority_signs_leaves_and_lists_and_nothing_else(office: Office) -> None:
    ca = office.certificate("ca.crt")
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert constraints.critical
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert days(ca) == 3650
    key = ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_a_server_is_a_server_only_and_has_the_names_of_this_host(office: Office) -> None:
    server = office.certificate("server.crt")
    assert purposes(server) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names(server).get_values_for_type(x509.DNSName) == [socket.gethostname(), "localhost"]
    assert names(server).get_values_for_type(x509.IPAddress) == [
        ip_address("127.0.0.1"), ip_address("::1"),
    ]  # fmt: skip
    assert days(server) == 365


def test_a_client_is_a_client_only_and_is_named_by_uri(office: Office) -> None:
    alice = office.certificate(ALICE)
    assert purposes(alice) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert names(alice).get_values_for_type(x509.UniformResourceIdentifier) == [
        "runnerd:user:alice"
    ]
    assert days(alice) == 90
    read = read_certificate_pem((office.path / ALICE).read_text())
    assert (read.subject, read.common_name) == ("runnerd:user:alice", "alice")


def test_serials_are_of_128_bits_of_chance(office: Office) -> None:
    serials = [office.certificate(name).serial_number for name in ("ca.crt", "server.crt", ALICE)]
    assert len(set(serials)) == 3
    assert all(serial < 1 << 128 for serial in serials)
    assert max(serials) > 1 << 96


def test_each_file_has_its_own_key(office: Office) -> None:
    for name in ("server", "clients/alice/alice"):
        key = load_pem_private_key((office.path / f"{name}.key").read_bytes(), None)
        assert key.public_key() == office.certificate(f"{name}.crt").public_key()
    assert office.certificate(ALICE).public_key() != office.certificate("server.crt").public_key()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_rights_are_what_they_are_whatever_the_umask(empty: Office, umask: int) -> None:
    before = os.umask(umask)
    try:
        empty.do("init", "--server", "--user", "alice")
    finally:
        os.umask(before)
    for path in [empty.path, *empty.path.rglob("*")]:
        if path.is_dir():
            assert mode(path) in {0o700, 0o750 if path == empty.path else 0o700}, path
        elif path.suffix == ".key":
            assert mode(path) & 0o037 == 0, path
        else:
            assert mode(path) in {0o600, 0o644}, path
    assert mode(empty.path / "authority" / "ca.key") == 0o600
    assert mode(empty.path / "clients/alice/alice.key") == 0o600


def test_gateway_and_client_shake_hands_with_what_was_made(office: Office) -> None:
    path = office.path
    tls = Tls(TlsFiles(*(str(path / name) for name in FOR_GATEWAY)))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(path / "clients/alice/ca.crt")
    client.load_cert_chain(path / ALICE, path / "clients/alice/alice.key")
    shown = shake_hands(tls.context(), client)
    assert read_certificate(shown).subject == "runnerd:user:alice"
    assert tls.trust.refusal(read_certificate(shown)) is None


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """In memory; what the client has shown (DER)."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(back, there, server_hostname="localhost")
    other = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (one, other):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = other.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_an_authority_is_not_made_over_another(office: Office) -> None:
    before = (office.path / "authority/ca.key").read_bytes()
    assert "there is an authority" in office.fail("init")
    assert (office.path / "authority/ca.key").read_bytes() == before


def test_force_moves_the_authority_aside(office: Office) -> None:
    before = (office.path / "authority/ca.key").read_bytes()
    assert "does not count any more" in office.do("init", "--force", "--server")
    (aside,) = office.path.glob("authority.old-*")
    assert (aside / "ca.key").read_bytes() == before
    assert (office.path / "authority/ca.key").read_bytes() != before
    assert office.index().by_name("alice") == []


def test_nothing_is_made_where_a_file_is_in_the_way(empty: Office) -> None:
    empty.path.mkdir()
    (empty.path / "server.key").write_text("precious")
    assert "server.key is there already" in empty.fail("init", "--server")
    assert os.listdir(empty.path) == ["server.key"]


def test_keys_are_never_overwritten_unasked(office: Office) -> None:
    before = (office.path / "clients/alice/alice.key").read_bytes()
    assert "--force replaces it" in office.fail("issue", "--user", "alice")
    assert (office.path / "clients/alice/alice.key").read_bytes() == before
    assert len(office.entries("alice")) == 1
    told = office.do("issue", "--user", "alice", "--force")
    assert f"pki revoke --dir {office.path} {office.entries('alice')[0].serial}" in told
    assert (office.path / "clients/alice/alice.key").read_bytes() != before


def test_a_link_in_the_way_is_not_followed(office: Office, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (office.path / "clients/bob").mkdir()
    (office.path / "clients/bob/bob.key").symlink_to(precious)
    assert "is there already" in office.fail("issue", "--user", "bob")
    office.do("issue", "--user", "bob", "--force")
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("user", ["", "../root", "a b", "a/b", "-x", "ü", "a\n", "x" * 33])
def test_a_user_that_is_none_is_refused(office: Office, user: str) -> None:
    assert "cannot be a user" in office.fail("issue", "--user", user)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--uri", "alice"], "is no URI"),
        (["--uri", "x:a b"], "is no URI"),
        (["--cn", "a\nb"], "not printable"),
        (["--cn", "alice", "--name", "../x"], "cannot be a file's name"),
        (["--cn", "ca"], "cannot be a file's name"),
        ([], "has to name somebody"),
        (["--server", "--dns", "a b"], "is no host name"),
        (["--server", "--ip", "300.1.1.1"], "is no IP address"),
        (["--server", "--user", "x"], "--server goes with"),
        (["--user", "x", "--dns", "y"], "add --server"),
        (["--user", "x", "--days", "0"], "--days"),
    ],
)
def test_names_that_cannot_be_are_refused(office: Office, words: list[str], why: str) -> None:
    assert why in office.fail("issue", *words)
    assert len(office.index().certificates) == 2


def test_a_client_may_have_several_uris(office: Office) -> None:
    office.do("issue", "--uri", "spiffe://example.org/ci", "--uri", "x:y", "--name", "ci")
    made = office.certificate("clients/ci/ci.crt")
    assert names(made).get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://example.org/ci", "x:y",
    ]  # fmt: skip
    assert office.entries("ci")[0].subject == "spiffe://example.org/ci"


def test_a_server_may_be_for_another_host(office: Office, tmp_path: Path) -> None:
    out = tmp_path / "other"
    office.do("issue", "--server", "--dns", "gw.example.org", "--ip", "192.0.2.1",
              "--days", "30", "--out", str(out))  # fmt: skip
    made = x509.load_pem_x509_certificate((out / "server.crt").read_bytes())
    assert names(made).get_values_for_type(x509.DNSName) == ["gw.example.org"]
    assert days(made) == 30
    assert sorted(os.listdir(out)) == ["ca.crt", "server.crt", "server.key"]


def test_no_certificate_outlives_its_authority(empty: Office) -> None:
    empty.do("init", "--days", "10")
    assert "ends with the authority" in empty.do("issue", "--user", "alice")
    assert days(empty.certificate(ALICE)) == 10


def test_a_bundle_has_all_in_one(office: Office) -> None:
    office.do("issue", "--user", "bob", "--bundle")
    path = office.path / "clients/bob/bob.pem"
    assert mode(path) == 0o600
    assert path.read_bytes() == b"".join(
        (office.path / "clients/bob" / name).read_bytes()
        for name in ("bob.key", "bob.crt", "ca.crt")
    )


def test_browsers_get_a_file_with_a_passphrase(office: Office, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\nmore\n")
    office.do("issue", "--user", "bob", "--pkcs12-passphrase-file", str(secret))
    path = office.path / "clients/bob/bob.p12"
    key, certificate, others = pkcs12.load_key_and_certificates(path.read_bytes(), b"hush")
    assert mode(path) == 0o600
    assert key is not None
    assert certificate == office.certificate("clients/bob/bob.crt")
    assert others == [office.certificate("ca.crt")]


def test_the_gateways_group_may_read_its_key_and_nothing_else(office: Office) -> None:
    """As root; others cannot give files away."""
    group = next(gid for gid in os.getgroups() or [os.getegid()])
    import grp

    office.do("issue", "--server", "--force", "--group", grp.getgrgid(group).gr_name)
    key = office.path / "server.key"
    assert (mode(key), key.stat().st_gid) == (0o640, group)
    assert mode(office.path) == 0o750
    assert mode(office.path / "authority") == 0o700
    assert mode(office.path / "clients") == 0o700


def test_a_group_that_is_not_there_is_named(office: Office) -> None:
    assert "there is no group nogroup-x" in office.fail(
        "issue", "--server", "--group", "nogroup-x", "--force"
    )


def test_the_key_of_the_authority_may_have_a_passphrase(empty: Office, tmp_path: Path) -> None:
    right, wrong, none = (tmp_path / name for name in ("right", "wrong", "none"))
    right.write_text("hush\n")
    wrong.write_text("loud\n")
    none.write_text("\n")
    empty.do("init", "--passphrase-file", str(right))
    assert b"ENCRYPTED" in (empty.path / "authority/ca.key").read_bytes()
    assert "a passphrase is needed" in empty.fail("issue", "--user", "alice")
    assert "passphrase is wrong" in empty.fail(
        "issue", "--user", "alice", "--passphrase-file", str(wrong)
    )
    assert "is empty" in empty.fail("issue", "--user", "alice", "--passphrase-file", str(none))
    empty.do("issue", "--user", "alice", "--passphrase-file", str(right))
    assert b"ENCRYPTED" not in (empty.path / "clients/alice/alice.key").read_bytes()


def test_a_key_that_others_could_read_signs_nothing(office: Office) -> None:
    os.chmod(office.path / "authority/ca.key", 0o644)
    assert "who has it can be anybody" in office.fail("issue", "--user", "bob")


def test_without_an_authority_it_is_said_what_makes_one(empty: Office) -> None:
    assert f"runner-gateway pki init --dir {empty.path}" in empty.fail("issue", "--user", "bob")


def test_a_certificate_is_known_before_anybody_has_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_more: object) -> list[str]:
        raise PkiError("cannot write bob.key: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(handing_out, "write", full)
        assert "No space left" in office.fail("issue", "--user", "bob")
    (bob,) = office.entries("bob")
    assert "Revoked" in office.do("revoke", bob.serial)


def test_the_next_command_is_told(empty: Office) -> None:
    told = empty.do("init")
    assert f"next: runner-gateway pki issue --dir {empty.path} --server" in told
    assert "next: runctl context add" in empty.do("issue", "--user", "alice")


def test_nobody_is_root(empty: Office) -> None:
    assert "nobody acts for root" in empty.fail("init", "--user", "root")
    assert not empty.path.exists()
    empty.do("init")
    assert "nobody acts for root" in empty.fail("issue", "--user", "root")
    assert empty.index().certificates == []


def test_an_error_begins_as_all_of_this_program(office: Office) -> None:
    assert office.fail("issue", "--user", "a b").startswith("runner-gateway: ")


def test_what_the_policy_has_to_say_is_said(office: Office) -> None:
    told = office.do("issue", "--user", "bob")
    assert '    [[binding]]\n    match = "runnerd:user:bob"\n    user = "bob"\n' in told
    told = office.do("issue", "--uri", "spiffe://example.org/ci", "--name", "ci")
    assert 'match = "spiffe://example.org/ci"\n    user = "USER"   # whom its jobs' in told
