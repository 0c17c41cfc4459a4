"""The daemon's configuration: a TOML file, checked whole before anything uses it.

Each key, its bounds and its default stand once, in the Structs below. Every error names
file, line and key. Nothing is looked up on the host: whether a group exists or a
directory can be used is found out by who uses it. docs/CONFIGURATION.md is for people.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    NoReturn,
    TypeVar,
    get_args,
    get_type_hints,
)

import msgspec

from client.protocol import DEFAULT_SOCKET
from runner.config_gateway import ClientsConfig, GatewayConfig
from runner.config_kinds import (
    Kind,
    Named,
    absolute_path,
    addresses,
    capability_names,
    controllers,
    group_name,
    one_of,
    private_subnet,
    seconds,
    shown,
    size,
    socket_path,
    whole_number,
    yes_or_no,
)
from runner.config_queues import (
    HOOKS_QUEUE,
    QUEUE_NAMES,
    CapacityConfig,
    QueueConfig,
    QuotasConfig,
)
from runner.message_logs import MOST_SEGMENTS
from runner.toml_lines import key_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PATH: Final = "/etc/runnerd/config.toml"

_MAX_FILE_BYTES: Final = 1024 * 1024
_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB
# What docs/PROTOCOL.md allows for the limits of a job.
_MEMORY: Final = size(4 * _MIB, 2**50)
_SEGMENT: Final = size(4 * _KIB, 2**40)
_DISK: Final = size(4 * _KIB, 2**50)

_Table = TypeVar("_Table", bound=msgspec.Struct)


class ConfigError(Exception):
    """The configuration is wrong. The text names file, line and key: `FILE:7: jobs.x: …`."""


class JobsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[jobs]`: how many, and what applies to a job that asks for nothing else."""

    max_running: Annotated[int, whole_number(1)] = 256
    max_queued: Annotated[int, whole_number(0)] = 100_000
    max_array: Annotated[int, whole_number(1, 100_000)] = 10_000
    default_pids_max: Annotated[int, whole_number(0, 4_194_304)] = 4096
    default_memory_max: Annotated[int | None, _MEMORY] = None
    stop_grace_seconds: Annotated[float, seconds(0, 3600)] = 10


class LogsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[logs]`: the output kept of each job."""

    segment_bytes: Annotated[int, _SEGMENT] = 16 * _MIB
    keep_bytes: Annotated[int, _DISK] = _GIB
    keep_segments: Annotated[int, whole_number(2, MOST_SEGMENTS)] = 1024
    compression: Annotated[str, one_of("none", "zstd")] = "none"
    on_full: Annotated[str, one_of("wait", "drop", "end")] = "wait"
    max_bytes: Annotated[int, _DISK] = 16 * _GIB


class RetentionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[retention]`: how many ended jobs stay, the newest ones; without a key no bound."""

    max_jobs: Annotated[int | None, whole_number(0)] = 100_000
    max_jobs_per_user: Annotated[int | None, whole_number(0)] = None
    max_age_seconds: Annotated[float | None, seconds(0, 315_360_000)] = None
    max_bytes: Annotated[int | None, _DISK] = None
    max_bytes_per_user: Annotated[int | None, _DISK] = None
    max_events: Annotated[int, whole_number(1000)] = 1_000_000
    max_event_age_seconds: Annotated[float | None, seconds(0, 315_360_000)] = None


class HooksConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[hooks]`: commands and addresses that are run and told when a job's state changes."""

    max_running: Annotated[int, whole_number(0)] = 16


class ShutdownConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[shutdown]`: what becomes of running jobs when runnerd is told to end."""

    policy: Annotated[str, one_of("leave", "stop", "wait")] = "leave"
    timeout_seconds: Annotated[float, seconds(0, 31_536_000)] = 300


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[sandbox]`: what members of the group may ask for; root and admins may ask for all."""

    capabilities: Annotated[tuple[str, ...], capability_names()] = ()
    allow_unfiltered: Annotated[bool, yes_or_no()] = True
    userns_base: Annotated[int, whole_number(65_536, 2**32 - 2**29)] = 1_879_048_192


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[network]`: where the addresses of private networks come from, and who resolves names."""

    subnet: Annotated[str, private_subnet()] = "10.213.0.0/16"
    nameservers: Annotated[tuple[str, ...], addresses()] = ()
    linger_seconds: Annotated[float, seconds(0, 86_400)] = 30


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured. `Config()` is the default."""

    socket: Annotated[str, socket_path()] = DEFAULT_SOCKET
    state_dir: Annotated[str, absolute_path()] = "/var/lib/runnerd"
    cgroup_root: Annotated[str | None, absolute_path()] = None
    group: Annotated[str, group_name()] = "runnerd"
    admin_group: Annotated[str | None, group_name()] = None
    required_controllers: Annotated[tuple[str, ...], controllers()] = ("cpu", "memory", "pids")
    native_launcher: Annotated[bool, yes_or_no()] = True
    jobs: JobsConfig = JobsConfig()
    capacity: CapacityConfig = CapacityConfig()
    queues: Annotated[dict[str, QueueConfig], QUEUE_NAMES] = {}
    quotas: QuotasConfig = QuotasConfig()
    hooks: HooksConfig = HooksConfig()
    logs: LogsConfig = LogsConfig()
    retention: RetentionConfig = RetentionConfig()
    shutdown: ShutdownConfig = ShutdownConfig()
    clients: ClientsConfig = ClientsConfig()
    gateway: GatewayConfig = GatewayConfig()
    sandbox: SandboxConfig = SandboxConfig()
    network: NetworkConfig = NetworkConfig()

    def with_overrides(
        self,
        *,
        socket: str | None = None,
        state_dir: str | None = None,
        cgroup_root: str | None = None,
    ) -> Config:
        """This configuration with what the command line says instead; None says nothing.

        Relative paths start from the working directory. Raises ConfigError, which names
        the option.
        """
        given = {"socket": socket, "state_dir": state_dir, "cgroup_root": cgroup_root}
        checked = {key: _option(key, path) for key, path in given.items() if path is not None}
        return msgspec.structs.replace(self, **checked)


def load(path: str | None = None) -> Config:
    """The configuration in the file, defaults for what it leaves out.

    Without `path` that is DEFAULT_PATH when there is such a file, else all defaults.
    Raises ConfigError.
    """
    if path is None:
        if not os.path.lexists(DEFAULT_PATH):
            return Config()
        path = DEFAULT_PATH
    source = _Source(path, _read(path))
    config = source.table(Config, source.parsed(), ())
    if config.logs.keep_bytes < config.logs.segment_bytes:
        source.fail(
            ("logs", "keep_bytes"),
            f"expected at least logs.segment_bytes, {config.logs.segment_bytes}, "
            f"got {config.logs.keep_bytes}",
        )
    if config.gateway.user is None and config.gateway != GatewayConfig():
        source.fail(
            ("gateway",),
            "it counts only with gateway.user, the user that the gateway runs as; set it, or leave "
            "the table out",
        )
    if HOOKS_QUEUE in config.queues:
        source.fail(
            ("queues", HOOKS_QUEUE),
            "this queue is there always, for what hooks run; use another name, or set "
            "hooks.max_running",
        )
    return config


class _Source:
    """The text of a file, and how to speak of a place in it."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text

    def parsed(self) -> dict[str, Any]:
        """The TOML document. Raises ConfigError with tomllib's line."""
        try:
            return tomllib.loads(self._text)
        # TOMLDecodeError, or the plain one of an integer of thousands of digits.
        except ValueError as error:
            self._fail_syntax(str(error))
        except RecursionError:
            raise ConfigError(f"{self._path}: nested too deep") from None

    def table(self, struct: type[_Table], values: dict[str, Any], at: tuple[str, ...]) -> _Table:
        """One table as its Struct. Raises ConfigError for the first wrong key."""
        hints = get_type_hints(struct, include_extras=True)
        checked = {}
        for key, value in values.items():
            if key not in hints:
                self.fail((*at, key), _unknown(key, at, struct))
            checked[key] = self._value(hints[key], value, (*at, key))
        return struct(**checked)

    def fail(self, key: tuple[str, ...], what: str) -> NoReturn:
        """Raise the ConfigError for a key that is somewhere in the file."""
        lines = key_lines(self._text)
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)
        raise ConfigError(f"{self._path}:{line}: {_dotted(key)}: {what}")

    def _value(self, hint: Any, value: object, at: tuple[str, ...]) -> object:  # noqa: ANN401
        read = self.table if _is_table(hint) else self._tables if _is_named(hint) else None
        if read is None:
            return self._checked(_kind(hint), value, at)
        if not isinstance(value, dict):
            self.fail(at, f"expected a table, got {shown(value)}")
        return read(hint, value, at)

    def _tables(self, hint: Any, values: dict[str, Any], at: tuple[str, ...]) -> object:  # noqa: ANN401
        """Tables of one kind by the names that they were given."""
        named: Named = hint.__metadata__[0]
        if len(values) > named.most:
            self.fail(at, f"expected at most {named.most} tables, got {len(values)}")
        found = {}
        for name, value in values.items():
            self._checked(named.name, name, (*at, name))
            found[name] = self._value(_item(hint), value, (*at, name))
        return found

    def _checked(self, kind: Kind, value: object, at: tuple[str, ...]) -> object:
        try:
            return kind.check(value)
        except ValueError as error:
            self.fail(at, str(error))

    def _fail_syntax(self, message: str) -> NoReturn:
        place = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
        if place:
            message, line = f"{place[1]} (column {place[3]})", int(place[2])
        else:
            line = self._text.rstrip("\n").count("\n") + 1
        raise ConfigError(f"{self._path}:{line}: not TOML: {message}") from None


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: longer than {_MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: not UTF-8, which TOML is: byte 0x{data[error.start]:02x}"
        ) from None


