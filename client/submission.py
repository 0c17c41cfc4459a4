"""Requests made from what a program or a command line says: `submit`, `exec`, `update`.

No connection. Refuses here, with the daemon's field names, what would otherwise fail as a frame
(a 10 MB argument) or is wrong whatever the daemon's policy. All other rules are the daemon's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from msgpack import packb

from client import protocol
from client.environment import clean_environment, own_environment
from client.errors import ClientError, RequestRefused
from client.framing import invalid, shown
from client.protocol import to_bytes, to_wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from client.group_records import Step
    from client.options import (
        After,
        Environment,
        Limits,
        Options,
        Sandbox,
        Text,
    )
    from client.queue_records import Selection


_OWN_DEFAULTS: Final = ("cwd", "env", "umask")
_OPTIONAL: Final = (
    "name", "network", "user", "group", "limits", "logs", "sandbox", "net", "queue", "priority",
    "labels", "after", "not_before_ns", "delay_seconds", "deadline_ns", "deadline_seconds", "hold",
    "retry", "reserve", "idempotency_key", "hooks",
)  # fmt: skip


def build_submission(argv: Sequence[Text], **options: Unpack[Options]) -> protocol.Message:
    """The `args` of `submit`; None means the caller's own directory, environment and umask.

    But with a root file system of its own a job begins at its "/", and with a preset in a
    clean environment: the caller's is not for a stranger's code. Raises RequestRefused
    (`invalid-argument`), ClientError when the caller's directory or umask cannot be told.
    """
    asked: Mapping[str, Any] = options
    if unknown := asked.keys() - {*_OWN_DEFAULTS, *_OPTIONAL}:
        raise TypeError(f"a submission has no {min(unknown)}")
    sandbox, cwd, env, umask = (asked.get(name) for name in ("sandbox", *_OWN_DEFAULTS))
    environment: Mapping[Any, Any] = (
        _default_environment(sandbox, asked.get("user")) if env is None else env
    )
    _check_argv(argv)
    _check_total(argv, _check_env(environment))
    args: protocol.Message = {
        "argv": [to_wire(item) for item in argv],
        "cwd": to_wire(_checked("cwd", _default_directory(sandbox) if cwd is None else cwd)),
        "env": {to_wire(key): to_wire(value) for key, value in environment.items()},
        "umask": current_umask() if umask is None else umask,
    }
    optional = {name: asked.get(name) for name in _OPTIONAL}
    if optional["after"] is not None:
        optional["after"] = _dependencies(optional["after"])
    # What is so anyhow is not sent: an older daemon does not know the field.
    if not optional["hold"]:
        optional["hold"] = None
    return {**args, **_travelling(optional)}


def _dependencies(after: Sequence[After | str]) -> list[After]:
    if isinstance(after, str):
        raise invalid("after", shown(after), "a list of jobs, not one text")
    return [{"job": each} if isinstance(each, str) else each for each in after]


def build_flow(
    name: str, steps: Sequence[Step], env: Environment, options: Mapping[str, Any]
) -> protocol.Message:
    """The `args` of `submit_flow`: each step is encoded by itself. What is None is left out.

    Raises RequestRefused (`invalid-argument`).
    """
    environment: Mapping[Any, Any] = env
    _check_env(environment)
    return {
        "name": name,
        "steps": [_packed(f"steps[{index}]", step) for index, step in enumerate(steps)],
        "env": {to_wire(key): to_wire(value) for key, value in environment.items()},
        **_travelling(options),
    }


def _packed(field: str, step: Step) -> bytes:
    try:
        encoded: bytes = packb(_sent(step), use_bin_type=True)
    except (OverflowError, TypeError, ValueError) as error:
        raise RequestRefused("invalid-argument", field=field, detail=str(error)) from None
    return encoded


def build_selection(select: Selection) -> protocol.Message:
    """A `select`: what is None is left out, but for a label, of which that means any value."""
    labels = select.get("labels")
    return {**_travelling(select), **({} if labels is None else {"labels": dict(labels)})}


def build_exec(
    job: str,
    argv: Sequence[Text],
    *,
    env: Environment,
    clean_env: bool,
    cwd: Text | None,
) -> protocol.Message:
    """The `args` of `exec`. Raises RequestRefused (`invalid-argument`)."""
    environment: Mapping[Any, Any] = env
    _check_argv(argv)
    _check_total(argv, _check_env(environment))
    args: protocol.Message = {
        "job": job,
        "argv": [to_wire(item) for item in argv],
        "env": {to_wire(key): to_wire(value) for key, value in environment.items()},
        "clean_env": clean_env,
    }
    return args if cwd is None else {**args, "cwd": to_wire(_checked("cwd", cwd))}


def build_update(
    job: str, limits: Limits | None = None, priority: int | None = None
) -> protocol.Message:
    """The `args` of `update`: a limit that is None travels as nil, which lifts it."""
    # Of an entry of io, too, what is None does not apply.
    changes = {
        key: None if value is None else _sent(value) for key, value in (limits or {}).items()
    }
    args: protocol.Message = {"job": job, "limits": changes}
    return args if priority is None else {**args, "priority": priority}


def _travelling(fields: Mapping[str, Any]) -> protocol.Message:
    """The fields without those that are None, which the daemon would take for a wrong type."""
    return {key: _sent(value) for key, value in fields.items() if value is not None}


def _sent(value: Any) -> Any:  # noqa: ANN401  any field
    """A value as it travels. In a list None stays: there it is a limit that is unlimited."""
    if isinstance(value, str | bytes):
        return to_wire(value)
    if isinstance(value, list | tuple):
        return [_sent(item) for item in value]
    return _travelling(value) if isinstance(value, Mapping) else value


def _default_directory(sandbox: Sandbox | None) -> Text:
    has_root = sandbox is not None and sandbox.get("root") is not None
    return "/" if has_root else current_directory()


def _default_environment(sandbox: Sandbox | None, user: str | int | None) -> dict[bytes, bytes]:
    has_preset = sandbox is not None and sandbox.get("preset") is not None
    return clean_environment(user) if has_preset else own_environment()


def current_directory() -> bytes:
    """The caller's working directory. Raises ClientError when it was removed or is hidden."""
    try:
        return os.getcwdb()
    except OSError as error:
        raise ClientError(
            f"cannot tell the current directory ({error.strerror}); go to one that exists"
        ) from None


