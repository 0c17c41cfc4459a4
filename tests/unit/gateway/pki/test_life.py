"""`pki renew`, `revoke`, `crl`, `list` and `show`: certificates through their life."""

from __future__ import annotations

import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from gateway.identity import read_certificate_pem
from gateway.pki import authority as authorities
from gateway.pki import issuing, naming
from gateway.pki.certificates import Kind
from gateway.pki.issuing import Wanted
from gateway.tls import Tls, TlsFiles
from tests.unit.gateway.pki.commands import Office

if TYPE_CHECKING:
    from pathlib import Path

ALICE = "clients/alice/alice.crt"


def gateway(office: Office) -> Tls:
    names = ("server.crt", "server.key", "ca.crt", "ca.crl")
    return Tls(TlsFiles(*(str(office.path / name) for name in names)))


def refusal(tls: Tls, pem: str) -> str | None:
    return tls.trust.refusal(read_certificate_pem(pem))


def revoked_serials(office: Office) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in office.revocations()}


def fresh(office: Office, name: str = "alice") -> str:
    return office.entries(name)[-1].serial


@pytest.mark.parametrize("by", ["serial", "shouted", "zeros", "name", "file"])
def test_a_certificate_is_revoked_by_whatever_names_it(office: Office, by: str) -> None:
    serial = fresh(office)
    paired = serial.zfill(32).upper()
    which = {
        "serial": serial,
        "shouted": ":".join(paired[at : at + 2] for at in range(0, 32, 2)),
        "zeros": f"00{serial}",
        "name": "alice",
        "file": str(office.path / ALICE),
    }[by]
    told = office.do("revoke", which, "--reason", "keyCompromise")
    assert f"Revoked: runnerd:user:alice, serial {serial}" in told
    (entry,) = office.revocations()
    assert f"{entry.serial_number:x}" == serial
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value
    assert reason.reason is x509.ReasonFlags.key_compromise


def test_a_gateway_that_runs_refuses_it_from_then_on(office: Office) -> None:
    tls, alice = gateway(office), (office.path / ALICE).read_text()
    assert refusal(tls, alice) is None
    office.do("revoke", "alice")
    assert tls.look()
    assert "was revoked" in str(refusal(tls, alice))


def test_a_name_means_all_its_certificates(office: Office) -> None:
    """Whose laptop is lost has lost all of them."""
    office.do("renew", "alice")
    office.do("issue", "--user", "alice", "--force")
    office.do("revoke", "alice")
    assert revoked_serials(office) == {entry.serial for entry in office.entries("alice")}
    assert len(revoked_serials(office)) == 3


def test_revoking_again_changes_nothing_but_the_lists_number(office: Office) -> None:
    office.do("revoke", "alice", "--reason", "superseded")
    before = office.entries("alice")
    assert "Revoked, as it was before" in office.do("revoke", "alice")
    assert office.entries("alice") == before


def test_a_subject_means_all_its_certificates(office: Office) -> None:
    office.do("issue", "--user", "alice", "--name", "laptop")
    told = office.do("revoke", "runnerd:user:alice")
    assert revoked_serials(office) == {fresh(office), fresh(office, "laptop")}
    assert "still count" not in told


def test_others_of_the_same_subject_are_said(office: Office) -> None:
    """Who believes somebody locked out has to hear of the other laptop."""
    office.do("issue", "--user", "alice", "--name", "laptop")
    office.do("issue", "--user", "bob")
    told = office.do("revoke", "alice")
    assert f"still count: {fresh(office, 'laptop')} (laptop);" in told
    assert "revoke --dir" in told
    assert "runnerd:user:alice" in told.partition("to end all")[2]
    assert fresh(office, "bob") not in told
    assert "still count" not in office.do("revoke", "laptop")


@pytest.mark.parametrize("part", [".", ".."])
def test_nothing_is_renewed_where_others_could_lead_it_elsewhere(office: Office, part: str) -> None:
    folder = office.path / "clients/alice"
    before = folder.joinpath("alice.crt").read_bytes()
    os.chmod(folder / part, 0o777)  # noqa: S103  what is to be refused
    told = office.fail("renew", "alice")
    assert "can be written by others (mode 0777)" in told
    assert folder.joinpath("alice.crt").read_bytes() == before
    assert len(office.entries("alice")) == 1


