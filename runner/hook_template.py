"""What a hook runs: a submission made from that of its job, and what it is told of the change.

Pure. A hook is kept as a template, as what a schedule runs is (`runner.schedule_template`), and
filled in when it is run: then its user is asked for anew, and it is checked like any submission.
It does nothing that its owner could not submit.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from client import protocol
from runner import hook_program, stored
from runner.message_checks import invalid
from runner.message_kinds import OsText
from runner.message_limits import LimitsRequest
from runner.message_queue import ReserveRequest, RetryRequest
from runner.messages import Submit
from runner.parsing import parse
from runner.queues import HOOKS
from runner.refusal import Refusal, shown
from runner.rows import NewHook
from runner.schedule_template import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.hook_rows import About, Hook, HookCall
    from runner.message_hooks import HookRequest
    from runner.policy import Peer

LABEL: Final = "hook"
PREFIX: Final = b"RUNNERD_HOOK_"
PIDS: Final = 64
_BACKOFF_SECONDS: Final = 5.0
_BACKOFF_MAX_SECONDS: Final = 300.0
# All the hooks of one job: each has the job's environment.
MOST_BYTES: Final = 2 * 1024 * 1024
# Of an id: as much as people use.
_ID_CHARS: Final = 8
_SECOND_NS: Final = 1_000_000_000
# In the environment: what is in argv can be read by every user of the host.
_URL: Final = PREFIX + b"URL"


class HookTemplate(msgspec.Struct, frozen=True):
    """A submission, the groups of whoever asked for it, and the address if it is one."""

    submit: dict[str, Any]
    gid: int
    groups: list[int]
    url: str | None = None

    def __repr__(self) -> str:
        """Without the environment, and without the address."""
        return f"HookTemplate(gid={self.gid}, groups={self.groups})"


def new_hooks(
    hooks: Sequence[HookRequest], owner: Submit, peer: Peer, field: str = "hooks"
) -> tuple[NewHook, ...]:
    """The hooks of a job or group that a peer submits as `owner` says. Raises Refusal."""
    found = tuple(
        NewHook(tuple(hook.on), _pack(hook, owner, peer, f"{field}[{index}]"))
        for index, hook in enumerate(hooks)
    )
    size = sum(len(hook.template) for hook in found)
    if size > MOST_BYTES:
        allowed = f"at most {MOST_BYTES} bytes of commands and environments of all hooks together"
        raise invalid(field, f"{size} bytes", allowed)
    return found


def submission(hook: HookRequest, owner: Submit) -> Submit:
    """What a hook of a job runs, but for what a call of it says."""
    retry = None
    if hook.retries:
        retry = RetryRequest(
            limit=hook.retries,
            backoff_seconds=_BACKOFF_SECONDS,
            backoff_max_seconds=_BACKOFF_MAX_SECONDS,
        )
    return Submit(
        # Of an address, the program is that of the runnerd that runs it.
        argv=[OsText(b"hook")] if hook.argv is None else hook.argv,
        # A directory of another root is none of the host's.
        cwd=owner.cwd if owner.sandbox.root is None else OsText(b"/"),
        env={name: value for name, value in owner.env.items() if not name.startswith(PREFIX)},
        umask=owner.umask,
        network=hook.network,
        user=owner.user,
        group=owner.group,
        limits=LimitsRequest(
            memory_max_bytes=hook.memory_max_bytes,
            timeout_seconds=hook.timeout_seconds,
            pids_max=PIDS,
        ),
        queue=HOOKS,
        retry=retry,
        # It has a queue of its own, with a cap: what it uses is not taken from anybody's turn.
        reserve=ReserveRequest(millicpus=0, memory_bytes=0),
    )


def _pack(hook: HookRequest, owner: Submit, peer: Peer, field: str) -> bytes:
    request = submission(hook, owner)
    try:
        template = HookTemplate(plain(request), peer.gid, sorted(peer.groups), hook.url)
        return msgspec.msgpack.encode(template)
    except UnicodeEncodeError as error:
        raise invalid(field, shown(error.object), "text that is UTF-8") from None


def unpack(data: bytes) -> tuple[HookTemplate, Submit]:
    """What was kept, read as a request of today. Raises Refusal."""
    try:
        template = msgspec.msgpack.decode(data, type=HookTemplate)
    except msgspec.MsgspecError as error:
        raise Refusal("invalid-argument", field=LABEL, detail=f"it is damaged: {error}") from None
    return template, parse(Submit, template.submit)


def run_of(call: HookCall, template: HookTemplate, request: Submit) -> Submit:
    """The submission of a call: told by its environment what has happened, found by its label."""
    env = {**request.env, **{PREFIX + name: value for name, value in facts(call).items()}}
    argv = request.argv
    if template.url is not None:
        env |= {_URL: template.url.encode(), hook_program.TEXT: hook_program.text()}
        argv = [OsText(word) for word in hook_program.command()]
    return msgspec.structs.replace(
        request,
        argv=argv,
        env=env,
        name=_name(call),
        labels={LABEL: call.owner_id[:_ID_CHARS]},
        idempotency_key=key_of(call),
    )


def key_of(call: HookCall) -> str:
    """The key of the job that a call is run as: there is one at most.

    Those of one hook (`keys_of`) are in the order of its calls.
    """
    return f"{keys_of(call.owner_id, call.number)}{call.seq:012d}"


def keys_of(owner_id: str, number: int) -> str:
    """What the keys begin with of all jobs of a hook."""
    return f"hook:{owner_id}:{number}:"


def facts(call: HookCall) -> dict[bytes, bytes]:
    """What a hook is told, as text; "" for what is not known."""
    about = call.about
    owner = b"GROUP" if about.is_group else b"JOB"
    values = {
        b"EVENT": call.event,
        owner: call.owner_id,
        b"NAME": about.name,
        b"STATE": about.state,
        b"REASON": about.reason,
        b"EXIT_STATUS": _status(about),
        b"ATTEMPT": about.attempt,
        b"JOBS": about.jobs,
        b"FAILED": about.failed,
        b"TIME": rfc3339(call.time_ns),
    }
    return {
        name: b"" if value is None else str(value).encode("ascii", "replace")
        for name, value in values.items()
    }


def _status(about: About) -> int | None:
    """Of a group: whether it is ok, as the status of a program would say it."""
    if about.is_group:
        return None if about.is_ok is None else int(not about.is_ok)
    return None if about.result is None else stored.result(about.result)["exit_status"]


def rfc3339(time_ns: int) -> str:
    """A time to the microsecond, in UTC. A clock may have been set to anything."""
    try:
        time = datetime.fromtimestamp(time_ns // _SECOND_NS, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time_ns % _SECOND_NS // 1000:06d}Z"


def _name(call: HookCall) -> str:
    """`hook.NAME.EVENT`; where that is too long, with less of the name."""
    room = protocol.MAX_NAME_CHARS - len(f"hook..{call.event}")
    owner = call.about.name or call.owner_id[:_ID_CHARS]
    return f"hook.{owner[:room]}.{call.event}"


def shown_hooks(hooks: Sequence[Hook]) -> list[dict[str, Any]]:
    """The hooks of a job for `status`: of a command its first word, of an address its host."""
    return [
        {"number": number, "on": list(hook.events), **_shown(hook.template)}
        for number, hook in enumerate(hooks)
    ]


def shown_request(hook: HookRequest) -> dict[str, Any]:
    """The same of a hook that is asked for."""
    command = None if hook.argv is None else hook.argv[0]
    return {"on": list(hook.on), **_what(command, hook.url)}


def _shown(data: bytes) -> dict[str, Any]:
    try:
        template, request = unpack(data)
    except Refusal:
        return _what(None, None)
    return _what(request.argv[0] if template.url is None else None, template.url)


def _what(command: bytes | None, url: str | None) -> dict[str, Any]:
    return {
        "command": None if command is None else protocol.to_wire(bytes(command)),
        "host": None if url is None else urlsplit(url).hostname,
    }