def current_umask() -> int:
    """The caller's umask, read without changing it: umask(2) alone would race with threads.

    Raises ClientError when /proc is not mounted. The line is there since Linux 4.7, proc(5).
    """
    try:
        with open("/proc/self/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"Umask:"))
    except (OSError, StopIteration):
        raise ClientError("cannot read the umask; /proc must be mounted") from None
    return int(line.split()[1], 8)


def _check_argv(argv: Sequence[Text]) -> None:
    if isinstance(argv, str | bytes):
        raise invalid("argv", shown(argv), "a list of arguments, not one text")
    if not 1 <= len(argv) <= protocol.MAX_ARGUMENTS:
        allowed = f"1 to {protocol.MAX_ARGUMENTS} arguments"
        raise invalid("argv", f"{len(argv)} arguments", allowed)
    for index, item in enumerate(argv):
        _checked(f"argv[{index}]", item)
    if not argv[0]:
        raise invalid("argv[0]", "''", "a command")


def _check_env(env: Mapping[Text, Text]) -> int:
    """How many bytes it takes. Raises RequestRefused."""
    if len(env) > protocol.MAX_MAP_ITEMS:
        given = f"{len(env)} variables"
        raise invalid("env", given, f"at most {protocol.MAX_MAP_ITEMS} variables")
    if _is_bytes(env) and (size := protocol.environment_bytes(env)) is not None:
        return size
    return sum(_check_variable(key, value) for key, value in env.items())


def _is_bytes(env: Mapping[Any, Any]) -> TypeGuard[Mapping[bytes, bytes]]:
    return {type(text) for pair in env.items() for text in pair} <= {bytes}


def _check_variable(key: Text, value: Text) -> int:
    raw = to_bytes(_checked("env", key))
    field = f"env[{shown(key)}]"
    if not raw or b"=" in raw:
        raise invalid(field, shown(key), "a name without '='")
    # The kernel counts NAME=VALUE as one string.
    _checked(field, value, also=len(raw) + 1)
    return len(raw) + 1 + len(to_bytes(value))


def _check_total(argv: Sequence[Text], env_bytes: int) -> None:
    total = env_bytes + sum(len(to_bytes(item)) for item in argv)
    if total > protocol.MAX_ARGV_ENV_BYTES:
        allowed = f"at most {protocol.MAX_ARGV_ENV_BYTES} bytes together"
        raise invalid("argv and env", f"{total} bytes", allowed)


def _checked(field: str, value: Text, also: int = 0) -> Text:
    """`value`, when execve(2) could take it: no NUL, not too long (with `also` bytes more)."""
    if not isinstance(value, str | bytes):
        raise invalid(field, type(value).__name__, "text")
    raw = to_bytes(value)
    if len(raw) + also > protocol.MAX_ARGUMENT_BYTES:
        allowed = f"at most {protocol.MAX_ARGUMENT_BYTES} bytes"
        raise invalid(field, f"{len(raw) + also} bytes", allowed)
    if b"\0" in raw:
        raise invalid(field, shown(value), "text without NUL")
    return value
