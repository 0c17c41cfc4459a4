"""A runnerd without a kernel: docs/PROTOCOL.md over a real Unix socket, jobs in memory.

For tests of translation. `echo WORDS` writes its words and ends with 0, `fail N` ends with status
N, `sleep` runs until it is stopped or `end`ed; what runs may be given output with `write`. What is
refused, and how, follows runnerd; rights are only those of ownership. It can be stopped and
started again, as a daemon that is restarted: jobs, output and events stay.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from contextlib import suppress
from typing import Any, Self

from client import protocol

ENDED = "ended"
Message = dict[str, Any]


class Refused(Exception):  # noqa: N818  as the daemon calls it
    def __init__(self, code: str, **data: Any) -> None:
        super().__init__(code)
        self.error = {"code": code, **data}


class DoubleJob:
    def __init__(self, args: Message, user: str) -> None:
        self.id = str(uuid.uuid4())
        self.args = args
        self.user = user
        self.argv: list[str] = args["argv"]
        self.name: str | None = args.get("name")
        self.state = "running"
        self.queue = args.get("queue") or "default"
        self.priority = args.get("priority") or 0
        self.output = bytearray()
        self.runs: list[list[int]] = []
        self.result: Message | None = None
        self.held_by: int | None = None
        self.submitted_ns = time.time_ns()
        self.ended_ns: int | None = None

    def summary(self) -> Message:
        has_started = self.state != "queued"
        return {
            "job": self.id, "name": self.name, "state": self.state, "uid": 1000, "gid": 1000,
            "user": self.user, "submitted_by_uid": 1000, "argv": self.argv,
            "cwd": self.args["cwd"], "network": self.args.get("network") or "none",
            "pid": 4242 if has_started and self.state != ENDED else None,
            "submitted_ns": self.submitted_ns,
            "started_ns": self.submitted_ns + 1 if has_started else None,
            "ended_ns": self.ended_ns, "result": self.result, "queue": self.queue,
            "priority": self.priority, "attempt": 1, "labels": self.args.get("labels") or {},
            "held_by_uid": self.held_by, "not_before_ns": None, "deadline_ns": None,
            "reserve": {"millicpus": 0, "memory_bytes": 0},
            "waits_for": "held" if self.state == "queued" else None,
            "group": None, "member": None, "group_name": None, "step": None,
            "fate": None if self.result is None else
            ("ok" if self.result["exit_status"] == 0 else "failed"),
        }  # fmt: skip

    def status(self) -> Message:
        is_live = self.state in ("running", "paused")
        return {
            **self.summary(), "retry": None, "after": [], "attempts": [],
            "idempotency_key": self.args.get("idempotency_key"),
            "limits": self.args.get("limits") or {},
            "logs": {"segment_bytes": 16 * 2**20, "keep_bytes": 2**30, "compression": "none",
                     "on_full": "wait", "keep_segments": 1024},
            "sandbox": {}, "net": {"address": None}, "hooks": [],
            "usage": {"cpu_usec": 10, "memory_bytes": 4096, "memory_peak_bytes": 8192, "pids": 1}
            if is_live else None,
        }  # fmt: skip


def result(reason: str, code: int | None, signal: int | None, log_bytes: int) -> Message:
    status = code if code is not None else 128 + (signal or 0)
    return {
        "reason": reason, "exit_code": code, "signal": signal, "exit_status": status,
        "detail": None, "stopped_by_uid": 1000 if reason == "stopped" else None,
        "wall_ns": 1_000_000, "cpu_usec": 900, "cpu_user_usec": 600, "cpu_system_usec": 300,
        "memory_peak_bytes": 65536, "oom_kills": 0, "pids_peak": 1, "pids_max_hits": 0,
        "io_read_bytes": 0, "io_write_bytes": None, "log_bytes": log_bytes,
        "log_dropped_bytes": 0, "paused_ns": 0, "throttled_usec": 0, "memory_high_hits": 0,
        "cpu_pressure_usec": 0, "memory_pressure_usec": 0, "io_pressure_usec": 0, "denied": None,
    }  # fmt: skip


class UpstreamDouble:
    """`seen` are all requests as (user, op, args); `refuse[op]`: what one fails with."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.jobs: dict[str, DoubleJob] = {}
        self.keys: dict[str, str] = {}
        self.events: list[Message] = []
        self.seen: list[tuple[str, str, Message]] = []
        self.origins: list[str] = []
        self.refuse: dict[str, Message] = {}
        self.answers: dict[str, Message] = dict(_ANSWERS)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """As when the process is killed: the socket's file stays, connections end."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.close()
        while self._connections:
            await asyncio.sleep(0)
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    # What tests do to jobs

    async def write(self, job: str, data: bytes, stream: int = 1) -> None:
        self._write(self.jobs[job], data, stream)
        await self._tell()

    async def end(self, job: str, code: int = 0) -> None:
        self._end(self.jobs[job], result("exit", code, None, len(self.jobs[job].output)))
        await self._tell()

    def ops(self, op: str) -> list[Message]:
        return [args for _, each, args in self.seen if each == op]

    # Inside

    def _write(self, job: DoubleJob, data: bytes, stream: int) -> None:
        job.output += data
        job.runs.append([stream, len(data), time.time_ns()])

    def _end(self, job: DoubleJob, how: Message) -> None:
        job.state, job.result, job.ended_ns = ENDED, how, time.time_ns()
        self._event(job, "ended", {"reason": how["reason"]})

    def _event(self, job: DoubleJob, kind: str, data: Message) -> None:
        self.events.append(
            {"seq": len(self.events) + 1, "time_ns": time.time_ns(), "job": job.id, "kind": kind,
             "data": data}
        )  # fmt: skip

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def find(self, user: str, text: str) -> DoubleJob:
        mine = [job for job in self.jobs.values() if job.user == user]
        found = [job for job in mine if job.id == text]
        found = found or [job for job in mine if len(text) >= 4 and job.id.startswith(text)]
        found = found or [job for job in mine if job.name == text][-1:]
        if not found:
            raise Refused("no-such-job", given=text)
        if len(found) > 1:
            raise Refused("ambiguous-job", given=text, candidates=[job.id for job in found])
        return found[0]

    def submit(self, user: str, args: Message) -> Message:
        if not args.get("argv"):
            raise Refused("invalid-argument", field="argv", given="[]", allowed="1 to 4096 items")
        if "cwd" not in args:
            raise Refused("invalid-argument", field="cwd", allowed="it is required")
        if (queue := args.get("queue")) not in (None, "default", "batch"):
            raise Refused("no-such-queue", field="queue", given=queue, allowed="default, batch")
        key = args.get("idempotency_key")
        if key is not None and key in self.keys:
            known = self.jobs[self.keys[key]]
            if known.argv != args["argv"]:
                raise Refused("key-in-use", field="idempotency_key", given=key)
            return {"job": known.id, "state": known.state, "existing": True}
        job = DoubleJob(args, user)
        self.jobs[job.id] = job
        if key is not None:
            self.keys[key] = job.id
        self._event(job, "submitted", {})
        self._start(job)
        return {"job": job.id, "state": job.state, "existing": False}

    def _start(self, job: DoubleJob) -> None:
        if job.args.get("hold"):
            job.state, job.held_by = "queued", 1000
            return
        self._event(job, "started", {})
        command, *words = [protocol.to_text(word) for word in job.argv]
        if command.endswith("echo"):
            self._write(job, " ".join(words).encode("utf-8", "surrogateescape") + b"\n", 1)
            self._end(job, result("exit", 0, None, len(job.output)))
        elif command.endswith("fail"):
            self._write(job, b"it failed\n", 2)
            self._end(job, result("exit", int(words[0]), None, len(job.output)))

    def one(self, user: str, op: str, args: Message) -> Message:
        """What a request is answered that needs no waiting."""
        if op == "submit":
            return self.submit(user, args)
        if op in ("list", "stop_many"):
            return self._many(user, op, args)
        if op in _ABOUT_A_JOB:
            return self._about(self.find(user, args["job"]), op, args)
        if op in self.answers:
            return self.answers[op]
        raise Refused("unknown-op", field="op", given=op)

    def _many(self, user: str, op: str, args: Message) -> Message:
        mine = [job for job in reversed(self.jobs.values()) if job.user == user]
        select = args.get("select") or {}
        states = select.get("states")
        if states:
            mine = [job for job in mine if job.state in states]
        elif not args.get("ended"):
            mine = [job for job in mine if job.state != ENDED]
        if name := select.get("name"):
            mine = [job for job in mine if job.name == name]
        if op == "list":
            before = int(args.get("before") or 0)
            page = mine[before : before + (args.get("limit") or 500)]
            more = before + len(page) < len(mine)
            return {"jobs": [job.summary() for job in page],
                    "next": str(before + len(page)) if more else None}  # fmt: skip
        for job in mine:
            self._about(job, "stop", {})
        return {"jobs": len(mine), "queued": 0, "running": len(mine), "ids": [j.id for j in mine]}

    def _about(self, job: DoubleJob, op: str, args: Message) -> Message:
        if op == "status":
            return job.status()
        if op == "stop":
            if job.state != ENDED:
                self._end(job, result("stopped", None, 15, len(job.output)))
            return {"job": job.id, "state": job.state}
        if op == "remove":
            if job.state != ENDED:
                raise Refused("job-active", given=job.id)
            del self.jobs[job.id]
            return {"job": job.id}
        if op == "why":
            return {"job": job.id, "state": job.state, "because": [], "ahead": None,
                    "start_ns": None, "result": job.result}  # fmt: skip
        if op == "locate":
            return {"cursor": 0, "stdout": 0, "stderr": 0, "end": len(job.output), "attempt": 1}
        if job.state == ENDED and op != "retry":
            raise Refused("job-state", given=job.state, detail="the job has ended")
        return self._change(job, op, args)

    def _change(self, job: DoubleJob, op: str, args: Message) -> Message:
        if op == "move":
            job.queue = args.get("queue") or job.queue
            return {"job": job.id, "queue": job.queue, "priority": job.priority}
        if op == "update":
            job.args = {**job.args, "limits": {**(job.args.get("limits") or {}),
                                               **(args.get("limits") or {})}}  # fmt: skip
            job.priority = args.get("priority", job.priority)
            return job.status()
        job.state = {"pause": "paused", "resume": "running", "hold": "queued",
                     "release": "running", "retry": "queued"}[op]  # fmt: skip
        if op == "retry":
            return {"job": job.id, "state": job.state, "attempt": 2}
        return {"job": job.id, "state": job.state}


_ABOUT_A_JOB = (
    "status", "stop", "remove", "why", "locate", "pause", "resume", "hold", "release", "update",
    "retry", "move",
)  # fmt: skip
_ANSWERS: dict[str, Message] = {
    "queues": {
        "queues": [
            {"name": "default", "priority": 0, "max_running": None, "paused": False,
             "allowed": True, "max_priority": 0, "queued": 0, "running": 0},
            {"name": "batch", "priority": -1, "max_running": 4, "paused": False,
             "allowed": True, "max_priority": 0, "queued": 0, "running": 0},
        ],
        "capacity": {"slots": 256, "millicpus": 2000, "memory_bytes": 2**33},
        "promised": {"jobs": 0, "millicpus": 0, "memory_bytes": 0},
        "own": {"queued": 0, "running": 0, "millicpus": 0, "memory_bytes": 0},
        "quota": {"max_queued": None, "max_running": None, "max_millicpus": None,
                  "max_memory_bytes": None, "max_log_bytes": None},
    },
    "doctor": {
        "server": "runnerd 0.1.0", "kernel": "7.2.0", "cgroup_root": "/sys/fs/cgroup/runnerd",
        "state_dir": "/var/lib/runnerd", "jobs": {"running": 0}, "draining": False,
        "launcher": {"kind": "native", "why": None},
        "disk": {"size_bytes": 2**40, "free_bytes": 2**39, "inodes": 0, "free_inodes": 0,
                 "store_bytes": None, "jobs_bytes": 0, "users": []},
        "problems": [],
        "features": [{"name": "memory", "status": "enforced", "why": None, "remedy": None}],
    },
    "schedules": {"schedules": [], "next": None},
    "drain": {"draining": False, "running": 0, "queued": 0},
    "prune": {"jobs": 0, "bytes": 0, "removed": []},
}  # fmt: skip


class _Connection:
    def __init__(
        self, double: UpstreamDouble, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._double = double
        self._reader = reader
        self._writer = writer
        self._user = "gateway"
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credit: dict[int, int] = {}
        self._more = asyncio.Event()

    def close(self) -> None:
        self._writer.transport.abort()

    async def run(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(4)
                body = await self._reader.readexactly(protocol.frame_length(header))
                self._take(protocol.decode_body(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()

    def _take(self, request: Message) -> None:
        number, op, args = request["id"], request["op"], request["args"]
        if op == "credit":
            self._credit[number] = self._credit.get(number, 0) + args["events"]
            self._more.set()
        elif op == "cancel":
            if task := self._tasks.get(number):
                task.cancel()
        elif op != "signal":
            self._tasks[number] = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Message) -> None:
        number, op, args = request["id"], request["op"], request["args"]
        self._double.seen.append((self._user, op, args))
        try:
            self._send({"id": number, "ok": await self._done(number, op, args)})
        except Refused as refused:
            self._send({"id": number, "error": refused.error})
        except asyncio.CancelledError:
            self._send({"id": number, "error": {"code": "cancelled"}})
        finally:
            self._tasks.pop(number, None)
        await self._double._tell()

    async def _done(self, number: int, op: str, args: Message) -> Message:
        if op in self._double.refuse:
            raise Refused(**self._double.refuse[op])
        if op == "hello":
            if act := args.get("act_for"):
                self._user = act["user"]
                self._double.origins.append(act.get("origin", ""))
            return {"protocol": 1, "server": "runnerd 0.1.0", "uid": 1000, "admin": False,
                    "features": ["logs.follow", "act-for"], "draining": False,
                    "max_frame_bytes": protocol.MAX_FRAME_BYTES}  # fmt: skip
        self._credit.setdefault(number, args.get("credit", 0))
        if op == "logs":
            return await self._logs(number, args)
        if op == "events":
            return await self._events(number, args)
        if op == "wait":
            job = self._double.find(self._user, args["job"])
            await self._until(lambda: job.state == ENDED, args.get("timeout_seconds"))
            return job.status()
        return self._double.one(self._user, op, args)

    async def _logs(self, number: int, args: Message) -> Message:
        job = self._double.find(self._user, args["job"])
        cursor, seq = args.get("cursor", 0), 0
        if cursor > len(job.output):
            raise Refused(
                "invalid-argument", field="cursor", given=cursor, allowed="at most the end"
            )
        while True:
            offset = 0
            for stream, length, at in list(job.runs):
                if offset + length > cursor:
                    skip = max(cursor - offset, 0)
                    data = bytes(job.output[offset + skip : offset + length])
                    seq += 1
                    event = {
                        "offset": offset + skip,
                        "runs": [[stream, len(data), at]],
                        "data": data,
                    }
                    await self._emit(number, seq, event)
                    cursor = offset + length
                offset += length
            if job.state == ENDED or not args.get("follow"):
                return {"cursor": cursor, "status": job.status()}
            await self._until(lambda at=cursor: job.state == ENDED or len(job.output) > at, None)

    async def _events(self, number: int, args: Message) -> Message:
        events, seq = self._double.events, 0
        since = len(events) if args.get("since") is None else args["since"]
        while True:
            for event in events[since:]:
                if args.get("job") in (None, event["job"]):
                    seq += 1
                    await self._emit(number, seq, event)
                since = event["seq"]
            if not args.get("follow"):
                return {"next": since}
            await self._until(lambda at=since: len(events) > at, None)

    async def _emit(self, number: int, seq: int, event: Message) -> None:
        while self._credit.get(number, 0) < 1:
            self._more.clear()
            await self._more.wait()
        self._credit[number] -= 1
        self._send({"id": number, "seq": seq, "event": event})

    async def _until(self, condition: Any, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._double.changed:
                await self._double.changed.wait_for(condition)

    def _send(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(protocol.encode_frame(message))
