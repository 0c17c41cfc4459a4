"""The service runnerd.worker.v1.Worker: start, stop, status, output, and a call that does it all.

In the words of a job worker; everything is asked of the session as by anybody else.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

from client.errors import RequestRefused, describe
from client.log_position import LogGap, Selection
from client.protocol import STDERR, STDOUT
from gateway.codes import as_refusal
from gateway.following import follow_logs
from gateway.proto.runnerd.worker.v1 import worker_pb2
from gateway.rpc import convert
from gateway.rpc.guard import SESSION
from gateway.rpc.lines import Lines
from gateway.rpc.sending import BATCH_BYTES, Sender

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from client.protocol import Message
    from client.records import JobStatus
    from gateway.following import Batch
    from gateway.rpc.lines import Line
    from gateway.rpc.sending import Context
    from gateway.session import Session

    Event = worker_pb2.RunStarted | worker_pb2.OutputLine | worker_pb2.RunResult

MAX_RUNS: Final = 32
# What is asked for first, of the session.
OPERATIONS: Final = {
    "Worker.Start": "submit",
    "Worker.Stop": "stop",
    "Worker.Status": "status",
    "Worker.Output": "logs",
    "Worker.Run": "submit",
    "Worker.RunMany": "submit",
}
# How long `Stop` waits for the end: runnerd's usual grace and a little more.
_STOP_SECONDS: Final = 12.0
_DEADLINE_MARGIN: Final = 0.5
_NS: Final = 1_000_000_000
_SOURCES: Final = {STDOUT: worker_pb2.SOURCE_STDOUT, STDERR: worker_pb2.SOURCE_STDERR}
_STATES: Final = {
    "queued": worker_pb2.STATUS_QUEUED,
    "starting": worker_pb2.STATUS_RUNNING,
    "running": worker_pb2.STATUS_RUNNING,
    "paused": worker_pb2.STATUS_PAUSED,
}


class Worker:
    """The handlers. `slow_seconds`: how long a reader may take for a message."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds

    async def start(
        self, request: worker_pb2.StartRequest, _context: Context
    ) -> worker_pb2.StartResponse:
        """Worker.Start."""
        session = SESSION.get()
        answer = await _submit(session, {"argv": _argv(request.command, request.args)})
        job: str = answer["job"]
        status = _STATES.get(answer["state"])
        if status is None:
            status = status_of(await session.request("status", {"job": job}))
        return worker_pb2.StartResponse(id=job, status=status)

    async def stop(
        self, request: worker_pb2.StopRequest, context: Context
    ) -> worker_pb2.StopResponse:
        """Worker.Stop."""
        session = SESSION.get()
        # None without a deadline, whatever its stubs say.
        left = cast("float | None", context.time_remaining())
        await session.request("stop", {"job": request.id})
        seconds = _STOP_SECONDS if left is None else min(_STOP_SECONDS, left - _DEADLINE_MARGIN)
        wait = {"job": request.id, "timeout_seconds": max(0.0, seconds)}
        status = await session.request("wait", wait, timeout=None)
        return worker_pb2.StopResponse(status=status_of(status))

    async def status(
        self, request: worker_pb2.StatusRequest, _context: Context
    ) -> worker_pb2.StatusResponse:
        """Worker.Status."""
        status = await SESSION.get().request("status", {"job": request.id})
        result = status["result"] or {}
        return worker_pb2.StatusResponse(
            pid=status["pid"],
            status=status_of(status),
            exit_code=result.get("exit_code"),
            reason=result.get("reason", ""),
            started_ns=status["started_ns"],
            ended_ns=status["ended_ns"],
        )

    async def output(self, request: worker_pb2.OutputRequest, context: Context) -> None:
        """Worker.Output."""
        sender = Sender(context, self._slow_seconds)
        selection = Selection(request.id, follow=True)
        async with aclosing(follow_logs(SESSION.get(), selection)) as batches:
            async for batch in batches:
                for message in _bytes_of(batch):
                    await sender.send(message)

    async def run(self, request: worker_pb2.RunRequest, context: Context) -> None:
        """Worker.Run."""
        sender = Sender(context, self._slow_seconds)
        async with aclosing(_followed(SESSION.get(), request)) as events:
            async for event in events:
                await sender.send(worker_pb2.RunResponse(**_named(event)))

    async def run_many(self, request: worker_pb2.RunManyRequest, context: Context) -> None:
        """Worker.RunMany."""
        sender, session = Sender(context, self._slow_seconds), SESSION.get()
        if len(request.runs) > MAX_RUNS:
            raise RequestRefused(
                "invalid-argument",
                field="runs",
                given=len(request.runs),
                allowed=f"at most {MAX_RUNS}",
            )
        one = asyncio.Lock()

        async def follow(index: int, asked: worker_pb2.RunRequest) -> None:
            async for event in _or_refused(session, asked):
                async with one:
                    await sender.send(worker_pb2.RunManyResponse(index=index, **event))

        await _together([follow(index, asked) for index, asked in enumerate(request.runs)])


