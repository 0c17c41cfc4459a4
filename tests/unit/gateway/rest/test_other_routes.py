"""Groups, schedules, queues and upkeep: each route asks its operation, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
import pytest

from gateway.rest import answers, answers_more, answers_output
from tests.unit.gateway.rest.served import (
    GROUP,
    GROUP_SUMMARY,
    JOB,
    SCHEDULE,
    Served,
    run,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CHIEF = {"Test-Subject": "chief"}


def served(path: Path, body: Callable[[Served], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with serving(path) as here:
            await body(here)

    run(inside())


@pytest.mark.parametrize(
    ("method", "path", "body", "op", "args", "status"),
    [
        ("GET", "/groups/sweep", None, "group", {"group": "sweep", "limit": 100}, 200),
        ("GET", "/groups/s?limit=0&page_token=bWVtYmVycy41", None, "group",
         {"group": "s", "limit": 0, "after": 5}, 200),
        ("DELETE", "/groups/s?kill=true", None, "stop_group", {"group": "s", "kill": True}, 202),
        ("PATCH", "/groups/s", {"max_running": None, "priority": 3}, "update_group",
         {"group": "s", "max_running": None, "priority": 3}, 200),
        ("DELETE", "/groups/s/record", None, "remove_group", {"group": "s"}, 200),
        ("GET", "/groups/s/wait?timeout_seconds=1", None, "wait_group",
         {"group": "s", "timeout_seconds": 1.0}, 200),
        ("POST", "/groups/s/retry", None, "retry_group", {"group": "s"}, 200),
        ("POST", "/groups/s/hold", {}, "hold_group", {"group": "s", "held": True}, 200),
        ("POST", "/groups/s/release", {}, "hold_group", {"group": "s", "held": False}, 200),
        ("GET", "/schedules?limit=5", None, "schedules", {"limit": 5}, 200),
        ("GET", "/schedules/b", None, "schedule_status", {"schedule": "b"}, 200),
        ("DELETE", "/schedules/b", None, "schedule_remove", {"schedule": "b"}, 200),
        ("POST", "/schedules/b/pause", None, "schedule_pause", {"schedule": "b"}, 200),
        ("POST", "/schedules/b/resume", None, "schedule_resume", {"schedule": "b"}, 200),
        ("POST", "/schedules/b/run", None, "schedule_run", {"schedule": "b"}, 201),
        ("GET", "/queues", None, "queues", {}, 200),
        ("PATCH", "/queues/batch", {"paused": True, "max_running": None}, "queue",
         {"name": "batch", "paused": True, "max_running": None}, 200),
        ("POST", "/prune", {"older_than_seconds": 5, "dry_run": True}, "prune",
         {"older_than_seconds": 5.0, "everybody": False, "dry_run": True}, 200),
        ("POST", "/drain", {"stop": True}, "drain",
         {"timeout_seconds": 0.0, "stop": True, "cancel": False, "begin": True}, 200),
        ("POST", "/drain", {"cancel": True}, "drain", {"cancel": True}, 200),
        ("GET", "/doctor", None, "doctor", {}, 200),
    ],
)  # fmt: skip
def test_a_route_asks_its_operation(
    tmp_path: Path, method: str, path: str, body: Any, op: str, args: Any, status: int
) -> None:
    async def check(here: Served) -> None:
        more = {} if body is None else {"json": body}
        answer = await here.ask(method, f"/v1{path}", headers=CHIEF, **more)
        assert answer.status == status, answer.body
        asked = here.double.ops(op)
        assert asked == [args]

    served(tmp_path, check)


def test_an_array_is_submitted(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        asked = {"submit": {"argv": ["sweep"]}, "array": {"ranges": [[0, 9, 1]], "max_running": 2}}
        answer = await here.ask(
            "POST", "/v1/arrays", json=asked, headers={"Idempotency-Key": "once"}
        )
        assert (answer.status, answer.headers["Location"]) == (201, f"/v1/groups/{GROUP}")
        (args,) = here.double.ops("submit_array")
        assert args["array"] == asked["array"]
        assert (args["submit"]["cwd"], args["submit"]["idempotency_key"]) == ("/", "once")
        here.double.answers["submit_array"] = {
            **here.double.answers["submit_array"], "existing": True,
        }  # fmt: skip
        assert (await here.ask("POST", "/v1/arrays", json=asked)).status == 200

    served(tmp_path, body)


def test_a_flow_is_submitted_step_by_step(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        asked = {
            "name": "release",
            "env": {"CI": "1"},
            "steps": [
                {"name": "build", "submit": {"argv": ["make"], "cwd": "/srv"}},
                {"name": "test.1", "submit": {"argv": [{"base64": "/w=="}]},
                 "needs": [{"step": "build"}], "values": {"py": "3.11"}},
            ],
        }  # fmt: skip
        answer = await here.ask("POST", "/v1/flows", json=asked, headers={"Idempotency-Key": "k"})
        assert answer.status == 201
        (args,) = here.double.ops("submit_flow")
        first, second = (msgpack.unpackb(step) for step in args["steps"])
        assert first == {"name": "build", "submit": {"argv": ["make"], "cwd": "/srv"}}
        assert second["submit"] == {"argv": [b"\xff"], "cwd": "/"}
        assert second["needs"] == [{"step": "build", "on": "ok"}]
        assert args["env"]["CI"] == "1"
        assert "PATH" in args["env"]
        assert args["idempotency_key"] == "k"

    served(tmp_path, body)


def test_a_schedule_is_made(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        asked = {"every": "@daily", "submit": {"argv": ["backup"]}, "name": "backup"}
        answer = await here.ask("POST", "/v1/schedules", json=asked)
        assert (answer.status, answer.headers["Location"]) == (201, f"/v1/schedules/{SCHEDULE}")
        (args,) = here.double.ops("schedule")
        assert (args["missed"], args["overlap"], args["paused"]) == ("once", "allow", False)
        assert args["submit"]["cwd"] == "/"
        ran = await here.ask("POST", "/v1/schedules/backup/run")
        assert ran.headers["Location"] == f"/v1/jobs/{JOB}"
        page = await here.get("/v1/schedules")
        assert page.json["schedules"][0]["argv"] == ["backup", {"base64": "/w=="}]
        token = page.json["next_page_token"]
        await here.get(f"/v1/schedules?page_token={token}")
        assert here.double.ops("schedules")[-1]["after"] == 17

    served(tmp_path, body)


def test_groups_are_listed_out_of_jobs(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("sleep")
        original = here.double.one

        def listed(user: str, op: str, args: Any) -> Any:
            answer = original(user, op, args)
            if op == "list":
                answer = {"jobs": [{"group_summary": GROUP_SUMMARY}, *answer["jobs"]], "next": 7}
            return answer

        here.double.one = listed  # type: ignore[method-assign]
        page = (await here.get("/v1/groups?ended=true")).json
        assert [group["group"] for group in page["groups"]] == [GROUP]
        assert job
        await here.get(f"/v1/groups?page_token={page['next_page_token']}")
        assert here.double.ops("list")[-1]["before"] == 7
        assert here.double.ops("list")[0]["collapse"] is True

    served(tmp_path, body)


def test_who_one_is(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        found = (await here.get("/v1/whoami")).json
        assert (found["user"], found["subject"], found["roles"]) == (
            "alice", "CN=alice", ["submitter"],
        )  # fmt: skip
        msgspec.convert(found, answers_more.WhoAmI)

    served(tmp_path, body)


def test_metrics_are_in_prometheus_format(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        await here.get("/v1/queues")
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
        for header, kind in (("*/*", "text/plain"), (accept, "application/openmetrics-text")):
            answer = await here.get("/metrics", Accept=header, Test_Subject="chief")
            assert answer.headers["Content-Type"].startswith(kind)
            assert 'requests_total{api="rest",code="ok",verb="queues"}' in answer.text

    served(tmp_path, body)


def test_answers_are_of_the_types_that_the_document_says(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        job = await here.submit("echo", "x")
        live = await here.submit("sleep")
        for path, kind in (
            (f"/v1/jobs/{job}", answers.JobStatus),
            (f"/v1/jobs/{live}/wait?timeout_seconds=0", answers.JobStatus),
            (f"/v1/jobs/{live}/stats", answers.Stats),
            (f"/v1/jobs/{job}/logs", answers_output.LogPage),
            ("/jobs/logs", answers.Jobs),
            ("/v1/events?since=0", answers_output.EventPage),
            ("/v1/groups/x", answers_more.GroupStatus),
            ("/v1/schedules", answers_more.Schedules),
            ("/v1/schedules/b", answers_more.ScheduleStatus),
            ("/v1/queues", answers_more.Queues),
            ("/v1/doctor", answers_more.Doctor),
        ):
            msgspec.convert((await here.get(path)).json, kind)

    served(tmp_path, body)


def test_the_documentation_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def body(here: Served) -> None:
        for path in ("/docs", "/docs/docs.css", "/docs/docs.js"):
            answer = await here.get(path)
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
            text = answer.text
            assert "http:" not in text
            assert "https:" not in text
            assert "innerHTML" not in text
            assert " style=" not in text
            assert "onclick" not in text

    served(tmp_path, body)
