"""The REST application on loopback, with a real gate and a runnerd without a kernel behind it.

    async with serving(tmp_path) as served:
        answer = await served.get("/v1/jobs")       # .status, .headers, .json, .body

Without TLS: the subject is what the header `Test-Subject` says, "alice" without it. Bindings: alice
and bob are submitters, chief an admin, eve a viewer, op an operator, none has no role; busy is an
admin who may ask twice and then has to wait for long; mallory's certificate was revoked, nobody
else is known.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from aiohttp import web

from gateway.door import http_settings
from gateway.identity import Certificate
from gateway.metrics import Metrics
from gateway.policy import Binding, Bounds, Policy
from gateway.rest.app import make_app
from gateway.rest.server import RestRunner
from gateway.rest.services import Bounds as RestBounds
from gateway.rest.services import Services
from gateway.session import Gate
from gateway.upstream import OURSELVES, Upstream
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30.0
GROUP = "9b1d5a5e-0000-4000-8000-000000000001"
SCHEDULE = "5c0e5a5e-0000-4000-8000-000000000001"
JOB = "3f2a5a5e-0000-4000-8000-000000000001"
_MANY = Bounds(
    requests_per_second=100_000,
    burst=100_000,
    submissions_per_second=100_000,
    submission_burst=100_000,
    in_flight=1000,
    streams=1000,
)
_TWO = Bounds(requests_per_second=0.001, burst=2)
GROUP_SUMMARY: dict[str, Any] = {
    "group": GROUP, "kind": "flow", "name": "release", "state": "running", "ok": None, "size": 2,
    "max_running": None, "submitted_by_uid": 1000, "user": "alice", "submitted_ns": 17,
    "ended_ns": None, "queue": "default", "argv": [],
    "counts": {"queued": 1, "starting": 0, "running": 1, "paused": 0, "ok": 0, "failed": 0,
               "skipped": 0, "removed": 0},
    "first": 0, "last": 1,
}  # fmt: skip
SCHEDULE_ENTRY: dict[str, Any] = {
    "schedule": SCHEDULE, "name": "backup", "submitted_by_uid": 1000, "every": "@daily",
    "zone": None, "missed": "once", "overlap": "allow", "paused": False, "created_ns": 5,
    "next_ns": 99, "last_job": None, "last_ns": None, "last_error": None, "runs": 0, "failed": 0,
    "skipped": 0, "argv": ["backup", b"\xff"], "queue": None,
}  # fmt: skip
_SCHEDULED = {"schedule": SCHEDULE, "paused": False, "next_ns": 99}
ANSWERS: dict[str, dict[str, Any]] = {
    "submit_array": {"group": GROUP, "kind": "array", "jobs": 3, "existing": False},
    "submit_flow": {"group": GROUP, "kind": "flow", "jobs": 2, "existing": False},
    "group": {**GROUP_SUMMARY, "hooks": [], "members": [], "next": None},
    "stop_group": {"group": GROUP, "jobs": 2, "queued": 1, "running": 1},
    "retry_group": {"group": GROUP, "jobs": 1},
    "remove_group": {"group": GROUP, "jobs": 2},
    "hold_group": {"group": GROUP, "jobs": 1, "held": True},
    "update_group": {"group": GROUP, "jobs": 1, "max_running": 3},
    "wait_group": {**GROUP_SUMMARY, "failed": None},
    "schedule": _SCHEDULED,
    "schedule_pause": _SCHEDULED,
    "schedule_resume": _SCHEDULED,
    "schedule_run": {"schedule": SCHEDULE, "job": JOB},
    "schedule_remove": {"schedule": SCHEDULE},
    "schedules": {"schedules": [SCHEDULE_ENTRY], "next": 17},
    "schedule_status": {**SCHEDULE_ENTRY, "next_times_ns": [99, 100], "submit": {"argv": ["b"]}},
    "queue": {"name": "batch", "paused": True, "max_running": 4},
}


class _Policies:
    def __init__(self) -> None:
        self.policy = Policy(
            [
                Binding(match=f"CN={name}", user=name, users=users, roles=frozenset({role}),
                        bounds=_MANY)
                for name, role, users in (
                    ("alice", "submitter", ("bob",)), ("bob", "submitter", ()),
                    ("eve", "viewer", ()), ("op", "operator", ()), ("chief", "admin", ("alice",)),
                )
            ] + [
                Binding(match="CN=none", user="none", bounds=_MANY),
                Binding(match="CN=busy", user="busy", roles=frozenset({"admin"}), bounds=_TWO),
            ]
        )  # fmt: skip


class _Trust:
    def refusal(self, certificate: Certificate) -> str | None:
        return "it was revoked" if certificate.common_name == "mallory" else None


class _Audit(list[Mapping[str, Any]]):
    def write(self, entry: Mapping[str, Any]) -> None:
        self.append(entry)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def text(self) -> str:
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        return (gzip.decompress(self.body) if is_packed else self.body).decode()


class Served:
    def __init__(
        self,
        runner: RestRunner,
        double: UpstreamDouble,
        audit: _Audit,
        gate: Gate,
        http: aiohttp.ClientSession,
    ) -> None:
        self.gate = gate
        self.runner = runner
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.double = double
        self.audit = audit
        self.http = http

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        async with self.http.request(method, self.url + path, **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("GET", path, headers=named)

    async def submit(self, *argv: str, **fields: Any) -> str:
        answer = await self.ask("POST", "/v1/jobs", json={"argv": list(argv), **fields})
        assert answer.status in (200, 201), answer.body
        return str(answer.json["job"])


def certify(request: web.Request) -> Certificate:
    subject = request.headers.get("Test-Subject", "alice")
    return Certificate((), subject, "3f", "CN=ca", 2**33, "ab" * 32)


@asynccontextmanager
async def serving(
    directory: Path, bounds: RestBounds | None = None, header_bytes: int = 8192
) -> AsyncIterator[Served]:
    async with UpstreamDouble(str(directory / "s")) as double:
        double.answers |= ANSWERS
        ours = Upstream(double.path)
        metrics, audit = Metrics(lambda: ours.request(OURSELVES, "stats", {})), _Audit()
        gate = Gate(
            policies=_Policies(), trust=_Trust(), audit=audit, metrics=metrics, upstream=ours
        )
        services = Services(gate, metrics, ours.greeting, bounds or RestBounds())
        settings = http_settings(header_bytes=header_bytes, idle_seconds=60)
        runner = RestRunner(make_app(services, certify=certify), shutdown_timeout=1, **settings)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with aiohttp.ClientSession(auto_decompress=False) as http:
                yield Served(runner, double, audit, gate, http)
        finally:
            await runner.cleanup()
            ours.close()


def run(body: Any) -> None:
    """Run a test's coroutine, for a bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await body

    asyncio.run(bounded())


class Background:
    """A gateway in a loop of its own, for a fuzzer that blocks."""

    def __init__(self, directory: Path, bounds: RestBounds | None = None) -> None:
        self._directory, self._bounds = directory, bounds
        self._ready: Future[tuple[Served, str]] = Future()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    async def _serve(self) -> None:
        try:
            async with serving(self._directory, self._bounds, 2**20) as here:
                job = await here.submit("echo", "x", name="done")
                self._ready.set_result((here, job))
                await self._end.wait()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def start(self) -> tuple[Served, str]:
        self._thread.start()
        return self._ready.result(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        self._loop.close()