def _option(key: str, path: str) -> object:
    hint = get_type_hints(Config, include_extras=True)[key]
    try:
        return _kind(hint).check(os.path.abspath(path) if path else path)
    except ValueError as error:
        raise ConfigError(f"--{key.replace('_', '-')}: {error}") from None


def _kind(hint: Any) -> Kind:  # noqa: ANN401
    kind: Kind = hint.__metadata__[0]
    return kind


def _is_table(hint: Any) -> bool:  # noqa: ANN401
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _is_named(hint: Any) -> bool:  # noqa: ANN401
    return isinstance(hint.__metadata__[0], Named) if hasattr(hint, "__metadata__") else False


def _item(hint: Any) -> Any:  # noqa: ANN401
    """What each of several named tables is: the values of the dict in Annotated[dict[…], …]."""
    return get_args(get_args(hint)[0])[1]


def _leaves(struct: type[msgspec.Struct], at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, hint in get_type_hints(struct, include_extras=True).items():
        if _is_table(hint):
            yield from _leaves(hint, (*at, key))
        elif _is_named(hint):
            yield from _leaves(_item(hint), (*at, key, "NAME"))
        else:
            yield (*at, key)


def _unknown(key: str, at: tuple[str, ...], struct: type[msgspec.Struct]) -> str:
    """What to say of a key that there is none of: the nearest, in its own table if possible."""
    here = {path[0]: _dotted((*at, path[0])) for path in _leaves(struct, ())}
    # Of several the first counts.
    anywhere = {path[-1]: _dotted(path) for path in reversed(list(_leaves(Config, ())))}
    for names in (here, anywhere):
        if near := difflib.get_close_matches(key, names, 1):
            return f"unknown key; did you mean {names[near[0]]}?"
    return f"unknown key; known here: {', '.join(here)}"


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(
        key if re.fullmatch("[A-Za-z0-9_-]+", key, re.ASCII) else shown(key) for key in path
    )
