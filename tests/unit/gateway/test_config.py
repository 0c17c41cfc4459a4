"""What the gateway is told, by whom, and what it says of what it does not understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import Address, ConfigError, default_directory, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIR", "LISTEN", "GRPC_LISTEN", "CERTIFICATE", "MAX_UPSTREAM_CONNECTIONS"):
        monkeypatch.delenv(f"RUNNER_GATEWAY_{name}", raising=False)


def loaded(directory: Path, text: str = "", **flags: Any) -> Any:
    (directory / "config.toml").write_text(text)
    return load(str(directory), None, flags)


def test_without_a_file_everything_is_below_the_directory(tmp_path: Path) -> None:
    config = load(str(tmp_path), None, {})
    assert config.certificate == f"{tmp_path}/pki/server.crt"
    assert config.policy == f"{tmp_path}/policy.toml"
    assert config.socket == "/run/runnerd/runnerd.sock"
    assert config.rest_address == Address("127.0.0.1", 7443)


def test_a_flag_beats_the_environment_which_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'listen = "10.0.0.1:1"\ngrpc_listen = "10.0.0.1:2"\ncertificate = "file.crt"\n'
    monkeypatch.setenv("RUNNER_GATEWAY_GRPC_LISTEN", "10.0.0.2:2")
    monkeypatch.setenv("RUNNER_GATEWAY_CERTIFICATE", "/environment.crt")
    config = loaded(tmp_path, text, certificate="/flag.crt")
    assert config.listen == "10.0.0.1:1"
    assert config.grpc_listen == "10.0.0.2:2"
    assert config.certificate == "/flag.crt"


def test_no_file_and_standard_error_are_no_paths(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'crl = ""\naudit_log = "-"\n')
    assert (config.crl, config.audit_log) == ("", "-")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:7443", Address("0.0.0.0", 7443)),  # noqa: S104  what people write
        ("[::1]:0", Address("::1", 0)),
        ("localhost:80", Address("localhost", 80)),
    ],
)
def test_an_address_has_a_host_and_a_port(tmp_path: Path, text: str, address: Address) -> None:
    config = loaded(tmp_path, f'listen = "{text}"')
    assert config.rest_address == address
    assert str(config.rest_address) == text


@pytest.mark.parametrize("text", ["7443", ":7443", "host:70000", "[::1]", "a:b:1", "host:-1"])
def test_what_is_no_address_is_refused_with_what_would_do(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"listen: .* such as 0\.0\.0\.0:7443"):
        _ = loaded(tmp_path, f'listen = "{text}"').rest_address


def test_grpc_can_be_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'grpc_listen = "off"').grpc_address is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listn = 1", r"config\.toml:1: listn: an unknown key; did you mean listen\?"),
        ("\nfoo = 1", r":2: foo: an unknown key; known here: socket, listen, "),
        ("\n[limits]\nstrems = 1", r":3: strems: an unknown key; did you mean streams\?"),
        ("burst = 1", r":1: burst: an unknown key; it belongs into \[limits\]"),
        ("[limits]\nconnections = 0", r"limits\.connections"),
        ("[limits]\nstream = 1", "stream"),
        ("listen = 7443", "listen"),
        ('directory = "/x"', "directory"),
        ("listen = ", "config.toml"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        loaded(tmp_path, text)
    assert str(tmp_path) in str(raised.value)


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path), str(tmp_path / "none.toml"), {})


def test_the_directory_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_GATEWAY_DIR", "/srv/gateway")
    assert default_directory() == "/srv/gateway"
