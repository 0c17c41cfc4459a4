"""The schema of every request: closed, typed, bounded (docs/PROTOCOL.md).

`parse` turns what the wire brought into one of these or into a `Refusal` that names the
field, what was given and what is allowed. It reads nothing but its argument: whether a
user or a directory exists is asked in `runner.submission`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from client import protocol
from runner.refusal import Refusal, shown

# PATH_MAX of linux/limits.h counts the final NUL.
_MAX_PATH_BYTES: Final = 4095
_MIB: Final = 1024 * 1024
_PIB: Final = 2**50


class OsText(bytes):
    """Text of the operating system, whichever way it came: what the kernel will see."""

    __slots__ = ()


JobRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="an id, 4 or more characters of one, or a name, at most 64 characters",
    ),
]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=protocol.MAX_NAME_CHARS,
        pattern=rf"\A{protocol.NAME_PATTERN}\Z",
        description="at most 64 letters, digits, '.', '_' and '-', the first a letter or digit",
    ),
]
_Rate = Annotated[int, Meta(ge=4096, le=_PIB)]
MEMORY_MIN_BYTES: Final = 4 * _MIB


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message that refuses fields it does not know."""


class IoRequest(Closed, frozen=True):
    """A bandwidth limit on the device below a path, bytes a second."""

    path: OsText
    read_bytes_per_second: _Rate | None = None
    write_bytes_per_second: _Rate | None = None


class LimitsRequest(Closed, frozen=True):
    """What a job may use. None: the daemon's default, or no limit."""

    memory_max_bytes: Annotated[int, Meta(ge=MEMORY_MIN_BYTES, le=_PIB)] | None = None
    cpu_max_millicpus: Annotated[int, Meta(ge=10, le=1_024_000)] | None = None
    pids_max: Annotated[int, Meta(ge=1, le=4_194_304)] | None = None
    timeout_seconds: Annotated[float, Meta(ge=0.001, le=315_360_000)] | None = None
    io: Annotated[list[IoRequest], Meta(max_length=16)] = []


class Hello(Closed, frozen=True):
    """The first request of a connection."""

    protocol: int
    client: Annotated[str, Meta(max_length=128)] = ""


class Submit(Closed, frozen=True):
    """A job."""

    argv: Annotated[list[OsText], Meta(min_length=1, max_length=protocol.MAX_ARGUMENTS)]
    cwd: OsText
    env: dict[bytes, OsText] = {}
    name: Name | None = None
    umask: Annotated[int, Meta(ge=0, le=0o777)] = 0o022
    network: Annotated[Literal["none", "host"], Meta(description="none or host")] = "none"
    user: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=256,
                description="a user's name, or a number from 0 to 4294967294",
            ),
        ]
        | Annotated[int, Meta(ge=0, le=2**32 - 2)]
        | None
    ) = None
    limits: LimitsRequest = LimitsRequest()

    def __repr__(self) -> str:
        """The size of the environment, never what is in it."""
        return f"Submit(argv={shown(self.argv)}, env of {len(self.env)} names)"


class List(Closed, frozen=True):
    """One page of jobs, newest first."""

    ended: bool = False
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    before: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class Status(Closed, frozen=True):
    """One job."""

    job: JobRef


class Logs(Closed, frozen=True):
    """A job's output from a cursor on."""

    job: JobRef
    cursor: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    follow: bool = False
    credit: Annotated[int, Meta(ge=0, le=1024)] = 16


class Stop(Closed, frozen=True):
    """End a job: SIGTERM, and SIGKILL after the grace."""

    job: JobRef
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    kill: bool = False


class Wait(Closed, frozen=True):
    """Answer when the job has ended."""

    job: JobRef
    timeout_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None


class Remove(Closed, frozen=True):
    """Forget an ended job and its output."""

    job: JobRef


class Doctor(Closed, frozen=True):
    """What this host can enforce."""


class Credit(Closed, frozen=True):
    """Let a stream send more events."""

    events: Annotated[int, Meta(ge=1, le=1024)]


class Cancel(Closed, frozen=True):
    """End a stream or a wait."""


_M = TypeVar("_M", bound=Closed)
_AT: Final = re.compile(r" - at `(key` in `)?\$\.?(?P<path>[^`]*)`$")
# Matched first and whole, because the name is the client's and may look like a path.
_UNKNOWN: Final = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`"
    r"(?: - at `\$\.(?P<path>limits(?:\.io\[[0-9]+\])?)`)?",
    re.DOTALL,
)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`$", re.DOTALL)
_INDEX: Final = re.compile(r"\[[^\]]*\]")


def parse(kind: type[_M], args: dict[str, Any]) -> _M:
    """The message that `args` holds. Raises Refusal."""
    if kind is Submit and isinstance(args.get("env"), dict):
        args = {**args, "env": _with_bytes_keys(args["env"])}
    try:
        message = msgspec.convert(args, kind, builtin_types=(bytes,), dec_hook=_os_text)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), args, kind) from None
    if isinstance(message, Submit):
        _check_text(message)
    return message


