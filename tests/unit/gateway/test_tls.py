"""Certificates of the gateway and how they change while it runs: gateway.tls, gateway.tls_files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.identity import read_certificate
from gateway.pki.certificates import Period, new_key
from gateway.tls import Tls, TlsError, TlsFiles
from tests.unit.gateway.certificates import (
    DAY,
    HOUR,
    Files,
    Pair,
    Town,
    client_context,
    period,
    put,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec


def given(files: Files) -> TlsFiles:
    return TlsFiles(files.certificate, files.key, files.ca, files.crl)


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.fixture
def files(town: Town, tmp_path: Path) -> TlsFiles:
    return given(town.write(tmp_path))


def why_not(files: TlsFiles) -> str:
    with pytest.raises(TlsError) as caught:
        Tls(files)
    return str(caught.value)


def test_the_context_demands_what_it_has_to(files: TlsFiles) -> None:
    context = Tls(files).context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET


def test_only_the_authority_that_was_given_is_trusted(files: TlsFiles, town: Town) -> None:
    """Public authorities sign certificates for anybody."""
    trusted = Tls(files).context().get_ca_certs(binary_form=True)
    assert trusted == [town.pair.der]


def test_without_a_list_none_is_asked_for(files: TlsFiles, town: Town) -> None:
    tls = Tls(files._replace(crl=None))
    assert not tls.context().verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    assert tls.trust.refusal(read_certificate(town.client("x:y").der)) is None


VERBS = {"certificate": "issue --server --force", "key": "issue --server --force", "ca": "crl",
         "crl": "crl"}  # fmt: skip


@pytest.mark.parametrize("name", VERBS)
def test_a_missing_file_is_named_with_what_makes_it(
    files: TlsFiles, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = getattr(files, name)
    os.unlink(path)
    assert f"cannot open {path}: No such file" in why_not(files)
    assert f"where the authority is: `runner-gateway pki {VERBS[name]}`" in why_not(files)
    (tmp_path / "authority").mkdir()
    assert f"; `runner-gateway pki {VERBS[name]} --dir {tmp_path}` makes it" in why_not(files)
    monkeypatch.setattr("gateway.tls_files.default_directory", lambda: str(tmp_path.parent))
    monkeypatch.setattr("gateway.tls_files.os.path.join", lambda *_parts: str(tmp_path))
    assert "--dir" not in why_not(files)


def test_where_nothing_is_init_makes_it(files: TlsFiles, tmp_path: Path) -> None:
    for path in files[:3]:
        assert path is not None
        os.unlink(path)
    assert f"`runner-gateway init --dir {tmp_path.parent}` makes all" in why_not(files)


def test_a_clients_certificate_is_not_served(files: TlsFiles, town: Town, tmp_path: Path) -> None:
    """Each client would refuse it, and only there one could see why."""
    tls, before = Tls(files), os.stat(files.certificate)
    town.client("runnerd:user:alice").files(tmp_path, "server")
    assert os.stat(files.certificate).st_ino != before.st_ino
    assert not tls.look()
    assert "is a certificate for clients" in str(tls.problem)
    assert tls.material().version == 1
    assert "`runner-gateway pki issue --server` makes one" in why_not(files)


def test_an_authority_is_not_served(files: TlsFiles, town: Town, tmp_path: Path) -> None:
    town.pair.files(tmp_path, "server")
    assert "is an authority's certificate" in why_not(files)


@pytest.mark.parametrize("name", ["certificate", "ca", "crl"])
def test_of_what_is_no_pem_the_librarys_text_is_left_out(files: TlsFiles, name: str) -> None:
    rewrite(getattr(files, name), b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    assert "cryptography" not in why_not(files)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o660, 0o644, 0o607])
def test_a_key_that_others_may_read_is_refused(files: TlsFiles, mode: int) -> None:
    os.chmod(files.key, mode)
    why = why_not(files)
    assert files.key in why
    assert "chmod" in why


def test_a_key_may_be_given_to_the_gateways_group_by_root(
    files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(files.key, 0o640)
    found = os.stat(files.key)
    if found.st_uid == 0:
        assert Tls(files).problem is None
    monkeypatch.setattr(os, "getegid", lambda: found.st_gid + 1)
    monkeypatch.setattr(os, "getgroups", list)
    assert "others can read" in why_not(files)


@pytest.mark.parametrize("name", ["certificate", "ca", "crl"])
def test_what_others_may_write_is_not_believed(files: TlsFiles, name: str) -> None:
    path = getattr(files, name)
    os.chmod(path, 0o664)
    assert f"{path} can be written by others" in why_not(files)


def test_a_pipe_in_place_of_a_file_does_not_stop_it(files: TlsFiles) -> None:
    os.unlink(files.ca)
    os.mkfifo(files.ca)
    assert "not a regular file" in why_not(files)


def test_a_certificate_in_place_of_the_key_is_named(files: TlsFiles, town: Town) -> None:
    put_as_key(files, town.server().certificate_pem)
    assert files.key in why_not(files)


def test_the_key_of_another_certificate_is_named(files: TlsFiles, town: Town) -> None:
    put_as_key(files, town.server().key_pem)
    assert why_not(files) == f"{files.key} is not the key of {files.certificate}"


def test_an_encrypted_key_is_refused_instead_of_asking_at_a_terminal(
    files: TlsFiles, town: Town
) -> None:
    from gateway.pki.keys import key_pem

    put_as_key(files, key_pem(town.server().key, b"secret"))
    assert "encrypted" in why_not(files)


def test_a_server_certificate_that_has_ended_is_said_at_once(town: Town, tmp_path: Path) -> None:
    files = given(town.write(tmp_path, town.server(starts=-DAY, ends=-1)))
    assert "`runner-gateway pki renew server`" in why_not(files)


def test_a_list_of_a_stranger_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    put(tmp_path / "ca.crl", Town().crl())
    assert why_not(files).startswith(f"{files.crl}: the revocation list of")


def test_an_intermediate_authority_signs_clients_if_it_is_in_the_file(
    files: TlsFiles, town: Town, tmp_path: Path
) -> None:
    """As authorities of companies have it; its list is asked, not the root's."""
    lower = intermediate(town)
    good, bad = lower.client("runnerd:user:alice"), lower.client("runnerd:user:bob")
    put(tmp_path / "ca.crt", lower.ca_pem + town.ca_pem)
    put(tmp_path / "ca.crl", lower.crl([bad]) + town.crl())
    tls = Tls(files)
    assert tls.trust.refusal(read_certificate(good.der)) is None
    assert "was revoked" in str(tls.trust.refusal(read_certificate(bad.der)))
    assert shown(tls, client_context(town, good, tmp_path)) == good.der
    with pytest.raises(ssl.SSLError, match="revoked"):
        shown(tls, client_context(town, bad, tmp_path))


