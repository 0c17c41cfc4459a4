"""`runner-gateway init`: what it makes, and that it goes on where it was interrupted."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway import setting_up
from gateway.main import main
from gateway.pki import handing_out
from gateway.pki.errors import PkiError
from gateway.policy_file import load
from gateway.setting_up import Plan, SetUpError
from gateway.tls import Tls, TlsFiles
from tests.unit.gateway.pki.commands import Office

if TYPE_CHECKING:
    from pathlib import Path

FOR_GATEWAY = ("pki/server.crt", "pki/server.key", "pki/ca.crt", "pki/ca.crl")
MADE = (*FOR_GATEWAY, "pki/clients/alice/alice.crt", "pki/clients/alice/alice.key", "policy.toml",
        "config.toml")  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a gateway is set up, for a user alice whom the host need not have."""
    where = tmp_path / "gateway"
    monkeypatch.setattr(setting_up, "planned", lambda *_given: Plan(str(where), "alice", False))  # noqa: FBT003
    return where


def init(place: Path, *, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["init", "--dir", str(place)])
    assert done.exit_code == status, done.output
    return done.output


def contents(place: Path) -> dict[str, bytes]:
    files = [path for path in place.rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def usable(place: Path) -> bool:
    tls = Tls(TlsFiles(*(str(place / name) for name in FOR_GATEWAY)))
    return tls.problem is None and len(load(str(place / "policy.toml")).bindings) == 1


def test_all_that_a_gateway_needs_is_made(place: Path) -> None:
    told = init(place)
    assert contents(place).keys() >= set(MADE)
    assert usable(place)
    assert "kept" not in told
    assert "The revocation list ends at" in told
    assert f"runner-gateway pki crl --dir {place}/pki" in told


def test_there_is_one_next_step(place: Path) -> None:
    told = init(place)
    assert told.lower().count("next:") == 1
    assert told.splitlines()[-1] == f"Next: runner-gateway serve --dir {place} --check"
    assert "has read it" not in told


def test_again_it_keeps_everything(place: Path) -> None:
    init(place)
    before = contents(place)
    told = init(place)
    assert contents(place) == before
    assert "made:" not in told
    assert told.count("kept:") == 6
    assert "Next:" in told


@pytest.mark.parametrize("name", MADE)
def test_what_is_missing_is_made_and_nothing_else(place: Path, name: str) -> None:
    init(place)
    before = contents(place)
    os.unlink(place / name)
    init(place)
    assert usable(place)
    after = contents(place)
    half = {name.replace(".crt", ".key"), name.replace(".key", ".crt")} if "ca." not in name else {
        "pki/ca.crl"}  # fmt: skip
    kept = before.keys() - half - {"pki/authority/index.json", name}
    assert {one: after[one] for one in kept} == {one: before[one] for one in kept}


def test_half_of_a_pair_is_moved_aside_and_not_lost(place: Path) -> None:
    init(place)
    key = (place / "pki/server.key").read_bytes()
    os.unlink(place / "pki/server.crt")
    assert "moved aside" in init(place)
    (aside,) = (place / "pki").glob("server.key.old-*")
    assert aside.read_bytes() == key


@pytest.mark.parametrize("at", range(1, 3))
def test_who_was_interrupted_goes_on(place: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first certificate that is handed out, and at the second."""
    calls, real = [], handing_out.write

    def failing(*args: object, **given: object) -> list[str]:
        calls.append(args)
        if len(calls) == at:
            raise PkiError("No space left on device")
        return real(*args, **given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(handing_out, "write", failing)
        assert init(place, status=1).endswith("runner-gateway: No space left on device\n")
    assert not (place / "config.toml").exists()
    init(place)
    assert usable(place)
    assert contents(place).keys() >= set(MADE)


def test_who_began_with_pki_goes_on(place: Path) -> None:
    office = Office(place / "pki")
    office.do("init", "--server")
    key = (place / "pki/server.key").read_bytes()
    told = init(place)
    assert f"kept: the authority in {place}/pki" in told
    assert (place / "pki/server.key").read_bytes() == key
    assert usable(place)


def test_files_that_were_carried_away_are_not_made_again(place: Path) -> None:
    init(place)
    shutil.rmtree(place / "pki/clients")
    os.unlink(place / "pki/ca.crl")
    assert "whose files are elsewhere" in init(place)
    assert not (place / "pki/clients").exists()


def test_an_authority_that_is_elsewhere_is_not_replaced(place: Path) -> None:
    init(place)
    shutil.rmtree(place / "pki/authority")
    before = contents(place)
    assert "another authority" in init(place)
    os.unlink(place / "pki/server.key")
    told = init(place, status=1)
    assert told.startswith("runner-gateway: ")
    assert "server.key has to come from there" in told
    assert contents(place).items() <= before.items()


def test_a_policy_that_was_kept_and_does_not_know_the_user_is_said(place: Path) -> None:
    place.mkdir()
    (place / "policy.toml").write_text("# mine\n")
    told = init(place)
    assert 'has no binding with match = "runnerd:user:alice"' in told
    assert (place / "policy.toml").read_text() == "# mine\n"


def test_nothing_is_set_up_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SetUpError, match="root acts through none"):
        setting_up.planned("/nowhere", "root")
    with pytest.raises(SetUpError, match="there is no user"):
        setting_up.planned("/nowhere", "nobody-of-that-name")
