"""Fuzz target: the records that the daemon reads back from its disk (`runner.stored`).

Only RecordError may come of one, and what is accepted can be used as the daemon uses it: a
job is shown, listed and sent. The first byte says which record the rest is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from client import protocol
from runner import messages, outcome, parsing, records, retrying, spec, stored, views
from runner.config import Config
from runner.lifecycle import State
from runner.pump import plan_output
from runner.records import RecordError
from runner.rows import Attempt, Job
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Callable

_JOB: Final = "3f2a0000-0000-4000-8000-000000000001"
_FAILED: Final = outcome.Outcome("oom", None, 9, 137)


def one_input(data: bytes) -> None:
    """Read the record, then show the job that has it."""
    if not data:
        return
    read, show = _READERS[data[0] % len(_READERS)]
    try:
        fields = read(data[1:])
    except RecordError as error:
        assert str(error)
    else:
        records.pack(fields)
    protocol.encode_frame(show(data[1:]))


def _spec(data: bytes) -> dict[str, Any]:
    fields = stored.spec(_row(spec=data))
    plan_output(fields, fields["limits"])
    _retry(fields)
    stored.pack_spec(fields)
    return fields


def _retry(fields: dict[str, Any]) -> None:
    """Whatever the policy says: attempts come to an end, and limits only grow."""
    for attempts in (1, 2, 60):
        again = retrying.next_attempt(
            fields["retry"], attempts, ["oom"] * attempts, _FAILED, fields["limits"], 5,
            deadline_ns=fields["deadline_ns"],
        )  # fmt: skip
        if again is not None:
            assert attempts <= fields["retry"]["limit"]
            assert again.not_before_ns is None or again.not_before_ns > 5
            retrying.with_its_limits(0, 7, fields["limits"], again.limits, 2**30)
            stored.pack_spec({**fields, "limits": again.limits})


def _row(
    spec: bytes | None = None, limits: bytes | None = None, result: bytes | None = None
) -> Job:
    return Job(
        seq=1, id=_JOB, submitted_by_uid=1, uid=1, gid=2, name=None, state=State.ENDED,
        submitted_ns=1, started_ns=None, ended_ns=2, boot_id=None, monitor_pid=None,
        limits=limits, reason="exit", result=result, spec=_A_SPEC if spec is None else spec,
    )  # fmt: skip


def _shown(**fields: bytes) -> dict[str, Any]:
    attempt = Attempt(1, None, 2, "exit", fields.get("result", b""), fields.get("limits"))
    return views.status(_row(**fields), None, attempts=[attempt])


def _a_spec() -> dict[str, Any]:
    io = [{"path": "/", "read_bytes_per_second": 4096}]
    limits = {"pids_max": 3, "io": io, "rlimits": {"nofile": [1, None]}, "timeout_seconds": 2.5}
    sandbox = {
        "binds": [{"source": "/a", "target": "/b"}], "tmpfs": [{"path": "/c", "size_bytes": 4096}],
        "readable": ["/usr"], "secrets": [{"name": "s", "path": "/e"}], "capabilities": ["CHOWN"],
    }  # fmt: skip
    net = {"name": "n", "publish": [{"host_port": 80, "port": 80}], "allow_egress": ["10.0.0.1"]}
    rule = {"reason": "oom", "limit": 2, "timeout_factor": 1.5, "timeout_max_seconds": 9}
    retry = {"limit": 5, "backoff_seconds": 0.5, "on": ["exit", "oom"], "rules": [rule]}
    args = {"argv": ["a"], "cwd": "/", "env": {"A": b"\xff"}, "limits": limits,
            "sandbox": sandbox, "net": net, "retry": retry}  # fmt: skip
    request = parsing.parse(messages.Submit, args)
    return spec.build(_JOB, request, Account(1, 2, (3,), "x"), Config(), deadline_ns=2**61)


_A_SPEC: Final = spec.pack(_a_spec())
_RESULT: Final[dict[str, Any]] = {
    **dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 0, "exit_code": 0,
    "denied": [(3, 5)], "log_bytes": 9,
}  # fmt: skip
_LIMITS: Final[dict[str, Any]] = {
    "pids_max": 3, "io": [{"path": b"/", "devices": ["8:0"], "read_bytes_per_second": 4096}],
    "rlimits": {"nofile": [5, None]}, "timeout_seconds": 2.5, "oom_policy": "kill",
}  # fmt: skip
_READERS: Final[
    list[tuple[Callable[[bytes], dict[str, Any]], Callable[[bytes], dict[str, Any]]]]
] = [
    (_spec, lambda data: _shown(spec=data)),
    (lambda data: stored.exit_record(data, _JOB), lambda _: {}),
    (stored.result, lambda data: _shown(result=data)),
    (stored.limits, lambda data: _shown(limits=data)),
    (stored.intent, lambda _: {}),
]


_NEW: Final = frozenset({"net", "sandbox", "retry", "deadline_ns"})


def seeds() -> list[bytes]:
    """A valid record of each kind, one with the fewest fields, and one that is older."""
    old = {name: value for name, value in _a_spec().items() if name not in _NEW}
    old_logs = old.pop("logs")
    old.update({f"log_{name}": old_logs[name] for name in ("segment_bytes", "keep_bytes")})
    plain = [
        (0, _A_SPEC), (0, records.pack(old)),
        (1, records.pack({**_RESULT, "job": _JOB, "started_ns": 1, "ended_ns": 2})),
        (2, records.pack(_RESULT)),
        (3, records.pack(_LIMITS)), (3, records.pack({})),
        (4, records.pack({"limits": _LIMITS, "devices": {b"/": ["8:0"]}, "uid": 3})),
    ]  # fmt: skip
    fields = msgpack.unpackb(_A_SPEC, strict_map_key=False)
    smaller = {name: {} if isinstance(value, dict) else value for name, value in fields.items()}
    return [bytes([kind]) + data for kind, data in [*plain, (0, records.pack(smaller))]]
