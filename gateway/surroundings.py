"""What a submission from elsewhere does not say: the directory and the environment of a login.

A caller's own directory and variables mean nothing on this host, so none are asked for. What is
given counts; what is missing is as on a login of the user that the job runs as. Whether a job may
be submitted at all is `session`'s to know; the same for all interfaces.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, Final

import msgpack

from client.protocol import MAX_REQUEST_CONTAINERS, FrameError, decode_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.protocol import Message

_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
# Where the fields of a submission are, in what makes jobs.
_WITHIN: Final = {"submit": None, "submit_array": "submit", "schedule": "submit"}


def complete(op: str, args: Message, user: str) -> Message:
    """The arguments of `op` with `cwd` and `env` where it makes jobs for `user`, a local account.

    `cwd`: the home of whom the job runs as, if it is a directory, else "/"; with a root file system
    of its own "/". `env`: PATH, HOME, USER, LOGNAME and SHELL beneath what is given. What is not of
    the right type is left for runnerd to refuse. Doing it again changes nothing.
    """
    if op == "submit_flow":
        # The flow's environment is beneath those of its steps.
        return {**args, "env": _environment(args.get("env"), user), **_steps(args, user)}
    if op not in _WITHIN:
        return args
    within = _WITHIN[op]
    if within is None:
        return _submission(args, user)
    inner = args.get(within)
    return {**args, within: _submission(inner, user)} if isinstance(inner, dict) else args


def _steps(args: Message, user: str) -> Message:
    steps = args.get("steps")
    return {"steps": [_step(step, user) for step in steps]} if isinstance(steps, list) else {}


def _step(packed: Any, user: str) -> Any:  # noqa: ANN401  runnerd checks it
    """A step, encoded by itself, with a directory."""
    if not isinstance(packed, bytes):
        return packed
    try:
        step = decode_body(packed, MAX_REQUEST_CONTAINERS)
    except FrameError:
        return packed
    fields = step.get("submit")
    if not isinstance(fields, dict) or fields.get("cwd") is not None:
        return packed
    runs_as = user if fields.get("user") is None else fields["user"]
    submit = {**fields, "cwd": _directory(fields, runs_as)}
    return msgpack.packb({**step, "submit": submit}, use_bin_type=True)


def _submission(fields: Message, user: str) -> Message:
    asked = fields.get("user")
    runs_as = user if asked is None else asked
    return {
        **fields,
        "cwd": _directory(fields, runs_as) if fields.get("cwd") is None else fields["cwd"],
        "env": _environment(fields.get("env"), runs_as),
    }


def _directory(fields: Message, user: str | int) -> str:
    sandbox = fields.get("sandbox")
    if isinstance(sandbox, dict) and (
        sandbox.get("root") is not None or sandbox.get("filesystem") == "root"
    ):
        return "/"
    entry = _entry(user)
    return entry.pw_dir if entry and _is_directory(entry.pw_dir) else "/"


def _environment(given: Any, user: str | int) -> Any:  # noqa: ANN401  runnerd checks it
    if given is None:
        return login(user)
    if not isinstance(given, dict):
        return given
    names = {name if isinstance(name, bytes) else str(name).encode() for name in given}
    beneath = {name: value for name, value in login(user).items() if name.encode() not in names}
    return {**beneath, **given}


def login(user: str | int) -> Mapping[str, str]:
    """PATH, and HOME, USER, LOGNAME and SHELL of a user whom this host knows."""
    entry = _entry(user)
    if entry is None:
        return {"PATH": _PATH}
    return {
        "PATH": _PATH,
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell or "/bin/sh",
    }


def _is_directory(path: str) -> bool:
    return path.startswith("/") and os.path.isdir(path)


def _entry(user: Any) -> pwd.struct_passwd | None:  # noqa: ANN401  runnerd checks it
    try:
        return pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
