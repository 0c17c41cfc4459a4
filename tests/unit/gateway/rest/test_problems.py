"""What is refused, and how: problem details for everything, whoever refuses it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from client.errors import RequestRefused
from gateway.codes import CODES
from gateway.rest.problem_pages import MEANINGS
from gateway.rest.problems import all_codes, problem, status_of
from gateway.rest.services import Bounds
from tests.unit.gateway.rest.served import Served, run, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

JSON = {"Content-Type": "application/json"}


def served(
    path: Path, body: Callable[[Served], Awaitable[None]], bounds: Bounds | None = None
) -> None:
    async def inside() -> None:
        async with serving(path, bounds) as here:
            await body(here)

    run(inside())


def check(answer: Any, status: int, code: str) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    found = answer.json
    assert (found["status"], found["code"]) == (status, code)
    assert found["type"] == f"/problems/{code}"
    assert found["title"]
    assert found["detail"]


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_refusal_of_runnerd_has_its_status(tmp_path: Path, code: str) -> None:
    async def body(here: Served) -> None:
        here.double.refuse["status"] = {"code": code, "field": "job", "given": b"\xff" * 9}
        if code == "is-group":
            here.double.refuse["status"] |= {"group": "9b1d", "kind": "flow", "jobs": 2}
        answer = await here.get("/v1/jobs/abcd")
        # Of what is in flight when the daemon ends no client of ours was cancelled.
        said = "shutting-down" if code == "cancelled" else code
        check(answer, status_of(said), said)
        if answer.status in (429, 503):
            assert int(answer.headers["Retry-After"]) >= 1
        if code != "cancelled":
            assert answer.json["field"] == "job"
            assert answer.json["given"] == {"base64": "////////////"}
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]

    served(tmp_path, body)


def test_the_data_of_a_refusal_is_there(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        here.double.refuse["status"] = {
            "code": "is-group", "given": "sweep", "group": "9b1d", "kind": "array", "jobs": 7,
        }  # fmt: skip
        found = (await here.get("/v1/jobs/sweep")).json
        assert (found["group"], found["kind"], found["jobs"]) == ("9b1d", "array", 7)
        here.double.refuse["status"] = {
            "code": "ambiguous-job", "given": "3f2a", "candidates": ["3f2a1", "3f2a2"],
        }  # fmt: skip
        assert (await here.get("/v1/jobs/3f2a")).json["candidates"] == ["3f2a1", "3f2a2"]

    served(tmp_path, body)


def test_a_code_of_a_newer_runnerd_is_passed_on(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        here.double.refuse["status"] = {"code": "moon-phase", "detail": "it is waning"}
        check(await here.get("/v1/jobs/abcd"), 409, "moon-phase")
        here.double.refuse["status"] = {"code": "<script>"}
        assert (await here.get("/v1/jobs/abcd")).json["type"] == "/problems/unknown"

    served(tmp_path, body)


def test_long_values_are_cut() -> None:
    found, _ = problem(RequestRefused("invalid-argument", field="x", given="y" * 10_000))
    assert len(str(found.given)) < 600


def test_a_defect_says_nothing_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found, _ = problem(RuntimeError("the secret"))
    assert (found.status, found.code) == (500, "internal")
    assert "secret" not in str(found.detail)

    async def body(here: Served) -> None:
        here.double.answers["queues"] = {"queues": 1}
        here.double.one = lambda *_: {"no": "job"}  # type: ignore[method-assign]
        answer = await here.get("/v1/jobs/abcd")
        check(answer, 500, "internal")

    served(tmp_path, body)
    assert "GET /v1/jobs/abcd failed" in caplog.text


def test_an_address_that_is_none_and_a_method_that_is_not_for_it(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        check(await here.get("/v2/jobs"), 404, "not-found")
        check(await here.get("/v1/jobs/a/b"), 404, "not-found")
        check(await here.get("/jobs/abcd/stats"), 404, "not-found")
        answer = await here.ask("PUT", "/v1/jobs")
        check(answer, 405, "method-not-allowed")
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, POST"
        check(await here.ask("OPTIONS", "/jobs"), 405, "method-not-allowed")
        assert "Access-Control-Allow-Origin" not in answer.headers

    served(tmp_path, body)


@pytest.mark.parametrize("path", ["/v1/jobs", "/openapi.json", "/healthz", "/metrics", "/docs"])
def test_a_certificate_that_does_not_count_gets_nowhere(tmp_path: Path, path: str) -> None:
    async def body(here: Served) -> None:
        answer = await here.get(path, Test_Subject="mallory")
        check(answer, 401, "unauthenticated")
        assert answer.json["detail"] == "it was revoked"

    served(tmp_path, body)


def test_who_is_not_in_the_policy_sees_nothing_and_who_has_no_role_documents(
    tmp_path: Path,
) -> None:
    async def body(here: Served) -> None:
        own = ("/healthz", "/openapi.json", "/docs", "/problems/not-permitted", "/v1/whoami")
        for path in (*own, "/v1/jobs", "/metrics", "/nothing"):
            answer = await here.get(path, Test_Subject="stranger")
            check(answer, 403, "not-permitted")
            assert answer.headers["Connection"] == "close"
        for path in own:
            assert (await here.get(path, Test_Subject="none")).status == 200
        # Totals are of all users.
        for subject in ("none", "eve", "alice"):
            check(await here.get("/metrics", Test_Subject=subject), 403, "not-permitted")
        assert (await here.get("/metrics", Test_Subject="chief")).status == 200

    served(tmp_path, body)


def test_roles_and_users_are_those_of_the_policy(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        work = {"json": {"argv": ["sleep"]}}
        for subject in ("eve", "op"):
            answer = await here.ask("POST", "/jobs", headers={"Test-Subject": subject}, **work)
            check(answer, 403, "not-permitted")
        headers = {"Runner-User": "bob"}
        assert (await here.ask("POST", "/jobs", headers=headers, **work)).status == 201
        assert here.double.seen[-1][0] == "bob"
        assert (await here.get("/v1/whoami", Runner_User="bob")).json["user"] == "bob"
        check(await here.get("/v1/jobs", Runner_User="chief"), 403, "not-permitted")
        check(await here.get("/v1/jobs", Runner_User="root"), 403, "not-permitted")

    served(tmp_path, body)


def test_a_trace_reaches_the_audit_log_and_each_request_has_a_line(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = await here.get("/v1/queues", traceparent=trace)
        (line,) = here.audit
        assert line["request"] == answer.headers["X-Request-Id"]
        assert (line["api"], line["verb"], line["remote"]) == ("rest", "queues", "127.0.0.1")
        assert line["trace"] == "0af7651916cd43dd8448eb211c80319c"

    served(tmp_path, body)


def test_runnerd_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        assert (await here.get("/healthz")).json == {"status": "ok", "detail": None}
        await here.double.stop()
        for path in ("/v1/jobs", "/v1/jobs/a/logs?follow=true", "/v1/events?follow=true"):
            answer = await here.get(path)
            check(answer, 503, "unavailable")
            assert answer.headers["Retry-After"] == "2"
        health = await here.get("/healthz")
        assert (health.status, health.json["status"]) == (503, "unavailable")
        assert str(here.double.path) not in health.body.decode()
        await here.double.start()
        assert (await here.get("/v1/jobs")).status == 200

    served(tmp_path, body)


@pytest.mark.parametrize(
    ("data", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"null", 400, None),
        (b"[]", 400, None),
        (b"{}", 400, "argv"),
        (b'{"argv": []}', 400, "argv"),
        (b'{"argv": ["x"], "no": 1}', 400, "no"),
        (b'{"argv": ["x"], "limits": {"pids_max": 0}}', 400, "limits.pids_max"),
        (b'{"argv": ["x"], "limits": {"pids_max": "1"}}', 400, "limits.pids_max"),
        (b'{"argv": ["x"], "limits": {"no": 1}}', 400, "limits.no"),
        (b'{"argv": ["x", 1]}', 400, "argv[1]"),
        (b'{"argv": ["x", {"base64": "?"}]}', 400, "argv[1].base64"),
        (b'{"argv": ["\xff"]}', 400, None),
        (b'{"argv": ["\\ud800"]}', 400, None),
        (b'{"argv": ["x"], "name": "a b"}', 400, "name"),
        (b'{"argv": ["x"], "priority": 1e99}', 400, "priority"),
        (b'{"argv": ["x"], "priority": NaN}', 400, None),
        (b'{"argv": ' + b"[" * 100_000, 400, None),
        (b'{"argv": ' + b'{"a":' * 100_000, 400, None),
        (b'{"argv": ["' + b"x" * 5000 + b'"]}', 413, None),
    ],
)
def test_a_hostile_body_is_refused_before_runnerd_is_asked(
    tmp_path: Path, data: bytes, status: int, field: str | None
) -> None:
    async def body(here: Served) -> None:
        answer = await here.ask("POST", "/v1/jobs", data=data, headers=JSON)
        assert answer.status == status
        assert answer.json.get("field") == field
        assert here.double.ops("submit") == []

    bounds = Bounds(body_bytes=4096) if status == 413 else None
    served(tmp_path, body, bounds)


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "text/plain"}, {"Content-Type": "application/jsonx"}, {},
     {"Content-Type": "application/json", "Content-Encoding": "gzip"}],
)  # fmt: skip
def test_a_body_in_another_form_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async def body(here: Served) -> None:
        skip = [] if "Content-Type" in headers else ["Content-Type"]
        answer = await here.ask(
            "POST", "/v1/jobs", data=b'{"argv":["x"]}', headers=headers, skip_auto_headers=skip
        )
        check(answer, 415, "unsupported-media-type")

    served(tmp_path, body)


def test_json_has_other_names(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        for name in ("application/merge-patch+json", "Application/JSON; charset=utf-8"):
            answer = await here.ask(
                "PATCH", f"/v1/jobs/{job}", data=b'{"priority": 1}',
                headers={"Content-Type": name},
            )  # fmt: skip
            assert answer.status == 200

    served(tmp_path, body)


def test_a_body_where_none_is_meant_is_refused(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        check(await here.ask("DELETE", "/v1/jobs", json={"state": ["queued"]}), 400, "bad-request")
        assert here.double.ops("stop_many") == []

    served(tmp_path, body)


def test_what_nobody_accepts_is_not_sent(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        check(await here.get("/v1/jobs", Accept="text/csv"), 406, "not-acceptable")
        check(await here.get("/v1/jobs", Accept="application/json;q=0"), 406, "not-acceptable")
        for fine in ("*/*", "application/*", "text/csv, application/json;q=0.1", ""):
            assert (await here.get("/v1/jobs", Accept=fine)).status == 200

    served(tmp_path, body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.test"}, 403),
        ({"Origin": "https://other.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://gateway.test"}, 200),
        ({"Origin": "https://gateway.test", "Host": "gateway.test"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_pages_of_other_sites_change_nothing_with_the_certificate_of_a_browser(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        answer = await here.ask("POST", f"/v1/jobs/{job}/pause", headers=headers)
        assert answer.status == status
        assert len(here.double.ops("pause")) == (status == 200)

    served(tmp_path, body)


async def raw(here: Served, data: bytes, more: bytes = b"", pause: float = 0) -> bytes:
    port = int(here.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if more:
            await asyncio.sleep(pause)
            writer.write(more)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n", 400, "bad-request"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "header-too-large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431,
         "header-too-large"),
        ((b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
         b"\r\n"), 400, "bad-request"),
        ((b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, "bad-request"),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413,
         "body-too-large"),
        (b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", 408, "request-timeout"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_a_problem_and_ends_the_connection(
    tmp_path: Path, data: bytes, status: int, code: str
) -> None:
    async def body(here: Served) -> None:
        head, _, content = (await raw(here, data)).partition(b"\r\n\r\n")
        assert head.startswith(tuple(f"HTTP/1.{n} {status} ".encode() for n in (0, 1))), head
        assert b"application/problem+json" in head
        assert json.loads(content)["code"] == code

    served(tmp_path, body, Bounds(slow_seconds=0.2))


def test_each_answer_has_headers_that_keep_browsers_in_check(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        for path in ("/v1/jobs", "/nowhere", "/docs", "/healthz"):
            headers = (await here.get(path)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "Server" not in headers

    served(tmp_path, body)


def test_each_problem_has_a_page(tmp_path: Path) -> None:
    assert set(MEANINGS) == set(all_codes())

    async def body(here: Served) -> None:
        for code in all_codes():
            answer = await here.get(f"/problems/{code}", Accept="text/html")
            assert answer.status == 200
            assert f"<code>{code}</code>" in answer.body.decode()
        check(await here.get("/problems/none"), 404, "not-found")

    served(tmp_path, body)


def test_who_may_not_ask_is_told_so_before_the_body_has_come(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        host, port = here.runner.addresses[0][:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"POST /v1/flows HTTP/1.1\r\nHost: x\r\nTest-Subject: eve\r\n"
            b"Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
        )
        assert b" 403 " in await reader.readline()
        writer.close()
        await writer.wait_closed()

    served(tmp_path, body)


def test_two_keys_and_more_variables_than_runnerd_is_told_are_refused(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
        answer = await here.ask("POST", "/v1/jobs", json={"argv": ["x"]}, headers=keys)
        check(answer, 400, "invalid-argument")
        assert answer.json["field"] == "Idempotency-Key"
        for env in (
            {f"V{number}": "" for number in range(4001)},
            [{"name": f"V{number}", "value": ""} for number in range(4001)],
        ):
            answer = await here.ask("POST", "/v1/jobs", json={"argv": ["x"], "env": env})
            check(answer, 400, "invalid-argument")
            assert answer.json["field"] == "env"
        assert here.double.seen == []
        await here.submit("x", env={f"V{number}": "" for number in range(4000)})

    served(tmp_path, body)


@pytest.mark.parametrize("body", [b"[]" * 150_000, b'{"argv": ' + b"[" * 40 + b"]" * 40 + b"}"])
def test_a_body_of_nothing_but_brackets_is_refused_soon(tmp_path: Path, body: bytes) -> None:
    async def ask(here: Served) -> None:
        headers = {"Content-Type": "application/json"}
        check(await here.ask("POST", "/v1/jobs", data=body, headers=headers), 400, "bad-request")

    served(tmp_path, ask)