def intermediate(town: Town) -> Town:
    """An authority that `town`, or rather one that may, has signed."""
    lower = Town("lower CA")
    root = new_key()
    span = period(-DAY, DAY)
    name = town.pair.certificate.subject
    town.pair = Pair(_authority(name, name, root, root.public_key(), span), root)
    subject = lower.pair.certificate.subject
    public = lower.pair.key.public_key()
    lower.pair = Pair(_authority(subject, name, root, public, span), lower.pair.key)
    return lower


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    public: ec.EllipticCurvePublicKey,
    span: Period,
) -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # noqa: FBT003
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, public, 7, span.start, span.end)
        .add_extension(x509.BasicConstraints(True, None), critical=True)  # noqa: FBT003
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def shown(tls: Tls, client: ssl.SSLContext) -> bytes | None:
    """What a client shows in a handshake in memory; raises what the gateway's side does."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    one = client.wrap_bio(back, there)
    other = tls.context().wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (one, other):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return other.getpeercert(binary_form=True)


def test_what_did_not_change_is_not_read_again(files: TlsFiles) -> None:
    tls = Tls(files)
    before = tls.material()
    assert not tls.look()
    assert tls.material() is before
    assert tls.look(again=True)
    assert tls.material().version == before.version + 1


def test_a_new_list_counts_for_handshakes_and_requests(
    files: TlsFiles, town: Town, tmp_path: Path
) -> None:
    alice = town.client("runnerd:user:alice")
    tls = Tls(files)
    context = tls.context()
    put(tmp_path / "ca.crl", town.crl([alice]))
    assert tls.look()
    assert tls.context() is not context
    assert "was revoked" in str(tls.trust.refusal(read_certificate(alice.der)))


@pytest.mark.parametrize("harm", ["key gone", "key open", "certificate ended", "no certificate"])
def test_a_revocation_counts_whatever_is_wrong_with_the_servers_pair(
    files: TlsFiles, town: Town, tmp_path: Path, harm: str
) -> None:
    alice = town.client("runnerd:user:alice")
    tls = Tls(files)
    pair = tls.material()[1:3]
    if harm == "key gone":
        os.unlink(files.key)
    elif harm == "key open":
        os.chmod(files.key, 0o644)
    elif harm == "certificate ended":
        put(tmp_path / "server.crt", town.server(starts=-DAY, ends=-1).certificate_pem)
    else:
        rewrite(files.certificate, b"garbage")
    put(tmp_path / "ca.crl", town.crl([alice]))
    assert tls.look()
    assert "was revoked" in str(tls.trust.refusal(read_certificate(alice.der)))
    with pytest.raises(ssl.SSLError, match="revoked"):
        shown(tls, client_context(town, alice, tmp_path))
    assert tls.material()[1:3] == pair
    assert files.key in str(tls.problem) or files.certificate in str(tls.problem)
    assert tls.material().version == 2


def test_a_new_pair_counts_while_the_list_is_broken(
    files: TlsFiles, town: Town, tmp_path: Path
) -> None:
    tls = Tls(files)
    rewrite(files.crl or "", b"garbage")
    renewed = town.server()
    renewed.files(tmp_path, "server")
    assert tls.look()
    assert tls.material().key == renewed.key_pem
    assert str(files.crl) in str(tls.problem)
    put(tmp_path / "ca.crl", town.crl())
    assert tls.look()
    assert tls.problem is None


@pytest.mark.parametrize("name", ["certificate", "key", "ca", "crl"])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_broken_new_files_leave_the_old_in_force(
    files: TlsFiles, town: Town, name: str, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    tls = Tls(files)
    before, context = tls.material(), tls.context()
    path = getattr(files, name)
    good = Path(path).read_bytes()
    rewrite(path, content)
    assert not tls.look()
    assert path in str(tls.problem)
    assert tls.material() is before
    assert tls.context() is context
    assert not tls.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    rewrite(path, good)
    assert tls.look()
    assert tls.problem is None
    assert town.client("x:y")


def test_a_certificate_whose_key_comes_a_moment_later_is_waited_for(
    files: TlsFiles, town: Town, tmp_path: Path
) -> None:
    """Two files cannot be replaced at once."""
    tls = Tls(files)
    renewed = town.server()
    put(tmp_path / "server.crt", renewed.certificate_pem)
    assert not tls.look()
    assert "is not the key of" in str(tls.problem)
    put(tmp_path / "server.key", renewed.key_pem, 0o600)
    assert tls.look()
    assert tls.material().key == renewed.key_pem


def test_mending_the_mode_of_a_file_is_noticed(files: TlsFiles) -> None:
    tls = Tls(files)
    os.chmod(files.key, 0o644)
    assert not tls.look()
    assert tls.problem is not None
    os.chmod(files.key, 0o600)
    assert tls.look()
    assert tls.problem is None


def test_an_older_list_cannot_bring_revoked_certificates_back(
    files: TlsFiles, town: Town, tmp_path: Path
) -> None:
    alice = town.client("runnerd:user:alice")
    old = (tmp_path / "ca.crl").read_bytes()
    put(tmp_path / "ca.crl", town.crl([alice]))
    tls = Tls(files)
    put(tmp_path / "ca.crl", old)
    assert not tls.look()
    assert "older than" in str(tls.problem)
    assert "was revoked" in str(tls.trust.refusal(read_certificate(alice.der)))


def test_that_everybody_is_refused_is_logged_once_an_hour(
    files: TlsFiles, town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "ca.crl", town.crl(starts=-DAY, ends=-1))
    now = [float(os.stat(files.ca).st_mtime)]
    tls = Tls(files, lambda: now[0] + 60)
    tls.look()
    assert caplog.text.count("clients are refused: the revocation list ended") == 1
    now[0] += 3600
    tls.look()
    tls.look()
    assert caplog.text.count("clients are refused") == 2


@pytest.mark.parametrize("what", ["crl", "certificate", "ca"])
def test_what_will_end_is_said_once_a_day_from_two_weeks_before(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = dict.fromkeys(("crl", "certificate", "ca"), 400 * DAY) | {what: 90 * DAY}
    town = Town(ends=ends["ca"])
    files = given(town.write(tmp_path, town.server(ends=ends["certificate"])))
    put(tmp_path / "ca.crl", town.crl(ends=ends["crl"]))
    now = [os.stat(files.ca).st_mtime + 75 * DAY]
    tls = Tls(files, lambda: now[0])
    assert caplog.text == ""
    now[0] += 2 * DAY
    tls.look()
    now[0] += 60
    tls.look()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    makes = {"crl": "pki crl`", "certificate": "pki renew server`", "ca": "in the file `ca` before"}
    assert makes[what] in caplog.text
    now[0] += DAY
    tls.look()
    assert len(caplog.records) == 2


def test_a_list_of_seven_days_that_is_signed_each_day_is_not_about_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    town = Town(ends=400 * DAY)
    files = given(town.write(tmp_path, town.server(ends=90 * DAY)))
    put(tmp_path / "ca.crl", town.crl(ends=7 * DAY))
    now = os.stat(files.ca).st_mtime
    assert Tls(files, lambda: now + 4 * DAY).trust.warnings() == []
    assert caplog.text == ""
    assert "the revocation list ends at" in Tls(files, lambda: now + 5 * DAY).trust.warnings()[0]


def test_the_end_of_the_servers_certificate_is_an_error_each_hour(
    files: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    now = [os.stat(files.ca).st_mtime]
    tls = Tls(files, lambda: now[0])
    now[0] += 2 * HOUR
    tls.look()
    tls.look()
    assert caplog.text.count("clients refuse this gateway") == 1
    now[0] += HOUR
    tls.look()
    assert caplog.text.count("clients refuse this gateway") == 2
    assert {r.levelname for r in caplog.records if "this gateway" in r.message} == {"ERROR"}


def test_it_is_known_when_what_ends(files: TlsFiles) -> None:
    assert set(Tls(files).ends()) == {"certificate", "ca", "crl"}


def test_the_key_is_not_shown_by_accident(files: TlsFiles) -> None:
    assert "PRIVATE" not in repr(Tls(files).material())


def test_following_goes_on_after_a_fault(
    files: TlsFiles, town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)

    async def body() -> None:
        tls = Tls(files)

        def faulty() -> None:
            raise RuntimeError("a fault")

        following = asyncio.create_task(tls.follow(faulty, seconds=0.001))
        put(tmp_path / "ca.crl", town.crl())
        async with asyncio.timeout(10):
            while tls.material().version == 1 or "a fault" not in caplog.text:
                await asyncio.sleep(0.001)
        assert not following.done()
        following.cancel()

    asyncio.run(body())


def put_as_key(files: TlsFiles, content: bytes) -> None:
    rewrite(files.key, content)


def rewrite(path: str, content: bytes | None) -> None:
    """In place, as an editor might; None takes the file away."""
    mode = os.stat(path).st_mode if os.path.exists(path) else 0o600
    if os.path.exists(path):
        os.unlink(path)
    if content is not None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.chmod(path, mode & 0o777)
