"""What contradicts itself in the hooks of a request, and what could never be run.

Pure. The schema is `runner.message_hooks`, what is made of a hook `runner.hook_template`; whether
its user may enter the directory is asked when it is run. Raises Refusal with the field named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from client import protocol
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.message_hooks import HookRequest

# Of a group: nothing of what happens to one of its jobs.
OF_GROUPS: Final = ("ended", "ok", "fail")
# What a hook finds in its environment beside that of its job: facts, an address, a program.
FACTS_BYTES: Final = 32 * 1024
FACTS: Final = 16
_MOST_BYTES: Final = protocol.MAX_ARGV_ENV_BYTES - FACTS_BYTES


def check(hooks: Sequence[HookRequest], env: Mapping[bytes, bytes], field: str = "hooks") -> None:
    """Hooks for jobs with that environment. Raises Refusal."""
    if not hooks:
        return
    room = _MOST_BYTES - sum(len(name) + len(value) + 1 for name, value in env.items())
    for index, hook in enumerate(hooks):
        _check_one(f"{field}[{index}]", hook, room)
    if len(env) + FACTS > protocol.MAX_MAP_ITEMS:
        most = protocol.MAX_MAP_ITEMS - FACTS
        raise _invalid("env", f"{len(env)} variables", f"at most {most} variables, with hooks")


def check_of_group(hooks: Iterable[HookRequest], field: str = "hooks") -> None:
    """Hooks of an array or a flow: for the end of it alone. Raises Refusal."""
    for index, hook in enumerate(hooks):
        for position, event in enumerate(hook.on):
            if event not in OF_GROUPS:
                allowed = f"{', '.join(OF_GROUPS)}: what happens to an array or a flow as a whole"
                raise _invalid(f"{field}[{index}].on[{position}]", shown(event), allowed)


def _check_one(field: str, hook: HookRequest, room: int) -> None:
    for position, event in enumerate(hook.on):
        if event in hook.on[:position]:
            raise _invalid(f"{field}.on[{position}]", shown(event), "each event once")
    if hook.argv is None and hook.url is None:
        raise _invalid(f"{field}.argv", "nothing", "a command, or url with an address")
    if hook.argv is not None and hook.url is not None:
        raise _invalid(f"{field}.url", "an address", "nothing, with argv")
    if hook.argv is not None:
        _check_command(f"{field}.argv", hook.argv, room)
    elif room < 0:
        raise _too_long("env", -room)
    if hook.url is not None:
        _check_address(f"{field}.url", hook.url)


def _check_command(field: str, argv: Sequence[bytes], room: int) -> None:
    """What execve(2) would refuse later, as of the command of a job."""
    for index, argument in enumerate(argv):
        if b"\0" in argument:
            raise _invalid(f"{field}[{index}]", shown(argument), "text without NUL")
        if len(argument) > protocol.MAX_ARGUMENT_BYTES:
            allowed = f"at most {protocol.MAX_ARGUMENT_BYTES} bytes"
            raise _invalid(f"{field}[{index}]", f"{len(argument)} bytes", allowed)
    if not argv[0]:
        raise _invalid(f"{field}[0]", "''", "a command")
    if (beyond := sum(map(len, argv)) - room) > 0:
        raise _too_long(field, beyond)


def _too_long(field: str, beyond: int) -> Refusal:
    given = f"{_MOST_BYTES + beyond} bytes with the environment"
    return _invalid(field, given, f"at most {_MOST_BYTES} bytes")


def _check_address(field: str, url: str) -> None:
    """A host, and a port that there can be. What else it says may be secret and is not shown."""
    try:
        parts = urlsplit(url)
        is_sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        scheme = url.partition(":")[0]
        allowed = "https://HOST[:PORT][/PATH], HOST a name or an address"
        raise _invalid(field, f"an address with {scheme}:// and no such host", allowed)


def _invalid(field: str, given: str, allowed: str) -> Refusal:
    return Refusal("invalid-argument", field=field, given=given, allowed=allowed)
