"""The routes of jobs: each operation, each status, and what goes with it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.gateway.rest.served import Served, run, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


def served(path: Path, body: Callable[[Served], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with serving(path) as here:
            await body(here)

    run(inside())


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_first_six_routes_are_at_both_addresses(tmp_path: Path, prefix: str) -> None:
    async def body(here: Served) -> None:
        made = await here.ask("POST", f"{prefix}/jobs", json={"argv": ["echo", "hello"]})
        assert made.status == 201
        job = made.json["job"]
        assert made.headers["Location"] == f"/v1/jobs/{job}"
        shown = await here.get(f"{prefix}/jobs/{job}")
        assert shown.json["output"]["stdout"] == "hello\n"
        assert (await here.get(f"{prefix}/jobs")).json["jobs"] == []
        recorded = await here.get(f"{prefix}/jobs/logs")
        assert [each["job"] for each in recorded.json["jobs"]] == [job]
        other = await here.submit("sleep")
        stopped = await here.ask("DELETE", f"{prefix}/jobs/{other}")
        assert stopped.status == 200
        assert stopped.json["state"] == "ended"
        assert (await here.ask("DELETE", f"{prefix}/jobs")).json["jobs"] == 0

    served(tmp_path, body)


def test_a_job_that_runs_has_no_output_yet_and_an_ended_one_has(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        assert "output" not in (await here.get(f"/v1/jobs/{job}")).json
        await here.double.write(job, b"so far\n")
        await here.double.write(job, b"\xff\xfe", 2)
        await here.double.end(job)
        output = (await here.get(f"/v1/jobs/{job}")).json["output"]
        assert output["stdout"] == "so far\n"
        assert output["stderr"] == {"base64": "//4="}
        assert output["more"] is None

    served(tmp_path, body)


def test_the_output_of_a_status_is_bounded_and_says_where_the_rest_is(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "0123456789")
        output = (await here.get(f"/v1/jobs/{job}?output_bytes=4")).json["output"]
        assert output["stdout"] == "0123"
        rest = await here.get(output["more"], Accept="text/plain")
        assert rest.body == b"456789\n"
        assert "output" not in (await here.get(f"/v1/jobs/{job}?output_bytes=0")).json

    served(tmp_path, body)


def test_who_may_not_read_output_is_shown_the_job_without_it(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "x")
        here.double.refuse["logs"] = {"code": "not-permitted"}
        assert (await here.get(f"/v1/jobs/{job}")).json["output"] is None

    served(tmp_path, body)


def test_what_a_job_uses_is_asked_by_itself(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        assert "usage" not in (await here.get(f"/v1/jobs/{job}")).json
        stats = (await here.get(f"/v1/jobs/{job}/stats")).json
        assert stats["usage"]["memory_bytes"] == 4096
        assert stats["result"] is None

    served(tmp_path, body)


def test_a_submission_reaches_runnerd_field_by_field(tmp_path: Path) -> None:
    submission: dict[str, Any] = {
        "argv": ["make", {"base64": "/w=="}],
        "cwd": "/srv",
        "env": [{"name": {"base64": "/g=="}, "value": "1"}, {"name": "CI", "value": "yes"}],
        "name": "build",
        "limits": {"memory_max_bytes": 8388608, "pids_max": None, "rlimits": {"core": [0, None]}},
        "sandbox": {"readable": ["/srv"], "binds": [{"source": "/a", "target": "/b"}]},
        "labels": {"team": "x"},
        "after": [{"job": "abcd"}],
        "umask": None,
    }

    async def body(here: Served) -> None:
        await here.submit(*submission.pop("argv"), **submission)
        (args,) = here.double.ops("submit")
        assert args["argv"] == ["make", b"\xff"]
        assert args["env"][b"\xfe"] == "1"
        assert args["env"]["CI"] == "yes"
        assert "PATH" in args["env"]
        assert args["limits"] == {"memory_max_bytes": 8388608, "rlimits": {"core": [0, None]}}
        assert args["sandbox"]["binds"] == [{"source": "/a", "target": "/b"}]
        assert args["after"] == [{"job": "abcd", "on": "ok"}]
        assert "umask" not in args

    served(tmp_path, body)


def test_a_command_alone_is_enough(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        await here.submit("true")
        (args,) = here.double.ops("submit")
        assert args["cwd"] == "/"
        assert args["env"]["PATH"]

    served(tmp_path, body)


@pytest.mark.parametrize("key", ["abc", '"abc"'])
def test_the_same_key_gives_the_same_job(tmp_path: Path, key: str) -> None:
    async def body(here: Served) -> None:
        async def submit(word: str) -> Any:
            headers = {"Idempotency-Key": key}
            return await here.ask("POST", "/v1/jobs", json={"argv": [word]}, headers=headers)

        first, second, other = await submit("sleep"), await submit("sleep"), await submit("echo")
        assert (first.status, second.status, other.status) == (201, 200, 409)
        assert first.json["job"] == second.json["job"]
        assert second.json["existing"] is True
        assert other.json["code"] == "key-in-use"
        assert here.double.ops("submit")[0]["idempotency_key"] == "abc"

    served(tmp_path, body)


@pytest.mark.parametrize("key", ['"a b"', "", '"', "ä", "x" * 129, '"a\\b"'])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    async def body(here: Served) -> None:
        headers = {"Idempotency-Key": key}
        answer = await here.ask("POST", "/v1/jobs", json={"argv": ["x"]}, headers=headers)
        assert answer.status == 400
        assert answer.json["field"] == "Idempotency-Key"

    served(tmp_path, body)


def test_two_different_keys_are_refused(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        work = {"argv": ["x"], "idempotency_key": "one"}
        answer = await here.ask("POST", "/jobs", json=work, headers={"Idempotency-Key": "two"})
        assert answer.status == 400

    served(tmp_path, body)


def test_a_tag_saves_the_second_answer_until_the_job_changes(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        first = await here.get(f"/v1/jobs/{job}")
        tag = first.headers["ETag"]
        again = await here.get(f"/v1/jobs/{job}", If_None_Match=f'"other", W/{tag}')
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == tag
        await here.double.end(job)
        assert (await here.get(f"/v1/jobs/{job}", If_None_Match=tag)).status == 200

    served(tmp_path, body)


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [("PATCH", "", {"json": {"priority": 1}}), ("DELETE", "", {}), ("DELETE", "/record", {})],
)
def test_nothing_is_changed_that_is_not_as_it_was_seen(
    tmp_path: Path, method: str, path: str, more: Any
) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        tag = (await here.get(f"/v1/jobs/{job}")).headers["ETag"]
        if path:
            await here.double.end(job)
        for known, status in (('"stale"', 412), (f"W/{tag}", 412)):
            answer = await here.ask(
                method, f"/v1/jobs/{job}{path}", headers={"If-Match": known}, **more
            )
            assert answer.status == status
            assert answer.json["code"] == "precondition-failed"
        tag = (await here.get(f"/v1/jobs/{job}", Accept_Encoding="gzip")).headers["ETag"]
        headers = {"If-Match": tag}
        assert (
            await here.ask(method, f"/v1/jobs/{job}{path}", headers=headers, **more)
        ).status == 200

    served(tmp_path, body)


def test_large_answers_are_packed_for_who_wants_that(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        for _ in range(4):
            await here.submit("sleep")
        plain = await here.get("/v1/jobs", Accept_Encoding="identity")
        packed = await here.get("/v1/jobs", Accept_Encoding="br, gzip;q=0.5")
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(packed.body) == plain.body
        refused = await here.get("/v1/jobs", Accept_Encoding="gzip;q=0, *")
        assert "Content-Encoding" not in refused.headers

    served(tmp_path, body)


def test_pages_lead_on_to_the_end(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        jobs = [await here.submit("sleep") for _ in range(5)]
        path, found = "/jobs?limit=2&queue=default", []
        while path:
            answer = await here.get(path)
            found += [job["job"] for job in answer.json["jobs"]]
            link = answer.headers.get("Link", "")
            assert bool(link) == bool(answer.json["next_page_token"])
            path = link.partition(">")[0].removeprefix("<")
        assert sorted(found) == sorted(jobs)
        assert {args["select"]["queue"] for args in here.double.ops("list")} == {"default"}

    served(tmp_path, body)


@pytest.mark.parametrize("token", ["x", "am9icy4tMQ", "Z3JvdXBzLjE", "%20"])
def test_a_page_token_that_was_not_given_out_is_refused(tmp_path: Path, token: str) -> None:
    async def body(here: Served) -> None:
        answer = await here.get(f"/v1/jobs?page_token={token}")
        assert (answer.status, answer.json["field"]) == (400, "page_token")

    served(tmp_path, body)


def test_filters_become_a_selection(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        query = (
            "state=running,ended&state=paused&name=x*&label=a=1&label=b&user=1000&group=sweep"
            "&queue=batch"
        )
        chief = {"Test-Subject": "chief"}
        listed = await here.ask("GET", f"/v1/jobs?{query}", headers=chief)
        path = f"/v1/jobs?{query}&kill=true&expect=0"
        ended = await here.ask("DELETE", path, headers=chief)
        assert (listed.status, ended.status) == (200, 200)
        select = {
            "states": ["running", "ended", "paused"],
            "name": "x*",
            "labels": {"a": "1", "b": None},
            "user": 1000,
            "group": "sweep",
            "queue": "batch",
        }
        (asked,), (stopped,) = here.double.ops("list"), here.double.ops("stop_many")
        assert asked["select"] == stopped["select"] == select
        assert stopped["kill"] is True
        assert stopped["expect"] == 0

    served(tmp_path, body)


def test_times_bound_a_list(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        jobs = [await here.submit("sleep") for _ in range(3)]
        times = [here.double.jobs[job].submitted_ns for job in jobs]
        found = (await here.get(f"/v1/jobs?since_ns={times[1]}&limit=2")).json
        assert [job["job"] for job in found["jobs"]] == [jobs[2], jobs[1]]
        found = (await here.get(f"/v1/jobs?since_ns={times[2]}&limit=2")).json
        assert ([job["job"] for job in found["jobs"]], found["next_page_token"]) == (
            [jobs[2]],
            None,
        )
        found = (await here.get(f"/v1/jobs?until_ns={times[0]}")).json
        assert [job["job"] for job in found["jobs"]] == [jobs[0]]

    served(tmp_path, body)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "state=gone", "unknown=1", "limit=1&limit=2", "label=%00",
     "user=", "since_ns=-1", "since_ns=1.5", f"since_ns={2**63}"],
)  # fmt: skip
def test_a_wrong_query_names_the_parameter(tmp_path: Path, query: str) -> None:
    async def body(here: Served) -> None:
        answer = await here.get(f"/v1/jobs?{query}")
        assert answer.status == 400
        assert answer.json["code"] == "invalid-argument"
        assert answer.json["field"].startswith(query.partition("=")[0])
        assert here.double.ops("list") == []

    served(tmp_path, body)


@pytest.mark.parametrize(
    ("verb", "op"),
    [("pause", "pause"), ("resume", "resume"), ("hold", "hold"), ("release", "release")],
)
def test_a_verb_asks_its_operation(tmp_path: Path, verb: str, op: str) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        answer = await here.ask("POST", f"/v1/jobs/{job}/{verb}")
        assert (answer.status, answer.json["job"]) == (200, job)
        assert here.double.ops(op) == [{"job": job}]
        with_body = await here.ask("POST", f"/v1/jobs/{job}/{verb}", json={})
        assert with_body.status == 200
        ended = await here.submit("echo")
        refused = await here.ask("POST", f"/v1/jobs/{ended}/{verb}")
        assert (refused.status, refused.json["code"]) == (409, "job-state")

    served(tmp_path, body)


def test_retry_move_update_why_wait_locate_and_remove(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        moved = await here.ask("POST", f"/v1/jobs/{job}/move", json={"queue": "batch"})
        assert moved.json["queue"] == "batch"
        changes = {"limits": {"pids_max": None, "memory_max_bytes": 8388608}, "priority": -5}
        updated = await here.ask("PATCH", f"/v1/jobs/{job}", json=changes)
        assert updated.json["priority"] == -5
        assert here.double.ops("update") == [{"job": job, **changes}]
        assert (await here.get(f"/v1/jobs/{job}/why")).json["because"] == []
        waited = await here.get(f"/v1/jobs/{job}/wait?timeout_seconds=0")
        assert waited.json["state"] == "running"
        assert (await here.ask("DELETE", f"/v1/jobs/{job}/record")).json["code"] == "job-active"
        await here.double.end(job)
        assert (await here.get(f"/v1/jobs/{job}/wait")).json["state"] == "ended"
        assert (await here.get(f"/v1/jobs/{job}/locate?lines=1&stream=stdout")).json["end"] == 0
        assert here.double.ops("locate") == [{"job": job, "lines": 1, "streams": [1]}]
        assert (await here.ask("POST", f"/v1/jobs/{job}/retry")).json["attempt"] == 2
        await here.double.end(job)
        assert (await here.ask("DELETE", f"/v1/jobs/{job}/record")).status == 200
        assert (await here.get(f"/v1/jobs/{job}")).status == 404

    served(tmp_path, body)


def test_stopping_says_whether_it_is_over(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        here.double.answers["stop"] = {"state": "running"}
        job = await here.submit("sleep")
        for state, status in (("running", 202), ("paused", 202), ("queued", 200), ("ended", 200)):
            here.double.one = lambda *_, state=state: {"state": state}  # type: ignore[method-assign]
            answer = await here.ask("DELETE", f"/v1/jobs/{job}?grace_seconds=0.5&kill=1")
            assert (answer.status, answer.json) == (status, {"job": job, "state": state})
        assert here.double.ops("stop")[0] == {"job": job, "kill": True, "grace_seconds": 0.5}

    served(tmp_path, body)


def test_head_is_get_without_a_body(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "x" * 2000)
        for path in (f"/v1/jobs/{job}", "/jobs", "/jobs/logs", "/openapi.json", "/healthz"):
            get, head = await here.get(path), await here.ask("HEAD", path)
            assert (head.status, head.body) == (200, b"")
            for name in ("Content-Type", "Content-Length", "ETag", "Content-Encoding"):
                assert head.headers.get(name) == get.headers.get(name), (path, name)

    served(tmp_path, body)


def test_bytes_of_the_system_are_shown_as_base64(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        here.double.jobs[job].argv = ["cat", b"\xff\x00"]  # type: ignore[list-item]
        shown = await here.get(f"/v1/jobs/{job}")
        assert shown.json["argv"] == ["cat", {"base64": "/wA="}]

    served(tmp_path, body)


def test_what_a_newer_runnerd_says_goes_through(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        here.double.answers["queues"] = {"queues": [], "moons": {"of": ["jupiter", b"\xff"]}}
        answer = await here.get("/v1/queues")
        assert json.loads(answer.body)["moons"] == {"of": ["jupiter", {"base64": "/w=="}]}

    served(tmp_path, body)
