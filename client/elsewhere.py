"""A submission to another machine: nothing of ours is in it that was not asked for.

Our directory, environment, umask and users mean nothing on runnerd's host. What is left out the
gateway fills in, as on a login there (gateway.surroundings). No connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from client.environment import CLEAN_PATH
from client.submission import build_submission

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from client import protocol
    from client.options import Options, Text

# runnerd's own default (docs/PROTOCOL.md).
UMASK: Final = 0o022


def build_submission_elsewhere(
    argv: Sequence[Text], **options: Unpack[Options]
) -> protocol.Message:
    """The `args` of `submit` as those of `client.submission.build_submission`, without our own.

    A `cwd` that is None is left out. Raises what that raises.
    """
    asked: dict[str, Any] = {**options}
    for name, default in (("cwd", "/"), ("env", {}), ("umask", UMASK)):
        if asked.get(name) is None:
            asked[name] = default
    args = build_submission(argv, **asked)
    if options.get("cwd") is None:
        del args["cwd"]
    return args


def clean_environment_elsewhere(user: str) -> dict[bytes, bytes]:
    """What is known of one of a user of another host: not its HOME and SHELL."""
    name = user.encode("utf-8", "surrogateescape")
    return {b"PATH": CLEAN_PATH, b"USER": name, b"LOGNAME": name}
