"""Who may ask at all, how often, and with how many bytes at once: before anything is read."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.rest import app, bodies
from gateway.rest.routes import ROUTES
from gateway.rest.services import Bounds
from gateway.verbs import VERBS
from tests.unit.gateway.rest.served import Served, run, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.rest.calls import Route

JSON = {"Content-Type": "application/json"}
OPERATIONS = [route for route in ROUTES if route.op is not None]


def address(route: Route, job: str = "none") -> str:
    path = route.paths[0].replace("{code}", "internal").replace("{queue}", "batch")
    for part in ("{job}", "{group}", "{schedule}"):
        path = path.replace(part, job)
    return path


# How often


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/jobs/a/b/c", {}, 404),
        ("PUT", "/v1/jobs", {"data": b"x" * 100}, 405),
        ("OPTIONS", "/", {}, 405),
        ("GET", "/v1/whoami", {}, 200),
        ("GET", "/v1/whoami?no=1", {}, 400),
        ("GET", "/healthz", {}, 200),
        ("HEAD", "/healthz", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/docs/docs.css", {}, 200),
        ("GET", "/problems/internal", {}, 200),
        ("GET", "/problems/none", {}, 404),
        ("GET", "/metrics", {}, 200),
        ("GET", "/metrics", {"headers": {"Accept": "image/png"}}, 406),
        ("GET", "/v1/jobs?no=1", {}, 400),
        ("GET", "/v1/jobs", {"data": b"{}"}, 400),
        ("GET", "/v1/queues", {}, 200),
        ("GET", "/v1/queues", {"headers": {"Runner-User": "root"}}, 403),
        ("GET", "/v1/queues", {"headers": {"Runner-User": "busy"}}, 200),
        ("GET", "/v1/jobs/a/logs?cursor=x", {}, 400),
        ("POST", "/v1/jobs", {"headers": {"Origin": "https://elsewhere"}}, 403),
        ("POST", "/v1/jobs", {"data": b"{", "headers": JSON}, 400),
        ("POST", "/v1/jobs", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/jobs", {"json": {"argv": ["true"]}}, 201),
    ],
)
def test_each_request_takes_one_and_is_refused_when_there_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    more: dict[str, Any],
    status: int,
) -> None:
    monkeypatch.setattr(app, "_HELD_BACK_SECONDS", 0.0)

    async def body() -> None:
        async with serving(tmp_path) as here:
            headers = {"Test-Subject": "busy", **more.pop("headers", {})}
            got = [(await here.ask(method, path, headers=headers, **more)) for _ in range(2)]
            assert [answer.status for answer in got] == [status, status]
            asked = len(here.double.seen)
            refused = await here.ask(method, path, headers=headers, **more)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1000")
            assert len(here.double.seen) == asked
            assert here.audit[-1]["code"] == "too-many-requests"
            # Not at another one's cost.
            assert (await here.get("/v1/whoami")).status == 200

    run(body())


def test_who_asks_too_often_waits_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_HELD_BACK_SECONDS", 0.4)

    async def body() -> None:
        async with serving(tmp_path) as here:
            for _ in range(2):
                await here.get("/nothing", Test_Subject="busy")
            began = time.monotonic()
            flood = [
                asyncio.create_task(here.get("/nothing", Test_Subject="busy")) for _ in range(3)
            ]
            while here.audit[-1:] == [] or here.audit[-1]["code"] != "too-many-requests":
                await asyncio.sleep(0)
            assert (await here.get("/v1/queues")).status == 200
            assert not any(one.done() for one in flood)
            assert {(await one).status for one in flood} == {429}
            assert time.monotonic() - began >= 0.4
            # More than may wait are told at once.
            monkeypatch.setattr(app, "_HELD_BACK_SECONDS", 1000.0)
            monkeypatch.setattr(app, "_MOST_HELD_BACK", 0)
            assert (await here.get("/nothing", Test_Subject="busy")).status == 429

    run(body())


def test_two_users_are_counted_and_none_of_them_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_HELD_BACK_SECONDS", 0.0)

    async def body() -> None:
        async with serving(tmp_path) as here:
            headers = [("Test-Subject", "busy"), ("Runner-User", "busy"), ("Runner-User", "busy")]
            for path in ("/v1/queues", "/nothing"):
                answer = await here.ask("GET", path, headers=headers)
                assert (answer.status, answer.json["field"]) == (400, "Runner-User")
            assert (await here.ask("GET", "/v1/queues", headers=headers)).status == 429
            assert here.double.seen == []

    run(body())


# Whether at all


def test_what_is_no_operation_is_named_here() -> None:
    own = {route.name for route in ROUTES if route.op is None}
    documents = {"getHome", "getOpenApi", "getDocs", "getDocsStyle", "getDocsScript", "getProblem"}
    assert own == {"whoAmI", "health", *documents}
    assert {route.op for route in OPERATIONS} <= set(VERBS)
    assert all(route.body is None for route in ROUTES if route.op is None)


def test_who_has_no_role_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            headers = {"Test-Subject": "none", "Origin": "https://elsewhere", "Accept": "image/png"}
            for route in OPERATIONS:
                path = f"{address(route)}?no=1"
                answer = await here.ask(route.method, path, headers=headers)
                assert (answer.status, answer.json["code"]) == (403, "not-permitted")
                assert f"may not ask for {route.op}" in answer.json["detail"]
                line = here.audit[-1]
                assert (line["verb"], line["decision"]) == (route.op, "denied")
                assert line["request"] == answer.headers["X-Request-Id"]
            assert here.double.seen == []

    run(body())


def test_a_route_is_admitted_for_what_it_asks(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            job = await here.submit("echo", "x")
            for route in OPERATIONS:
                if route.body is None:
                    here.audit.clear()
                    path = f"{address(route, job)}?timeout_seconds=0".removesuffix(
                        "" if route.path.endswith("/wait") else "?timeout_seconds=0"
                    )
                    await here.ask(route.method, path, headers={"Test-Subject": "chief"})
                    assert here.audit[0]["verb"] == route.op, path

    run(body())


# Bytes at once


@asynccontextmanager
async def half_sent(here: Served, sent: int, whole: int) -> AsyncIterator[asyncio.StreamReader]:
    """A body of which a part came."""
    host, port = here.runner.addresses[0][:2]
    reader, writer = await asyncio.open_connection(host, port)
    head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {whole}\r\n\r\n".encode() + b" " * sent)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def held(here: Served, size: int) -> None:
    """Wait until alice has so many bytes in hand."""
    while here.gate.rates._accounts["CN=alice"].held != size:
        await asyncio.sleep(0.005)


def test_bodies_that_come_at_once_are_bounded_by_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 100_000)

    async def body() -> None:
        async with serving(tmp_path, Bounds(body_bytes=70_000)) as here:
            await here.get("/v1/queues")
            async with half_sent(here, 60_000, 65_000):
                await held(here, 60_000)
                async with half_sent(here, 60_000, 60_000) as second:
                    assert b" 429 " in await second.readline()
                    assert b"Retry-After: 1\r\n" in await second.readuntil(b"\r\n\r\n")
                await held(here, 60_000)
                assert here.audit[-1]["code"] == "too-many-requests"
                # Neither small ones nor another one's have to wait.
                await here.submit("true")
                large = {"json": {"argv": ["x" * 60_000]}, "headers": {"Test-Subject": "bob"}}
                assert (await here.ask("POST", "/v1/jobs", **large)).status == 201
            await held(here, 0)
            await here.submit("x" * 60_000)
            await held(here, 0)

    run(body())


@pytest.mark.parametrize(("data", "status"), [(b"{", 400), (b" " * 80_000, 413)])
def test_a_body_that_was_refused_is_held_no_longer(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    async def body() -> None:
        async with serving(tmp_path, Bounds(body_bytes=70_000, slow_seconds=0.2)) as here:
            answer = await here.ask("POST", "/v1/jobs", data=chunks(), headers=JSON)
            assert answer.status == status
            await held(here, 0)
            async with half_sent(here, 100, 200) as reader:
                assert b" 408 " in await reader.readline()
            await held(here, 0)

    run(body())


def test_one_body_alone_may_be_larger_than_many_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 10)

    async def body() -> None:
        async with serving(tmp_path, Bounds(body_bytes=70_000)) as here:
            await here.submit("x" * 60_000)

    run(body())


# Documents


def test_a_document_is_packed_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            for path in ("/openapi.json", "/docs/docs.js", "/problems/internal"):
                first = await here.get(path, Accept_Encoding="gzip")
                packed = app._packed_once.cache_info().misses, app._digest_once.cache_info().misses
                again = await here.get(path, Accept_Encoding="gzip")
                assert (first.status, again.body) == (200, first.body)
                assert packed == (
                    app._packed_once.cache_info().misses, app._digest_once.cache_info().misses,
                )  # fmt: skip

    run(body())