def test_nothing_is_renewed_in_somebody_elses_directory(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose it is may put a link into its place: /etc/other/ca.crt would be replaced."""
    if os.geteuid() == 0:
        os.chown(office.path, 4000, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4000)
    told = office.fail("renew", "alice", "--rekey")
    assert "belongs to somebody else" in told
    assert "--out names a directory of your own" in told
    assert len(office.entries("alice")) == 1


def test_a_link_of_ours_is_followed_and_a_loop_ends(office: Office, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("pki/clients")
    (tmp_path / "absolute").symlink_to(tmp_path / "link/../clients")
    office.do("renew", "alice", "--out", str(tmp_path / "absolute/alice"))
    (tmp_path / "loop").symlink_to("loop")
    assert "too many" in office.fail("renew", "alice", "--out", str(tmp_path / "loop/x"))


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(
    office: Office, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in ("alice.crt", "ca.crt"):
        os.unlink(office.path / "clients/alice" / name)
        (office.path / "clients/alice" / name).symlink_to(precious)
    office.do("renew", "alice")
    assert precious.read_text() == "precious"
    assert not (office.path / ALICE).is_symlink()
    key = office.path / "clients/alice/alice.key"
    os.rename(key, tmp_path / "key")
    key.symlink_to(tmp_path / "key")
    assert "cannot read" in office.fail("renew", "alice", "--bundle")


def test_the_certificate_of_another_authority_is_not_ours_to_revoke(
    office: Office, tmp_path: Path
) -> None:
    other = Office(tmp_path / "other")
    other.do("init", "--user", "alice")
    assert "signed by another authority" in office.fail("revoke", str(other.path / ALICE))
    assert revoked_serials(office) == set()


@pytest.mark.parametrize("which", ["bob", "abc123", "/nowhere/x.crt", ""])
def test_what_nobody_knows_is_not_revoked(office: Office, which: str) -> None:
    assert "`runner-gateway pki list` shows them" in office.fail("revoke", which)


def test_a_certificate_that_a_restored_index_forgot_is_revoked_by_its_file(office: Office) -> None:
    path = office.path / "authority/index.json"
    before = path.read_bytes()
    office.do("issue", "--user", "bob")
    path.write_bytes(before)
    office.do("revoke", str(office.path / "clients/bob/bob.crt"))
    serial = office.certificate("clients/bob/bob.crt").serial_number
    assert revoked_serials(office) == {f"{serial:x}"}
    assert office.entries("bob")[0].kind is Kind.CLIENT


def test_lists_are_numbered_and_end_after_their_days(office: Office) -> None:
    first = office.revocations()
    office.do("crl", "--crl-days", "30")
    office.do("crl")
    last = office.revocations()
    number = [
        one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for one in (first, last)
    ]
    assert number == [1, 3]
    for one, days in ((first, 7), (last, 30)):
        ends = one.next_update_utc
        assert ends is not None
        assert round((ends - datetime.now(UTC)) / timedelta(days=1)) == days


def test_what_has_ended_leaves_the_list(office: Office) -> None:
    office.do("revoke", "alice")
    later = datetime.now(UTC) + timedelta(days=92)
    with authorities.opened(str(office.path), bytes, later) as authority:
        authority.sign_list()
    assert revoked_serials(office) == set()


def test_a_list_that_was_lost_is_written_by_the_next_one(office: Office) -> None:
    for name in ("ca.crl", "ca.crt"):
        os.unlink(office.path / name)
    office.do("crl")
    assert gateway(office).problem is None


def test_renewing_keeps_names_and_key_and_the_earlier_one_counts(office: Office) -> None:
    before, key = office.certificate(ALICE), (office.path / "clients/alice/alice.key").read_bytes()
    old = (office.path / ALICE).read_text()
    told = office.do("renew", "alice", "--days", "10")
    after = office.certificate(ALICE)
    assert after.serial_number != before.serial_number
    assert after.public_key() == before.public_key()
    assert (office.path / "clients/alice/alice.key").read_bytes() == key
    kinds = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
    for kind in kinds:
        assert after.extensions.get_extension_for_class(kind) == (
            before.extensions.get_extension_for_class(kind)
        )
    assert "counts until" in told
    assert refusal(gateway(office), old) is None


def test_renewing_may_make_a_new_key_and_revoke_the_old_certificate(office: Office) -> None:
    before, old = office.certificate(ALICE), (office.path / ALICE).read_text()
    assert "is revoked" in office.do("renew", "alice", "--rekey", "--revoke")
    assert office.certificate(ALICE).public_key() != before.public_key()
    tls = gateway(office)
    assert "was revoked" in str(refusal(tls, old))
    assert refusal(tls, (office.path / ALICE).read_text()) is None


def test_a_renewed_server_is_taken_up_by_a_gateway_that_runs(office: Office) -> None:
    tls = gateway(office)
    os.chmod(office.path / "server.key", 0o640)
    office.do("renew", "server", "--rekey")
    assert tls.look()
    assert tls.problem is None
    assert tls.material().key == (office.path / "server.key").read_bytes()
    assert stat.S_IMODE((office.path / "server.key").stat().st_mode) == 0o640


def test_a_bundle_is_renewed_with_its_certificate(office: Office) -> None:
    office.do("issue", "--user", "bob", "--bundle")
    office.do("renew", "bob")
    folder = office.path / "clients/bob"
    assert (folder / "bob.crt").read_bytes() in (folder / "bob.pem").read_bytes()


def test_what_was_revoked_is_not_renewed(office: Office) -> None:
    office.do("revoke", "alice")
    assert "was revoked; `pki issue`" in office.fail("renew", "alice")


def test_a_client_whose_files_were_carried_away_is_renewed_elsewhere(
    office: Office, tmp_path: Path
) -> None:
    shutil.rmtree(office.path / "clients/alice")
    assert "--out says where" in office.fail("renew", "alice")
    out = tmp_path / "out"
    out.mkdir()
    office.do("renew", "alice", "--out", str(out))
    assert sorted(os.listdir(out)) == ["alice.crt", "ca.crt"]


def test_all_is_listed(office: Office) -> None:
    office.do("revoke", "alice", "--reason", "superseded")
    told = office.do("list").splitlines()
    assert told[0].split() == ["SERIAL", "KIND", "NAME", "ENDS", "STATE"]
    assert "server" in told[1]
    assert told[1].endswith("valid")
    assert "revoked" in told[2]
    assert told[2].endswith(", superseded")
    assert [one["name"] for one in json.loads(office.do("list", "--json"))] == ["server", "alice"]


def test_show_says_how_the_gateway_reads_a_client(office: Office) -> None:
    told = office.do("show", str(office.path / ALICE))
    assert "subject      runnerd:user:alice" in told
    assert fresh(office) in told
    assert "not one for clients" in office.fail("show", str(office.path / "server.crt"))
    assert "no certificate in PEM" in office.fail("show", str(office.path / "ca.crl"))
    assert "cannot read" in office.fail("show", "/nowhere")


@pytest.mark.parametrize("content", ["", "{", '{"version": 9, "list_days": 1}', '{"other": 1}'])
def test_an_index_that_cannot_be_trusted_signs_nothing(office: Office, content: str) -> None:
    (office.path / "authority/index.json").write_text(content)
    told = office.fail("issue", "--user", "bob")
    assert "is damaged" in told or "newer" in told
    assert not (office.path / "clients/bob").exists()


def test_a_key_of_another_authority_signs_nothing(office: Office, tmp_path: Path) -> None:
    other = Office(tmp_path / "other")
    other.do("init")
    shutil.copy(other.path / "authority/ca.key", office.path / "authority/ca.key")
    assert "is not the key of" in office.fail("crl")


def test_many_at_once_lose_nothing(office: Office) -> None:
    def one(number: int) -> None:
        with authorities.opened(str(office.path), bytes, datetime.now(UTC)) as authority:
            names = naming.client_names(f"user{number}", (), None)
            issuing.issue(authority, Wanted(Kind.CLIENT, names, f"user{number}", 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    assert len(office.index().certificates) == 18
    assert {entry.name for entry in office.index().certificates} >= {
        f"user{number}" for number in range(16)
    }
