"""The command runner-gateway: what it takes from its configuration, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from gateway import checking
from gateway.beside import Beside
from gateway.config import Address
from gateway.main import main
from gateway.variables import KNOWN, warnings
from tests.unit.gateway.test_serve import Place

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, words, env=environment)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where `check` asks, and whom it trusts."""
    seen: list[Any] = []
    monkeypatch.setattr(checking, "client_of", lambda pki, ca, name: seen.append((pki, ca, name)))
    monkeypatch.setattr(checking, "check_rest", lambda _c, where, _say: seen.append(where))
    monkeypatch.setattr(checking, "check_grpc", lambda _c, where, _say: seen.append(where))
    return seen


CONFIGURATION = 'listen = "0.0.0.0:8443"\ngrpc_listen = "[::1]:8444"\nca = "other.crt"\n'


def test_check_asks_where_the_configuration_says(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    got = run("check", "--dir", str(tmp_path), "--user", "alice")
    assert (got.exit_code, got.output) == (0, "Both work.\n")
    assert asked[0] == (f"{tmp_path}/pki", f"{tmp_path}/other.crt", "alice")
    assert asked[1:] == [Address("0.0.0.0", 8443), Address("::1", 8444)]  # noqa: S104


def test_check_leaves_grpc_out_where_it_is_off(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "config.toml").write_text('grpc_listen = "off"\n')
    got = run("check", "--dir", str(tmp_path))
    assert (got.exit_code, got.output) == (0, "It works.\n")
    assert asked[1:] == [Address("127.0.0.1", 7443)]


def test_options_and_variables_go_over_the_configuration(tmp_path: Path, asked: list[Any]) -> None:
    (tmp_path / "config.toml").write_text(CONFIGURATION)
    run("check", "--dir", str(tmp_path), "--rest-port", "9", RUNNER_GATEWAY_GRPC_LISTEN="a:10")
    assert asked[1:] == [Address("0.0.0.0", 9), Address("a", 10)]  # noqa: S104
    del asked[:]
    run("check", "--dir", str(tmp_path), "--listen", "b:11", "--grpc-port", "0")
    assert asked[1:] == [Address("b", 11)]


def test_wrong_usage_is_2_and_a_wrong_file_1(tmp_path: Path) -> None:
    where = ("--dir", str(tmp_path))
    assert run("nonsense").exit_code == 2
    assert run("check", "--nonsense").exit_code == 2
    got = run("check", *where, "--listen", "nonsense")
    assert got.exit_code == 2
    assert "'nonsense' given" in got.stderr
    (tmp_path / "pki/clients/alice").mkdir(parents=True)
    assert run("check", *where, "--user", "nobody").exit_code == 2
    (tmp_path / "config.toml").write_text('listen = "nonsense"\n')
    got = run("check", *where)
    assert got.exit_code == 1
    assert got.stderr.startswith("runner-gateway: listen: 'nonsense' given")


def test_a_variable_that_nobody_knows_is_a_warning(tmp_path: Path, asked: list[Any]) -> None:
    got = run("check", "--dir", str(tmp_path), RUNNER_GATEWAY_LISTN="x:1", RUNNER_GATEWAY_DEBUG="1")
    assert got.exit_code == 0
    assert len(got.stderr.splitlines()) == 1
    assert "RUNNER_GATEWAY_LISTN is ignored" in got.stderr
    assert "did you mean RUNNER_GATEWAY_LISTEN?" in got.stderr
    assert asked[1] == Address("127.0.0.1", 7443)


def test_variables_that_are_known_or_not_ours_are_none() -> None:
    assert warnings([*KNOWN, "PATH", "RUNNERD_SOCKET"]) == []
    (said,) = warnings(["RUNNER_GATEWAY_HOW_MANY"])
    assert "RUNNER_GATEWAY_SOCKET" in said


@pytest.mark.parametrize(("script", "failed"), [("", False), ("import sys; sys.exit(1)", True)])
def test_a_check_that_fails_is_remembered_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, script: str, *, failed: bool
) -> None:
    ours = started(monkeypatch, script)
    assert ours._process is not None
    ours._process.wait()
    assert ours.has_failed() is failed
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == failed
    assert not failed or "the check failed (exit status 1)" in said[0]


def test_a_check_that_has_not_ended_is_ended_and_did_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = started(monkeypatch, "import signal; signal.pause()")
    assert ours.has_failed()
    assert not Beside().has_failed()


def started(monkeypatch: pytest.MonkeyPatch, script: str) -> Beside:
    popen = subprocess.Popen

    def instead(_command: object) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", script])

    monkeypatch.setattr(subprocess, "Popen", instead)
    ours = Beside()
    ours.start([])
    return ours


def test_serve_ends_with_1_when_its_check_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr("gateway.logs.configure", lambda: None)
    seen: list[str] = []

    def start(_self: Beside, words: list[str]) -> None:
        seen.extend(words)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Beside, "start", start)
    monkeypatch.setattr(Beside, "has_failed", lambda _self: True)
    config = place.config()
    words = [f"--{key.replace('_', '-')}={getattr(config, key)}"
             for key in ("certificate", "key", "ca", "crl", "socket", "listen")]  # fmt: skip
    got = run("serve", "--dir", str(tmp_path), "--check", "--grpc-listen", "off", *words)
    assert got.exit_code == 1, got.output
    assert got.stderr.splitlines()[-1].startswith("runner-gateway: the check at the start failed")
    assert seen[:2] != ["--listen", "127.0.0.1:0"]
    assert seen[2:] == ["--grpc-listen", "off", "--dir", str(tmp_path), "--ca", config.ca]
