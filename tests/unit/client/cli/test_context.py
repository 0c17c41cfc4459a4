"""`runctl context`, and what --context, --socket and the environment mean beside each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from client import contexts
from client.cli.common import who
from client.contexts import Context
from client.errors import ConnectionLost, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]

PROD = Context("prod", "gone.invalid", 7443, "/c/ca.crt", "/c/me.crt", "/c/me.key")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "RUNNERD_SOCKET", "RUNCTL_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def prod(tmp_path: Path) -> Context:
    """One whose files cannot be read: an error that names it is enough to see that it was used."""
    made = PROD._replace(ca=str(tmp_path / "ca.crt"))
    contexts.add(made)
    return made


@pytest.fixture
def runctl(capfd: pytest.CaptureFixture[str]) -> Runctl:
    from client.cli import main

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(words))
        out, err = capfd.readouterr()
        return int(str(caught.value.code)), out, err

    return run


def is_used(result: tuple[int, str, str]) -> bool:
    return result[0] == 125 and "prod (gone.invalid:7443): cannot read" in result[2]


def test_the_context_that_is_named_is_used(runctl: Runctl, prod: Context) -> None:
    del prod
    assert is_used(runctl("--context", "prod", "ps"))


def test_the_environment_names_one(
    runctl: Runctl, prod: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prod
    monkeypatch.setenv("RUNCTL_CONTEXT", "prod")
    assert is_used(runctl("ps"))


def test_the_default_is_used_until_local_is_chosen(
    runctl: Runctl, prod: Context, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prod
    monkeypatch.setattr("client.protocol.DEFAULT_SOCKET", daemon.path)
    daemon.answer("list", {"jobs": [], "next": None})
    assert runctl("ps")[0] == 0
    said = "runctl: context prod (gone.invalid:7443) is used from now on\n"
    assert runctl("context", "use", "prod") == (0, "", said)
    assert is_used(runctl("ps"))
    assert runctl("--context", "local", "ps")[0] == 0
    said = "runctl: this machine's runnerd is used from now on\n"
    assert runctl("context", "use", "local") == (0, "", said)
    assert runctl("ps")[0] == 0


def test_a_socket_that_is_given_counts_more_than_the_default(
    runctl: Runctl, prod: Context, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prod
    daemon.answer("list", {"jobs": [], "next": None})
    runctl("context", "use", "prod")
    assert runctl("--socket", daemon.path, "ps")[0] == 0
    monkeypatch.setenv("RUNNERD_SOCKET", daemon.path)
    assert runctl("ps")[0] == 0


def test_an_option_counts_more_than_the_environment(
    runctl: Runctl, prod: Context, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prod
    daemon.answer("list", {"jobs": [], "next": None})
    monkeypatch.setenv("RUNNERD_SOCKET", daemon.path)
    assert is_used(runctl("--context", "prod", "ps"))
    assert runctl("--context", "local", "ps")[0] == 0
    monkeypatch.delenv("RUNNERD_SOCKET")
    monkeypatch.setenv("RUNCTL_CONTEXT", "prod")
    assert runctl("--socket", daemon.path, "ps")[0] == 0


def test_what_contradicts_itself_is_refused(
    runctl: Runctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = runctl("--context", "prod", "--socket", "/s", "ps")
    assert status == 125
    assert "--context and --socket exclude each other" in err
    status, _, err = runctl("--context", "", "ps")
    assert status == 125
    monkeypatch.setenv("RUNNERD_SOCKET", "/s")
    monkeypatch.setenv("RUNCTL_CONTEXT", "prod")
    status, _, err = runctl("ps")
    assert status == 125
    assert "RUNCTL_CONTEXT and RUNNERD_SOCKET are both set" in err


def test_one_that_is_not_there_is_said_not_to_be(runctl: Runctl) -> None:
    status, _, err = runctl("--context", "prod", "ps")
    assert (status, err) == (
        125, "runctl: there is no context 'prod'; `runctl context add` makes one\n",
    )  # fmt: skip


def test_a_broken_default_keeps_nobody_from_mending_it(
    runctl: Runctl, prod: Context, tmp_path: Path
) -> None:
    del prod
    runctl("context", "use", "prod")
    (tmp_path / ".config/runnerd/default-context").write_text("gone\n")
    assert runctl("ps")[0] == 125
    assert runctl("context", "list")[0] == 0
    assert runctl("context", "use", "local")[0] == 0


def test_contexts_are_listed_with_the_one_that_is_used(runctl: Runctl, prod: Context) -> None:
    contexts.add(prod._replace(name="lab", user="build"))
    runctl("context", "use", "lab")
    _, out, _ = runctl("context", "list")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "GATEWAY", "USER"],
        ["local"],
        ["prod", "gone.invalid:7443"],
        ["*", "lab", "gone.invalid:7443", "build"],
    ]
    _, out, _ = runctl("context", "list", "--json")
    assert [(each["name"], each["used"]) for each in json.loads(out)] == [
        ("prod", False), ("lab", True),
    ]  # fmt: skip


def test_one_is_shown(runctl: Runctl, prod: Context) -> None:
    assert runctl("context", "show")[1] == "local: the runnerd of this machine\n"
    _, out, _ = runctl("context", "show", "prod")
    assert prod.ca in out
    assert prod.address in out
    _, out, _ = runctl("--context", "prod", "context", "show", "--json")
    assert json.loads(out)["certificate"] == prod.certificate


def test_to_forget_the_one_in_use_says_what_is_used_then(runctl: Runctl, prod: Context) -> None:
    del prod
    runctl("context", "use", "prod")
    said = "runctl: prod was in use; from now on this machine's runnerd is used\n"
    assert runctl("context", "rm", "prod") == (0, "", said)


def test_who_is_away_is_named_as_far_as_it_is_known() -> None:
    refused = RequestRefused("unavailable")
    assert who("/run/x.sock", refused) == "runnerd"
    assert who(PROD, ConnectionLost("x")) == "the gateway prod (gone.invalid:7443)"
    assert who(PROD, refused) == "runnerd behind prod (gone.invalid:7443)"
    assert who(PROD) == "the gateway prod (gone.invalid:7443)"


def test_one_is_forgotten(runctl: Runctl, prod: Context) -> None:
    del prod
    assert runctl("context", "rm", "prod") == (0, "", "")
    status, _, err = runctl("context", "rm", "prod")
    assert status == 125
    assert "there is no context" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("p", "h"), "--ca, --cert and --key are needed"),
        (("p", "h", "--ca", "x", "--bundle", "y"), "--bundle stands for"),
        (("p", "h h", "--bundle", "y"), "given as a gateway"),
        (("local", "h", "--bundle", "y"), "cannot be called local"),
        (("p", "h", "--bundle", "/nonexistent"), "cannot read the authority's certificate"),
        (("p", "h", "--bundle", "y", "--user", ""), "--user: '' given"),
    ],
)
def test_what_cannot_be_a_context_is_not_kept(
    runctl: Runctl, words: tuple[str, ...], why: str
) -> None:
    status, _, err = runctl("context", "add", *words)
    assert (status, contexts.every()) == (125, {})
    assert why in err


def test_a_directory_with_several_keys_is_no_bundle(runctl: Runctl, tmp_path: Path) -> None:
    for name in ("a.key", "b.key"):
        (tmp_path / name).touch()
    status, _, err = runctl("context", "add", "p", "h", "--bundle", str(tmp_path))
    assert status == 125
    assert "has 2 files *.key" in err


def test_to_test_none_is_refused(runctl: Runctl) -> None:
    status, _, err = runctl("context", "test")
    assert status == 125
    assert err.startswith("runctl: no gateway is in use; name a context")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [("--cwd", "build"), ("--bind", "data"), ("--root", "image"), ("--secret", "T=token"),
     ("--read-bps", "disk=1M")],
)  # fmt: skip
def test_relative_paths_are_refused_where_they_would_be_of_another_machine(
    runctl: Runctl, prod: Context, options: tuple[str, ...]
) -> None:
    del prod
    status, _, err = runctl("--context", "prod", "run", *options, "true")
    assert status == 125
    if "No such option" not in err:
        assert "through a gateway a path is of runnerd's host, and absolute" in err


def test_nothing_of_the_shell_is_in_what_is_asked_for(
    runctl: Runctl, prod: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prod
    asked: dict[str, Any] = {}

    def submit(_client: object, argv: object, **options: Any) -> None:
        asked.update(options, argv=argv)
        raise SystemExit(0)

    monkeypatch.setattr("client.api.Client.submit_once", submit)
    monkeypatch.setenv("A_TOKEN", "secret")
    runctl("--context", "prod", "run", "-d", "--env", "X=1", "--env", "A_TOKEN", "true")
    assert asked["env"] == {b"X": b"1", b"A_TOKEN": b"secret"}
    assert asked["cwd"] is None
