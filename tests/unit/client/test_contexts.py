"""Contexts are kept whole or not at all, and nobody else's file says which authority is trusted."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import contexts
from client.contexts import Context, ContextError

if TYPE_CHECKING:
    from pathlib import Path

PROD = Context("prod", "runner.example.org", 7443, "/c/ca.crt", "/c/me.crt", "/c/me.key")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".config" / "runnerd"


def test_what_is_added_is_there(home: Path) -> None:
    other = PROD._replace(name="lab.eu", host="::1", port=1, user="build", key='/c/a "b"\\é.key')
    contexts.add(PROD)
    contexts.add(other)
    assert contexts.every() == {"prod": PROD, "lab.eu": other}
    assert contexts.named("lab.eu") == other
    assert sorted(os.listdir(home)) == ["contexts.toml"]


def test_the_file_is_for_its_owner_alone(home: Path) -> None:
    contexts.add(PROD)
    assert stat.S_IMODE((home / "contexts.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_one_that_is_there_is_overwritten_only_when_that_is_asked_for() -> None:
    contexts.add(PROD)
    with pytest.raises(ContextError, match="there is a context prod already"):
        contexts.add(PROD._replace(port=1))
    contexts.add(PROD._replace(port=1), replace=True)
    assert contexts.named("prod").port == 1


def test_who_adds_at_once_loses_nothing() -> None:
    names = [f"n{number}" for number in range(20)]
    threads = [
        threading.Thread(target=contexts.add, args=(PROD._replace(name=name),)) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(contexts.every()) == sorted(names)


def test_the_default_is_chosen_and_forgotten_with_its_context() -> None:
    assert contexts.default_name() is None
    assert not contexts.has_default()
    contexts.add(PROD)
    contexts.use("prod")
    assert contexts.has_default()
    assert contexts.default_name() == "prod"
    contexts.remove("prod")
    assert not contexts.has_default()
    assert contexts.every() == {}


def test_the_local_runnerd_is_no_context() -> None:
    contexts.add(PROD)
    contexts.use("prod")
    contexts.use(None)
    assert contexts.default_name() is None
    with pytest.raises(ContextError, match="cannot be called local"):
        contexts.add(PROD._replace(name="local"))


@pytest.mark.parametrize("what", [contexts.named, contexts.remove, contexts.use])
def test_one_that_is_not_there_is_named_with_those_that_are(what: object) -> None:
    assert callable(what)
    with pytest.raises(ContextError, match=r"no context 'lab'; `runctl context add`"):
        what("lab")
    contexts.add(PROD)
    with pytest.raises(ContextError, match="no context 'lab', only: prod"):
        what("lab")


def test_xdg_config_home_counts_when_it_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    contexts.add(PROD)
    assert (tmp_path / "xdg/runnerd/contexts.toml").is_file()
    monkeypatch.setenv("XDG_CONFIG_HOME", "xdg")
    assert contexts.every() == {}


def test_without_a_home_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert contexts.every() == {}
    assert not contexts.has_default()
    with pytest.raises(ContextError, match="HOME is not set"):
        contexts.add(PROD)


def test_paths_may_be_relative_to_the_file(home: Path) -> None:
    home.mkdir(parents=True)
    write(home / "contexts.toml", '[contexts.p]\ngateway = "h"\nca = "ca"\ncert = "/c"\nkey = "k"')
    found = contexts.named("p")
    assert (found.ca, found.certificate, found.key) == (f"{home}/ca", "/c", f"{home}/k")
    assert found.port == contexts.DEFAULT_PORT


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[contexts", "mend it, or remove it"),
        ("contexts = 5", "tables"),
        ("other = 5", "tables"),
        ("[contexts.p]\ngateway = 'h'", "it has no ca"),
        ("[contexts.p]\nport = 5", "a table with gateway, ca, cert, key, user is allowed"),
        ("[contexts.p]\ngateway = 5\nca = ''\ncert = ''\nkey = ''", "gateway: a text is allowed"),
        ("[contexts.local]\ngateway = 'h'", "cannot be called local"),
        ("[contexts.'-x']\ngateway = 'h'", "given as a context's name"),
        ("[contexts.p]\ngateway = 'a b'\nca = 'a'\ncert = 'a'\nkey = 'a'", "given as a gateway"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(home: Path, text: str, why: str) -> None:
    home.mkdir(parents=True)
    write(home / "contexts.toml", text)
    with pytest.raises(ContextError) as caught:
        contexts.every()
    assert str(caught.value).startswith(str(home / "contexts.toml"))
    assert why in str(caught.value)


@pytest.mark.parametrize("name", ["contexts.toml", "default-context"])
def test_a_file_that_others_may_write_is_refused(home: Path, name: str) -> None:
    contexts.add(PROD)
    contexts.use("prod")
    (home / name).chmod(0o620)
    with pytest.raises(ContextError, match="may be written by others"):
        contexts.named(str(contexts.default_name()))


def test_a_default_that_is_no_name_is_mended_by_use(home: Path) -> None:
    contexts.add(PROD)
    write(home / "default-context", "../x\n")
    with pytest.raises(ContextError, match="`runctl context use` mends it"):
        contexts.default_name()
    contexts.use("prod")
    assert contexts.default_name() == "prod"


def test_a_path_that_toml_cannot_carry_is_refused() -> None:
    with pytest.raises(ContextError, match="UTF-8"):
        contexts.add(PROD._replace(ca="/c/\udcff"))
    assert contexts.every() == {}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("runner", "runner", 7443),
        ("runner.example.org:1", "runner.example.org", 1),
        ("192.0.2.7:65535", "192.0.2.7", 65535),
        ("[2001:db8::1]:9", "2001:db8::1", 9),
        ("[::1]", "::1", 7443),
        ("::1", "::1", 7443),
        ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert contexts.parse_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":7443", "h:", "h:0", "h:65536", "h:x", "h:+1", "-h", "a b", "a/b", "[::1", "[::1]x",
     "[h]", "https://h", "h\n", "[]:1", "h:\uff11"],
)  # fmt: skip
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ContextError, match="given as a gateway"):
        contexts.parse_address(text)


@given(st.text(max_size=60))
def test_whatever_is_accepted_as_an_address_reads_the_same_again(text: str) -> None:
    try:
        host, port = contexts.parse_address(text)
    except ContextError:
        return
    made = Context("p", host, port, "", "", "")
    assert contexts.parse_address(made.address) == (host, port)
