"""The gateway's configuration: flag over environment over file over default, checked whole.

Each key stands once, in the Structs below, with its bounds. Nothing is opened here but the file
itself: whether a certificate counts is `gateway.tls`'s to find out, who it stands for
`gateway.policy`'s. docs/GATEWAY.md is for people.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from client.protocol import DEFAULT_SOCKET

SYSTEM_DIRECTORY: Final = "/etc/runner-gateway"
DIRECTORY_VARIABLE: Final = "RUNNER_GATEWAY_DIR"
_PREFIX: Final = "RUNNER_GATEWAY_"
_MAX_FILE_BYTES: Final = 1024 * 1024
_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

_MAX_PORT: Final = 65_535

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=_KIB, le=64 * _MIB)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class ConfigError(Exception):
    """The configuration is wrong. The text names where it was given, the key, and what would do."""


class Address(msgspec.Struct, frozen=True):
    """Where to listen: a host (of IPv6 without brackets) and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: what strangers and all clients together may take.

    `requests_per_second`, `burst`, `streams` and `connections` are of one certificate's subject,
    where its binding in the policy says nothing else.
    """

    max_connections: Count = 1024
    connections: Count = 64
    connections_per_address: Count = 128
    requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 50
    burst: Count = 100
    streams: Count = 32
    max_body_bytes: Bytes = 2 * _MIB
    max_header_bytes: Bytes = 16 * _KIB
    max_command_bytes: Annotated[int, Meta(ge=1, le=_MIB)] = 128 * _KIB
    slow_seconds: Seconds = 30
    handshake_seconds: Seconds = 10
    idle_seconds: Seconds = 75


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured. Paths are absolute once it was made by `load`.

    `grpc_listen` "off": no gRPC. `crl` empty: no list of revoked certificates is asked. `audit_log`
    "-": standard error.
    """

    directory: str
    socket: str = DEFAULT_SOCKET
    listen: str = "127.0.0.1:7443"
    grpc_listen: str = "127.0.0.1:7444"
    ca: str = "pki/ca.crt"
    crl: str = "pki/ca.crl"
    certificate: str = "pki/server.crt"
    key: str = "pki/server.key"
    policy: str = "policy.toml"
    audit_log: str = "audit.log"
    max_upstream_connections: Count = 256
    limits: LimitsConfig = LimitsConfig()

    @property
    def rest_address(self) -> Address:
        """Where REST and runnerd's own protocol are served."""
        return _address("listen", self.listen)

    @property
    def grpc_address(self) -> Address | None:
        """Where gRPC is served; None: nowhere."""
        return _address("grpc_listen", self.grpc_listen) if self.grpc_listen != "off" else None


_PATHS: Final = ("socket", "ca", "crl", "certificate", "key", "policy", "audit_log")
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:]+)):([0-9]{1,5})")


def default_directory() -> str:
    """Where configuration, policy and certificates are: root's in /etc, else the user's own."""
    if named := os.environ.get(DIRECTORY_VARIABLE):
        return os.path.abspath(named)
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY
    if os.access(os.path.join(SYSTEM_DIRECTORY, "config.toml"), os.R_OK):
        return SYSTEM_DIRECTORY
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "runner-gateway")


def load(directory: str, file: str | None, flags: dict[str, Any]) -> Config:
    """The configuration: `flags` that are not None, RUNNER_GATEWAY_…, the file, defaults.

    Without `file` that is `config.toml` in the directory, if there is one. Relative paths start
    from the directory. Raises ConfigError.
    """
    path = file or os.path.join(directory, "config.toml")
    text = _read(path) if file or os.path.lexists(path) else ""
    table = _parsed(path, text)
    if "directory" in table:
        raise ConfigError(f"{path}: directory: where this file is says it; leave it out")
    _checked(path, {**table, "directory": directory}, text)
    given = {**table, **_environment(), **{key: value for key, value in flags.items() if value}}
    config = _checked("the command line or the environment", {**given, "directory": directory})
    return msgspec.structs.replace(config, **_absolute(config))


def _absolute(config: Config) -> dict[str, str]:
    """Its paths from the directory on; an empty one means none, "-" no file."""
    paths = {key: getattr(config, key) for key in _PATHS}
    return {
        key: path if path in ("", "-") else os.path.join(config.directory, path)
        for key, path in paths.items()
    }


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: longer than {_MAX_FILE_BYTES} bytes")
    try:
        return text.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, which TOML is") from None


def _parsed(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _environment() -> dict[str, Any]:
    """What RUNNER_GATEWAY_LISTEN and the like say; of `[limits]` nothing."""
    keys = [key for key in Config.__struct_fields__ if key not in ("directory", "limits")]
    named = {key: os.environ.get(_PREFIX + key.upper()) for key in keys}
    given: dict[str, Any] = {key: value for key, value in named.items() if value}
    if (most := given.get("max_upstream_connections", "")) and most.isascii() and most.isdigit():
        given["max_upstream_connections"] = int(most)
    return given


def _checked(where: str, values: dict[str, Any], text: str = "") -> Config:
    try:
        return msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        what, _, at = str(error).partition(" - at `$")
        key = at.rstrip("`").lstrip(".")
        if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
            key, what = ascii(unknown[1])[1:-1], f"an unknown key; {_near(unknown[1], table=key)}"
        raise ConfigError(f"{where}{_line(text, key)}: {key + ': ' if key else ''}{what}") from None


def _near(key: str, *, table: str) -> str:
    """What may have been meant."""
    known = LimitsConfig.__struct_fields__ if table == "limits" else Config.__struct_fields__
    if near := difflib.get_close_matches(key, known, 1):
        return f"did you mean {near[0]}?"
    here = [each for each in known if each != "directory"]
    elsewhere = key in LimitsConfig.__struct_fields__ and table != "limits"
    return "it belongs into [limits]" if elsewhere else f"known here: {', '.join(here)}"


def _line(text: str, key: str) -> str:
    """`:7`, where the file says it; what a text means tomllib has said."""
    name = re.escape(key.rpartition(".")[2])
    for line, written in enumerate(text.split("\n") if name else (), start=1):
        if re.match(rf"\s*\[?[\"']?{name}\b", written):
            return f":{line}"
    return ""


def _address(key: str, text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > _MAX_PORT:
        raise ConfigError(
            f"{key}: {text!r} given; an address and a port are allowed, such as 0.0.0.0:7443, "
            "[::]:7443 or localhost:7443"
        )
    return Address(found[1] or found[2], int(found[3]))
