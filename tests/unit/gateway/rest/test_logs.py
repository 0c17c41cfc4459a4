"""The output of a job: pages and streams, in each form, resumed, interrupted and cut off."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gateway.rest import output
from gateway.rest.services import Bounds
from tests.unit.gateway.rest.served import Served, run, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

SSE = {"Accept": "text/event-stream"}


def served(
    path: Path, body: Callable[[Served], Awaitable[None]], bounds: Bounds | None = None
) -> None:
    async def inside() -> None:
        async with serving(path, bounds) as here:
            await body(here)

    run(inside())


async def next_event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """One server-sent event; comments count as one of the kind "comment"."""
    event: dict[str, Any] = {}
    while (line := (await answer.content.readline()).decode().rstrip("\n")) or not event:
        if answer.content.at_eof() and not line:
            return event
        name, _, value = line.partition(": ")
        if name == "data":
            event["data"] = json.loads(value)
        elif name or value:
            event[name or "comment"] = value
    return event


async def events_of(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    found = []
    while event := await next_event(answer):
        found.append(event)
    return found


def test_a_page_has_records_and_says_where_the_next_begins(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"one\n")
        await here.double.write(job, b"two\n", 2)
        first = (await here.get(f"/v1/jobs/{job}/logs?limit=6")).json
        assert [(each["stream"], each["text"]) for each in first["records"]] == [
            ("stdout", "one\n"),
            ("stderr", "tw"),
        ]
        assert (first["cursor"], first["at_end"]) == ("6", False)
        second = (await here.get(f"/v1/jobs/{job}/logs?cursor=6")).json
        assert second["records"][0]["text"] == "o\n"
        assert (second["cursor"], second["at_end"], second["state"]) == ("8", True, "running")

    served(tmp_path, body)


def test_a_page_of_a_job_that_writes_byte_by_byte_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MOST_ITEMS", 3)

    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        for letter in b"abcdefg":
            await here.double.write(job, bytes([letter]))
        await here.double.end(job)
        found, cursor = b"", "0"
        for _ in range(4):
            page = await here.get(f"/v1/jobs/{job}/logs?format=raw&cursor={cursor}")
            assert len(page.body) <= 3
            found, cursor = found + page.body, page.headers["X-Next-Cursor"]
        assert (found, page.headers["X-At-End"]) == (b"abcdefg", "true")
        shown = (await here.get(f"/v1/jobs/{job}")).json["output"]
        assert shown["stdout"] == "abc"
        assert shown["more"].endswith("cursor=3")

    served(tmp_path, body)


def test_one_stream_alone_and_bytes_as_they_are(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"\xffout")
        await here.double.write(job, b"err", 2)
        raw = await here.get(f"/v1/jobs/{job}/logs", Accept="application/octet-stream")
        assert raw.body == b"\xffouterr"
        assert raw.headers["X-Next-Cursor"] == "7"
        assert raw.headers["X-At-End"] == "true"
        assert raw.headers["X-Content-Type-Options"] == "nosniff"
        out = await here.get(f"/v1/jobs/{job}/logs?stream=stdout&format=raw")
        assert out.body == b"\xffout"
        err = await here.get(f"/v1/jobs/{job}/logs?stream=stderr", Accept="text/plain")
        assert (err.body, err.headers["Content-Type"]) == (b"err", "text/plain; charset=utf-8")

    served(tmp_path, body)


def test_a_follower_is_sent_what_comes_and_the_end(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"first\n")
        url = f"{here.url}/v1/jobs/{job}/logs?follow=true"
        async with here.http.get(url, headers=SSE) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "retry" in await next_event(answer)
            event = await next_event(answer)
            assert (event["event"], event["id"], event["data"]["text"]) == (
                "output",
                "6",
                "first\n",
            )
            await here.double.write(job, b"second\n")
            assert (await next_event(answer))["data"]["text"] == "second\n"
            await here.double.end(job, 3)
            end = await next_event(answer)
            assert (end["event"], end["id"]) == ("end", "13;end")
            assert end["data"]["job"]["result"]["exit_status"] == 3
            assert await answer.content.read() == b""

    served(tmp_path, body)


def test_the_last_event_id_resumes_and_that_of_the_end_ends_it(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "0123456789")
        url = f"{here.url}/v1/jobs/{job}/logs?follow=true&cursor=0"
        async with here.http.get(url, headers={**SSE, "Last-Event-ID": "7"}) as answer:
            found = await events_of(answer)
        assert [event["data"].get("text") for event in found[1:]] == ["789\n", None]
        headers = {**SSE, "Last-Event-ID": found[-1]["id"]}
        assert (await here.ask("GET", url.removeprefix(here.url), headers=headers)).status == 204

    served(tmp_path, body)


def test_json_lines_and_bytes_follow_too(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"a\n")

        async def read(accept: str) -> bytes:
            answer = await here.get(f"/v1/jobs/{job}/logs?follow=1", Accept=accept)
            assert answer.headers["Content-Type"].startswith(accept if accept != "*/*" else "appl")
            return answer.body

        kinds = ("application/jsonl", "*/*", "application/octet-stream", "text/plain")
        readers = [asyncio.ensure_future(read(kind)) for kind in kinds]
        while len(here.double.ops("logs")) < len(kinds):
            await asyncio.sleep(0.01)
        await here.double.write(job, b"b\n", 2)
        await here.double.end(job)
        lines, same, raw, plain = await asyncio.gather(*readers)
        records = [json.loads(line) for line in lines.splitlines()]
        assert [each["kind"] for each in records] == ["output", "output", "end"]
        assert records[-1]["cursor"] == "4"
        assert records[-1]["job"]["state"] == "ended"
        assert same == lines
        assert raw == plain == b"a\nb\n"

    served(tmp_path, body)


def test_a_stream_that_does_not_follow_ends_with_what_is_there(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"a\n")
        lines = (await here.get(f"/v1/jobs/{job}/logs?format=jsonl")).body.splitlines()
        assert [json.loads(line)["kind"] for line in lines] == ["output", "end"]

    served(tmp_path, body)


def test_a_restart_of_runnerd_is_not_noticed(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"before\n")
        url = f"{here.url}/v1/jobs/{job}/logs?follow=true"
        async with here.http.get(url, headers=SSE) as answer:
            await next_event(answer)
            assert (await next_event(answer))["data"]["text"] == "before\n"
            await here.double.stop()
            await here.double.start()
            await here.double.write(job, b"after\n")
            assert (await next_event(answer))["data"]["text"] == "after\n"
            await here.double.end(job)
            assert (await next_event(answer))["event"] == "end"

    served(tmp_path, body)


def test_a_longer_absence_ends_the_stream_with_a_word_and_the_place(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        await here.double.write(job, b"before\n")
        url = f"{here.url}/v1/jobs/{job}/logs?follow=true"
        lines = asyncio.ensure_future(here.get(f"/v1/jobs/{job}/logs?follow=true"))
        raw = asyncio.ensure_future(here.get(f"/v1/jobs/{job}/logs?follow=true&format=raw"))
        async with here.http.get(url, headers=SSE) as answer:
            await next_event(answer)
            await next_event(answer)
            while len(here.double.ops("logs")) < 3:
                await asyncio.sleep(0.01)
            await here.double.stop()
            last = await next_event(answer)
            assert last["event"] == "interrupted"
            assert "id" not in last
            assert (last["data"]["code"], last["data"]["cursor"]) == ("unavailable", "7")
        assert json.loads((await lines).body.splitlines()[-1])["kind"] == "interrupted"
        # Of bytes nobody could tell an end from another: the connection breaks.
        with pytest.raises(Exception, match=r"payload|closed|Server"):
            await raw

    served(tmp_path, body, Bounds(borne_seconds=0.2))


def test_a_quiet_stream_shows_that_it_lives(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        async with here.http.get(
            f"{here.url}/v1/jobs/{job}/logs?follow=true", headers=SSE
        ) as answer:
            await next_event(answer)
            assert "comment" in await next_event(answer)
            await here.double.end(job)
            while (event := await next_event(answer)).get("event") != "end":
                assert "comment" in event

    served(tmp_path, body, Bounds(heartbeat_seconds=0.05))


def test_who_does_not_read_is_cut_off_and_runnerd_is_not_asked_for_more(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        for _ in range(64):
            await here.double.write(job, b"x" * 1_000_000)
        sent = 0
        with socket.create_connection(("127.0.0.1", int(here.url.rpartition(":")[2]))) as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
            request = f"GET /v1/jobs/{job}/logs?follow=true&format=raw HTTP/1.1\r\nHost: x\r\n\r\n"
            reader.sendall(request.encode())
            while not here.double.ops("logs"):
                await asyncio.sleep(0.01)
            async with asyncio.timeout(10):
                # The stream's end is the only thing that ends its request.
                while any(connection._tasks for connection in here.double._connections):
                    await asyncio.sleep(0.02)
            reader.settimeout(10)
            tail = b""
            while data := await asyncio.to_thread(reader.recv, 2**20):
                sent, tail = sent + len(data), (tail + data)[-5:]
        metrics = await here.get("/metrics", Test_Subject="chief")
        assert 'refusals_total{reason="slow-reader"} 1.0' in metrics.text
        # Not as a body ends: nobody takes it for the whole.
        assert tail != b"0\r\n\r\n"
        assert sent < 20_000_000

    served(tmp_path, body, Bounds(slow_seconds=0.3))


def test_who_goes_away_is_not_followed_for(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        async with here.http.get(
            f"{here.url}/v1/jobs/{job}/logs?follow=true", headers=SSE
        ) as answer:
            await next_event(answer)
        async with asyncio.timeout(5):
            while any(connection._tasks for connection in here.double._connections):
                await asyncio.sleep(0.01)

    served(tmp_path, body)


def test_a_gateway_that_ends_tells_its_readers(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            job = await here.submit("sleep")
            answer = await here.http.get(f"{here.url}/v1/jobs/{job}/logs?follow=true", headers=SSE)
            await next_event(answer)
            reader = asyncio.ensure_future(events_of(answer))
            await here.runner.cleanup()
            (last,) = await reader
            assert (last["event"], last["data"]["code"]) == ("interrupted", "shutting-down")

    run(body())


@pytest.mark.parametrize(
    ("query", "field"),
    [("cursor=x", "cursor"), ("cursor=2:5&attempt=1", "cursor"), ("attempt=0", "attempt"),
     ("limit=0", "limit"), ("follow=maybe", "follow"), ("stream=both", "stream"),
     ("cursor=99", "cursor"), ("cursor=99&follow=true", "cursor"), ("format=xml", "format")],
)  # fmt: skip
def test_a_wrong_place_is_refused_with_a_status(tmp_path: Path, query: str, field: str) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "x")
        answer = await here.get(f"/v1/jobs/{job}/logs?{query}")
        assert (answer.status, answer.json["field"]) == (400, field)

    served(tmp_path, body)


def test_a_stream_of_no_job_is_a_problem(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        for accept in ("text/event-stream", "text/plain", "*/*"):
            answer = await here.get("/v1/jobs/none/logs?follow=true", Accept=accept)
            assert (answer.status, answer.json["code"]) == (404, "no-such-job")
            assert answer.headers["Content-Type"] == "application/problem+json"

    served(tmp_path, body)


@pytest.mark.parametrize(
    ("query", "accept"),
    [("", "image/png"), ("follow=true", "application/json"), ("follow=true&format=json", "*/*")],
)
def test_a_form_that_is_not_to_be_had_is_refused(tmp_path: Path, query: str, accept: str) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "x")
        answer = await here.get(f"/v1/jobs/{job}/logs?{query}", Accept=accept)
        assert (answer.status, answer.json["code"]) == (406, "not-acceptable")
        assert "text/event-stream" in answer.json["allowed"]

    served(tmp_path, body)


def test_head_of_a_stream_does_not_follow(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        for query in ("follow=true", "follow=true&format=sse", ""):
            answer = await here.ask("HEAD", f"/v1/jobs/{job}/logs?{query}")
            assert (answer.status, answer.body) == (200, b"")
        assert (await here.ask("HEAD", "/v1/jobs/none/logs?follow=true")).status == 404

    served(tmp_path, body)


def test_events_are_followed_and_resumed(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        page = (await here.get("/v1/events?since=0&limit=1")).json
        assert (page["events"][0]["job"], page["next"]) == (job, 1)
        assert (await here.get("/v1/events?since=1")).json["next"] == 2
        assert (await here.get("/v1/events")).json == {"events": [], "gap": None, "next": 2}
        async with here.http.get(f"{here.url}/v1/events?follow=true", headers=SSE) as answer:
            assert answer.headers["X-Since"] == "2"
            await next_event(answer)
            await here.double.end(job)
            event = await next_event(answer)
            assert (event["event"], event["id"]) == ("job", "3")
        headers = {**SSE, "Last-Event-ID": "1"}
        async with here.http.get(
            f"{here.url}/v1/events?follow=true&since=0&job={job}", headers=headers
        ) as answer:
            await next_event(answer)
            assert [(await next_event(answer))["id"] for _ in range(2)] == ["2", "3"]
        lines = (await here.get("/v1/events?since=0&format=jsonl")).body.splitlines()
        assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]

    served(tmp_path, body)


def test_events_survive_a_restart_and_end_with_a_word(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        async with here.http.get(
            f"{here.url}/v1/events?follow=true&since=0", headers=SSE
        ) as answer:
            for _ in range(3):
                await next_event(answer)
            await here.double.stop()
            await here.double.start()
            await here.double.end(job)
            assert (await next_event(answer))["id"] == "3"
            await here.double.stop()
            assert (await next_event(answer))["event"] == "interrupted"

    served(tmp_path, body, Bounds(borne_seconds=0.3))


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [("since=-1", {}, "since"), ("limit=0", {}, "limit"),
     ("follow=true", {"Last-Event-ID": "x"}, "Last-Event-ID"),
     ("", {"Last-Event-ID": "9" * 30}, "Last-Event-ID")],
)  # fmt: skip
def test_a_wrong_number_of_an_event_is_refused(
    tmp_path: Path, query: str, headers: dict[str, str], field: str
) -> None:
    async def body(here: Served) -> None:
        answer = await here.ask("GET", f"/v1/events?{query}", headers=headers)
        assert (answer.status, answer.json["field"]) == (400, field)

    served(tmp_path, body)