async def _together(following: list[Any]) -> None:
    """All of them; the first failure ends the others, and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in following:
                group.create_task(each)
    except* Exception as errors:  # noqa: BLE001  raised again
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def status_of(status: Message | JobStatus) -> worker_pb2.Status:
    """A job's state, and how it ended, in one word."""
    result = status["result"]
    if status["state"] != "ended" or result is None:
        return _STATES.get(status["state"], worker_pb2.STATUS_UNSPECIFIED)
    if result["reason"] == "stopped":
        return worker_pb2.STATUS_STOPPED
    is_good = result["reason"] == "exit" and result["exit_code"] == 0
    return worker_pb2.STATUS_COMPLETED if is_good else worker_pb2.STATUS_FAILED


def _argv(command: str, arguments: Any) -> list[str]:  # noqa: ANN401  a repeated field
    if not command:
        raise RequestRefused("invalid-argument", field="command", allowed="a program")
    return [command, *arguments]


def _bytes_of(batch: Batch) -> Iterator[worker_pb2.OutputResponse]:
    """Without the seams between what was written, in messages of a bounded size."""
    for item in batch.items:
        if isinstance(item, LogGap):
            yield worker_pb2.OutputResponse(missing_bytes=item.gap_bytes)
    data = b"".join(item.data for item in batch.items if not isinstance(item, LogGap))
    for at in range(0, len(data), BATCH_BYTES):
        yield worker_pb2.OutputResponse(data=data[at : at + BATCH_BYTES])


# One run


async def _followed(
    session: Session, request: worker_pb2.RunRequest
) -> AsyncGenerator[Event, None]:
    """It is submitted; then its lines; then how it ended."""
    job: str = (await _submit(session, _submission(request)))["job"]
    yield worker_pb2.RunStarted(id=job, name=request.name)
    lines, missing = Lines(), 0
    async with aclosing(follow_logs(session, Selection(job, follow=True))) as batches:
        async for batch in batches:
            for line in _lines_of(batch, lines):
                yield _line(line)
            missing += sum(item.gap_bytes for item in batch.items if isinstance(item, LogGap))
            if batch.status is not None:
                for line in lines.end():
                    yield _line(line)
                yield _result(batch.status, lines.count, missing)


async def _or_refused(
    session: Session, request: worker_pb2.RunRequest
) -> AsyncGenerator[dict[str, Any], None]:
    """The same as fields; a refusal is the last of them, for the others go on."""
    try:
        async with aclosing(_followed(session, request)) as events:
            async for event in events:
                yield _named(event)
    except Exception as error:  # noqa: BLE001  told, of each kind, by its code
        refused = as_refusal(error)
        yield {"refused": worker_pb2.RunRefused(code=refused.code, detail=describe(refused))}


async def _submit(session: Session, args: Message) -> Message:
    return await session.request("submit", args)


def _submission(request: worker_pb2.RunRequest) -> Message:
    args: Message = {
        "argv": _argv(request.command, request.arguments),
        "name": request.name,
        "user": convert.id_or_name(request.user),
        "group": convert.id_or_name(request.group),
        "cwd": request.directory,
        "idempotency_key": request.idempotency_key,
    }
    return {key: value for key, value in args.items() if value != ""}


def _lines_of(batch: Batch, lines: Lines) -> Iterator[Line]:
    for item in batch.items:
        if not isinstance(item, LogGap):
            yield from lines.add(item.stream, item.data)


def _line(line: Line) -> worker_pb2.OutputLine:
    return worker_pb2.OutputLine(
        number=line.number,
        source=_SOURCES[line.stream],
        text=convert.text_of(line.text),
        partial=line.partial,
    )


def _result(status: JobStatus, lines: int, missing: int) -> worker_pb2.RunResult:
    result = status["result"]
    message = worker_pb2.RunResult(
        id=status["job"],
        name=status["name"] or "",
        status=status_of(status),
        lines=lines,
        missing_bytes=missing,
    )
    if result is not None:
        message.duration_seconds = (result["wall_ns"] or 0) / _NS
        message.reason = result["reason"]
        convert.fill(message, {key: result[key] for key in ("exit_code", "detail")})
    return message


def _named(event: Event) -> dict[str, Any]:
    """The event under the name of its field."""
    if isinstance(event, worker_pb2.RunStarted):
        return {"started": event}
    return {"line" if isinstance(event, worker_pb2.OutputLine) else "result": event}


def handlers(slow_seconds: float) -> dict[str, Callable[..., Any]]:
    """By service and method."""
    worker = Worker(slow_seconds)
    return {
        "Worker.Start": worker.start,
        "Worker.Stop": worker.stop,
        "Worker.Status": worker.status,
        "Worker.Output": worker.output,
        "Worker.Run": worker.run,
        "Worker.RunMany": worker.run_many,
    }