def _with_bytes_keys(env: dict[Any, Any]) -> dict[Any, Any]:
    """Convert the keys of a map, which msgspec gives to no hook."""
    return {
        protocol.to_bytes(key) if isinstance(key, str) else key: value for key, value in env.items()
    }


def _os_text(kind: type, value: object) -> OsText:
    """Answer msgspec, which asks here for the one type that it doesn't know."""
    if kind is OsText and isinstance(value, str | bytes):
        return OsText(protocol.to_bytes(value))
    raise TypeError(f"Expected text, got `{type(value).__name__}`")


def _refusal(text: str, args: dict[str, Any], kind: type[Closed]) -> Refusal:
    """Take apart what msgspec says in one line: a path, and what is wrong there."""
    if unknown := _UNKNOWN.fullmatch(text):
        path = unknown["path"] or ""
        struct, name = _struct_at(kind, path)
        known = ", ".join(_named(struct, name).__struct_fields__)
        allowed = f"one of: {known}" if known else "no field at all"
        return _invalid(_joined(path, unknown["name"]), "an unknown field", allowed)
    found = _AT.search(text)
    path = found["path"] if found else ""
    rest = text[: found.start()] if found else text
    struct, name = _struct_at(kind, path)
    if missing := _MISSING.match(rest):
        return _invalid(_joined(path, missing["name"]), "nothing", "it is required")
    # What is in an environment is nobody's business, also when some of it is wrong.
    given = "a wrong value" if path.startswith("env") else shown(_value_at(args, path))
    return _invalid(path, given, _allowed(struct, name) or _plain(rest))


def _invalid(field: str, given: str, allowed: str) -> Refusal:
    return Refusal("invalid-argument", field=field, given=given, allowed=allowed)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain(expectation: str) -> str:
    return expectation.removeprefix("Expected ").replace("`", "")


def _struct_at(kind: type[Closed], path: str) -> tuple[type[Closed], str]:
    """The message that a path's last name belongs to, and that name without its index."""
    steps = _INDEX.sub("", path).split(".")
    for step in steps[:-1]:
        kind = _named(kind, step)
    return kind, steps[-1]


def _named(kind: type[Closed], name: str) -> type[Closed]:
    """The message inside a message."""
    inner: dict[str, type[Closed]] = {"limits": LimitsRequest, "io": IoRequest}
    return inner.get(name, kind)


def _allowed(kind: type[Closed], name: str) -> str | None:
    """What the type says of itself: its description, or both bounds of a number."""
    hint = get_type_hints(kind, include_extras=True).get(name)
    for meta in (meta for part in (hint, *get_args(hint)) for meta in get_args(part)):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
        if isinstance(meta, Meta) and meta.ge is not None and meta.le is not None:
            return f"{meta.ge} to {meta.le}"
    return None


def _value_at(args: object, path: str) -> object:
    """What was given at a path such as `limits.io[0].path`."""
    value = args
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return value
    return value


def _check_text(message: Submit) -> None:
    """What the kernel's own limits on execve(2) and paths will refuse later, refused now."""
    total = 0
    for index, argument in enumerate(message.argv):
        total += _checked(f"argv[{index}]", argument)
    if not message.argv[0]:
        raise _invalid("argv[0]", "''", "a command")
    total += sum(_check_variable(name, value) for name, value in message.env.items())
    if total > protocol.MAX_ARGV_ENV_BYTES:
        raise _invalid(
            "argv and env",
            f"{total} bytes",
            f"at most {protocol.MAX_ARGV_ENV_BYTES} bytes together",
        )
    check_path("cwd", message.cwd)
    for index, limit in enumerate(message.limits.io):
        check_path(f"limits.io[{index}].path", limit.path)
        if limit.read_bytes_per_second is None and limit.write_bytes_per_second is None:
            raise _invalid(f"limits.io[{index}]", "no rate", "a read or a write rate")


def _check_variable(name: bytes, value: bytes) -> int:
    field = f"env[{shown(name)}]"
    if not name or b"=" in name:
        raise _invalid(field, shown(name), "a name without '='")
    # The kernel counts NAME=VALUE as one string.
    return _checked(field, name + b"=" + value)


def _checked(field: str, text: bytes) -> int:
    if b"\0" in text:
        raise _invalid(field, shown(text), "text without NUL")
    if len(text) > protocol.MAX_ARGUMENT_BYTES:
        raise _invalid(field, f"{len(text)} bytes", f"at most {protocol.MAX_ARGUMENT_BYTES} bytes")
    return len(text)


def check_path(field: str, path: bytes) -> None:
    """An absolute path that the kernel could take. Raises Refusal."""
    if not path.startswith(b"/") or b"\0" in path or len(path) > _MAX_PATH_BYTES:
        raise _invalid(field, shown(path), "an absolute path of at most 4095 bytes without NUL")
