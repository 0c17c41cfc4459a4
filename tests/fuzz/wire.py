"""Fuzz target: what the wire brings to the daemon, and what it brings back to a client.

The daemon's side is the frame buffer, the decoder, and the parsing of every operation: only
FrameError and Refusal may come of it, a refusal can always be sent, and what is accepted can
be stored and read back. The client's side is errors and log events: only ClientError.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack

from client import errors, protocol
from client.api import Client
from client.frames import FrameBuffer
from client.protocol import FrameError, Message
from runner import (
    message_schedules,
    messages,
    parsing,
    schedule_template,
    spec,
    stored,
    submission_queue,
)
from runner.config import Config
from runner.lifecycle import State
from runner.policy import Peer
from runner.queues import Rules
from runner.refusal import Refusal
from runner.rows import Job
from runner.scheduling import calendar
from runner.scheduling.kinds import Capacity, Needs, Queue
from runner.server.handlers import HANDLERS
from runner.users import Account
from tests.fuzz import groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.message_kinds import Closed

_JOB: Final = "3f2a0000-0000-4000-8000-000000000001"
_ACCOUNT: Final = Account(1, 2, (3,), "x")
_CONFIG: Final = Config()
_PEER: Final = Peer(uid=1, gid=2, groups=frozenset((2, 3)), pid=4)
_RULES: Final = Rules(
    Capacity(8, Needs(8000, 2**34)),
    (Queue("default"), Queue("batch")),
    members={},
    max_priorities={},
)
_NOW_NS: Final = 1_763_810_000_000_000_000
_KINDS: Final[dict[str, type[Closed]]] = {
    **{op: kind for op, (kind, _) in HANDLERS.items()},
    "hello": messages.Hello,
    "credit": messages.Credit,
    "cancel": messages.Cancel,
    "signal": messages.Signal,
}
_FRAMES: Final = 0
_BODY: Final = 1
_ANSWER: Final = 2
_MODES: Final = 3


def one_input(data: bytes) -> None:
    """The first byte says what the rest is: frames, a body, or a daemon's answer."""
    if not data:
        return
    mode, rest = data[0] % _MODES, data[1:]
    if mode == _FRAMES:
        _as_frames(data[0] // _MODES, rest)
    elif mode == _BODY:
        _as_body(rest)
    else:
        _as_answer(rest)


def _as_frames(how: int, data: bytes) -> None:
    """The stream in pieces: the buffer holds no more than a frame that it allows."""
    buffer = FrameBuffer()
    if how % 2:
        buffer.greeted()
    most = protocol.MAX_FRAME_BYTES if how % 2 else protocol.MAX_GREETING_BYTES
    size = how // 2 + 1
    try:
        for start in range(0, len(data), size):
            for body in buffer.feed(data[start : start + size]):
                _ask(protocol.decode_body(body, protocol.MAX_REQUEST_CONTAINERS))
            assert buffer.held_bytes <= most + protocol.HEADER.size
    except FrameError:
        return


def _as_body(data: bytes) -> None:
    try:
        message = protocol.decode_body(data, protocol.MAX_REQUEST_CONTAINERS)
    except FrameError:
        return
    _check_bounds(message)
    _ask(message)


def _check_bounds(message: Message) -> None:
    """Nothing was made that the bounds forbid: each container costs more than its bytes."""
    containers = items = 0
    level: list[Any] = [message]
    while level:
        containers += len(level)
        items += sum(map(len, level))
        inner = [value for value in level for value in _inside(value)]
        level = [value for value in inner if isinstance(value, dict | list)]
    # An array is counted when it is complete, so the last one may be one too many.
    assert containers <= protocol.MAX_REQUEST_CONTAINERS + 1
    most = protocol.MAX_REQUEST_CONTAINERS * protocol.ITEMS_PER_CONTAINER
    assert items <= most + protocol.MAX_ARRAY_ITEMS


def _inside(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value


def _ask(message: Message) -> None:
    """As `runner.server.connection` does: the envelope, then the operation's schema."""
    op, args = message.get("op"), message.get("args")
    if not isinstance(args, dict) or not all(isinstance(name, str) for name in args):
        return
    kinds = [_KINDS[op]] if isinstance(op, str) and op in _KINDS else list(_KINDS.values())
    for kind in kinds:
        try:
            request = parsing.parse(kind, args)
        except Refusal as refusal:
            _check_refusal(refusal)
        else:
            _check_request(request)


def _check_refusal(refusal: Refusal) -> None:
    """It can be sent, and a client can make a sentence of it."""
    frame = protocol.encode_frame({"id": 1, "error": refusal.to_wire()})
    answer = protocol.decode_body(frame[protocol.HEADER.size :])
    assert str(errors.RequestRefused.from_wire(answer["error"]))


def _check_request(request: object) -> None:
    """What is accepted can be shown in a log, committed, and read back as it was."""
    repr(request)
    try:
        if isinstance(request, messages.Submit):
            _check_submission(request)
            groups.check_hooks(request, _PEER)
        elif isinstance(request, message_schedules.MakeSchedule):
            _check_schedule(request)
        else:
            groups.check(request, _check_submission)
    except Refusal as refusal:
        _check_refusal(refusal)


def _check_submission(request: messages.Submit) -> None:
    deadline_ns = submission_queue.times(request, _NOW_NS).deadline_ns
    fields = spec.build(_JOB, request, _ACCOUNT, _CONFIG, deadline_ns=deadline_ns)
    read = stored.spec(_row(spec.pack(fields)))
    assert {name: read[name] for name in fields} == fields
    queue = submission_queue.queue_for(_RULES, _PEER, request.queue)
    submission_queue.check_priority(_RULES, _PEER, queue, request.priority)
    submission_queue.check_growth(request.retry, fields["limits"])
    needs = submission_queue.needs(request.reserve, fields["limits"], _RULES, 1)
    assert needs.fits(_RULES.capacity.needs)


def _check_schedule(request: message_schedules.MakeSchedule) -> None:
    """What is submitted again and again is kept as it was; when, is found in no time."""
    submission = schedule_template.read(request.submit)
    _, kept = schedule_template.unpack(schedule_template.pack(submission, _PEER))
    assert kept == submission
    try:
        every = calendar.read(request.every, UTC, _NOW_NS)
    except ValueError as error:
        assert str(error)
    else:
        due = every.after(_NOW_NS)
        assert due is None or due > _NOW_NS


def _row(packed: bytes) -> Job:
    return Job(
        seq=1, id=_JOB, submitted_by_uid=1, uid=1, gid=2, name=None, state=State.QUEUED,
        submitted_ns=1, started_ns=None, ended_ns=None, boot_id=None, monitor_pid=None,
        limits=None, reason=None, result=None, spec=packed,
    )  # fmt: skip


def _as_answer(data: bytes) -> None:
    """A daemon that is none: the client says so, and does nothing else."""
    client = Client()
    client._pool = cast("Any", _Answers(data))
    try:
        with client.logs(_JOB) as stream:
            for _ in stream:
                pass
    except errors.ClientError as error:
        assert str(error)
    client._pool = cast("Any", _Answers(data))
    try:
        with client.events(since=3) as events:
            numbers = [event["seq"] for event in events if "seq" in event]
            assert numbers == sorted(set(numbers))
    except errors.ClientError as error:
        assert str(error)


class _Answers:
    """A pool of one connection that says what the input holds, message after message."""

    reached = True

    def __init__(self, data: bytes) -> None:
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2**20)
        self._unpacker.feed(data)

    def take(self) -> Any:
        return self

    def give(self, _connection: Any) -> None: ...

    def close(self) -> None: ...

    def start_stream(self, _op: str, _args: Message) -> int:
        return 1

    def notify(self, _request_id: int, _op: str, _args: Message) -> None: ...

    def receive(self, _request_id: int) -> Message:
        """As `client.connection` does with a frame."""
        try:
            message = next(self._unpacker)
        # StopIteration at the end; what is not msgpack is the decoder's to refuse.
        except Exception:  # noqa: BLE001
            raise errors.ConnectionLost("the input ended") from None
        if not isinstance(message, dict):
            raise errors.ProtocolError("not a map")
        if "error" in message:
            raise errors.RequestRefused.from_wire(message["error"])
        if "event" in message or "ok" in message:
            return message
        raise errors.ProtocolError("neither event nor answer")


def seeds() -> list[bytes]:
    """One valid input of each kind, and of each operation."""
    requests = [{"id": n + 1, "op": op, "args": args} for n, (op, args) in enumerate(_requests())]
    bodies = [msgpack.packb(request, use_bin_type=True) for request in requests]
    frames = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    pieces = [bytes([_FRAMES + _MODES * how]) + frames for how in (0, 1, 9, 84)]
    answers = [bytes([_ANSWER]) + b"".join(map(msgpack.packb, each)) for each in _answers()]
    return [*pieces, *(bytes([_BODY]) + body for body in bodies), *answers]


def _requests() -> list[tuple[str, Message]]:
    job = {"job": _JOB}
    return [
        ("hello", {"protocol": 1, "client": "runctl"}),
        ("submit", {"argv": ["a"], "cwd": "/", "env": {"A": b"\xff"}}),
        ("submit", _FULL_SUBMIT),
        ("list", {"ended": True, "limit": 5, "select": _SELECT, "collapse": True}),
        ("logs", {**job, "cursor": 3, "follow": True, "credit": 2, "until_ns": 5, "attempt": 1}),
        ("locate", {**job, "lines": 3, "since_ns": 1, "until_ns": 5, "streams": [1]}),
        ("exec", {**job, "argv": ["a"], "env": {}, "clean_env": True, "cwd": "/", "credit": 1}),
        ("stop", {**job, "grace_seconds": 0.5, "kill": True}),
        ("wait", {**job, "timeout_seconds": 2}),
        ("update", {**job, "limits": {"pids_max": None, "memory_max_bytes": 2**30}, "priority": 3}),
        ("prune", {"older_than_seconds": 5, "keep": 2, "user": "x"}),
        ("drain", {"timeout_seconds": 5, "stop": True}),
        *((op, job) for op in _ON_JOBS), *groups.requests(), *groups.wrong(),
        ("move", {**job, "before": "3f2a"}), ("move", {**job, "queue": "batch", "top": True}),
        ("events", {"since": 5, "follow": True, "job": _JOB, "credit": 3}),
        ("queues", {}), ("queue", {"name": "batch", "paused": True, "max_running": None}),
        ("stop_many", {"select": _SELECT, "grace_seconds": 1.5, "kill": True, "dry_run": True,
                       "expect": 3}),
        ("schedule", {"every": "*/5 0-6,12 1 jan mon-fri", "submit": {"argv": ["a"], "cwd": "/"},
                      "zone": "UTC", "missed": "all", "overlap": "skip", "name": "n"}),
        ("schedules", {"after": 3, "limit": 5}),
        *((f"schedule_{op}", {"schedule": "5c0e"}) for op in _ON_SCHEDULES),
        ("doctor", {}), ("credit", {"events": 3}), ("cancel", {}), ("signal", {"signal": 15}),
    ]  # fmt: skip


_ON_JOBS: Final = ("status", "pause", "resume", "remove", "hold", "release", "retry", "why")
_ON_SCHEDULES: Final = ("status", "pause", "resume", "run", "remove")
_SELECT: Final[Message] = {
    "queue": "batch", "user": "x", "name": "n*", "labels": {"a/b": None, "c": "d"},
    "states": ["queued", "running"],
}  # fmt: skip
_FULL_SUBMIT: Final[Message] = {
    "queue": "batch", "priority": -5, "labels": {"a/b": "c d"},
    "after": [{"job": "3f2a"}, {"job": "a-name", "on": "started"}], "delay_seconds": 1.5,
    "deadline_ns": 2**62, "hold": True, "reserve": {"millicpus": 100, "memory_bytes": 2**20},
    "idempotency_key": "k-1", "retry": {
        "limit": 3, "backoff_seconds": 0.5, "backoff_max_seconds": 60, "on": ["exit", "oom"],
        "rules": [{"reason": "oom", "limit": 1, "memory_factor": 1.5, "memory_max_bytes": 2**31}],
    },
    "argv": ["sh", b"\xff"], "cwd": "/", "env": {"A": "b"}, "name": "n", "umask": 0o77,
    "user": "x", "group": 3, "network": "private",
    "net": {
        "name": "n", "publish": [{"host_port": 80, "port": 80, "protocol": "udp"}],
        "allow_egress": ["10.0.0.0/8:53/udp", "example.org"],
    },
    "limits": {
        "memory_max_bytes": 2**30, "memory_high_bytes": 2**29, "cpu_max_millicpus": 500,
        "cpu_set": "0-1", "pids_max": 5, "io": [{"path": "/", "read_bytes_per_second": 4096}],
        "rlimits": {"nofile": [5, None]}, "timeout_seconds": 5, "warning_seconds": 1,
        "output_max_bytes": 4096, "output_policy": "end", "net_egress_bits_per_second": 8000,
    },
    "logs": {"segment_bytes": 4096, "keep_segments": 4, "compression": "zstd", "on_full": "drop"},
    "sandbox": {
        "filesystem": "overlay", "readable": ["/usr"], "writable": ["/tmp"],
        "binds": [{"source": "/a", "target": "/b", "read_only": True}],
        "tmpfs": [{"path": "/c", "size_bytes": 4096}], "hide": ["/d"], "hostname": "h",
        "userns": True, "capabilities": ["CHOWN"], "seccomp": "strict", "report_denied": True,
        "devices": ["/dev/fuse:r"], "secrets": [{"name": "s", "path": "/e"}],
    },
}  # fmt: skip


def _answers() -> list[list[Message]]:
    chunk = {"offset": 0, "runs": [[1, 2, 5], [2, 1, 6]], "data": b"abc"}
    gap = {"gap_bytes": 7, "offset": 10, "why": "removed"}
    end = {"cursor": 10, "status": {"job": _JOB}}
    first = {"attempt": 2, "offset": 0}
    happened = {"seq": 4, "time_ns": 5, "job": _JOB, "kind": "finish", "data": {"reason": "exit"}}
    missing = {"gap": True, "since": 3, "oldest": 9}
    refusal = {
        "code": "limit-below-use",
        "field": "limits.memory_max_bytes",
        "given": "5",
        "allowed": "at least 4194304, 1 to 2",
        "detail": "network private",
        "candidates": [],
    }
    return [
        [{"id": 1, "seq": 1, "event": chunk}, {"id": 1, "seq": 2, "event": gap}, {"ok": end}],
        [{"id": 1, "seq": 1, "event": first}, {"id": 1, "seq": 2, "event": chunk}, {"ok": end}],
        [{"id": 1, "seq": 1, "event": happened}, {"ok": {"next": 4}}],
        [{"id": 1, "seq": 1, "event": missing}, {"ok": {"next": 9}}],
        [{"id": 1, "error": refusal}],
        [{"id": 1, "error": {"code": "no-such-job", "given": _JOB}}],
    ]  # fmt: skip
