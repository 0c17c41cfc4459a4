"""What a real runnerd answers is of the types that the OpenAPI document says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.rest import answers, answers_more, answers_output
from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from tests.kernel.gateway.harness import RunningGateway

WORK: dict[str, Any] = {
    "argv": ["sh", "-c", 'echo out; echo err >&2; printf "%s" "$1"; exit 3', "sh",
             {"base64": "/w=="}],
    "env": [{"name": "CI", "value": {"base64": "/g=="}}],
    "name": "typed",
    "labels": {"team": "x"},
    "limits": {"memory_max_bytes": 64 * 2**20, "pids_max": 8, "timeout_seconds": 30,
               "rlimits": {"core": [0, None]}},
    "logs": {"compression": "none"},
    "sandbox": {"filesystem": "readonly", "tmpfs": [{"path": "/mnt"}]},
    "retry": {"limit": 1, "on": ["exit"]},
    "hooks": [{"on": ["ended"], "argv": ["true"]}],
}  # fmt: skip


def get(gateway: RunningGateway, path: str, kind: Any) -> Any:
    answer = gateway.rest("alice", "GET", path)
    assert answer.status == 200, answer.body
    msgspec.convert(answer.json, kind)
    return answer.json


def ask(
    gateway: RunningGateway, method: str, path: str, kind: Any, body: Any = None, status: int = 200
) -> Any:
    answer = gateway.rest("alice", method, path, body)
    assert answer.status == status, answer.body
    msgspec.convert(answer.json, kind)
    return answer.json


def ended(gateway: RunningGateway, path: str, kind: Any) -> Any:
    wait_until(lambda: get(gateway, path, kind)["state"] == "ended")
    return get(gateway, path, kind)


def test_a_job_with_most_options_is_as_its_type_says(gateway: RunningGateway) -> None:
    job = ask(gateway, "POST", "/v1/jobs", answers.Submitted, WORK, 201)["job"]
    status = ended(gateway, f"/v1/jobs/{job}", answers.JobStatus)
    assert (status["result"]["exit_status"], status["attempt"]) == (3, 2)
    assert status["output"]["stdout"] == {"base64": "b3V0Cv8="}
    assert status["output"]["stderr"] == "err\n"
    assert status["argv"][-1] == {"base64": "/w=="}
    page = get(gateway, f"/v1/jobs/{job}/logs?attempt=1&limit=4", answers_output.LogPage)
    assert page["records"][0]["text"] == "out\n"
    get(gateway, f"/v1/jobs/{job}/logs", answers_output.LogPage)
    for path, kind in (
        ("stats", answers.Stats),
        ("why", answers.Why),
        ("locate?lines=1", answers_output.Location),
        ("wait?timeout_seconds=1", answers.JobStatus),
    ):
        get(gateway, f"/v1/jobs/{job}/{path}", kind)
    lines = gateway.rest("alice", "GET", f"/v1/jobs/{job}/logs?follow=true&cursor=0&format=jsonl")
    kinds = [json.loads(line)["kind"] for line in lines.body.splitlines()]
    assert "attempt" in kinds
    assert kinds[-1] == "end"


def test_verbs_answer_as_their_types_say(gateway: RunningGateway) -> None:
    job = ask(gateway, "POST", "/jobs", answers.Submitted, {"argv": ["sleep", "99"]}, 201)["job"]
    path = f"/v1/jobs/{job}"
    wait_until(lambda: get(gateway, path, answers.JobStatus)["state"] == "running")
    assert get(gateway, f"{path}/stats", answers.Stats)["usage"]["pids"] == 1
    change = {"limits": {"pids_max": 5}}
    assert ask(gateway, "PATCH", path, answers.Updated, change)["limits"]["pids_max"] == 5
    ask(gateway, "POST", f"{path}/pause", answers.JobState)
    ask(gateway, "POST", f"{path}/resume", answers.JobState)
    held = {"argv": ["true"], "hold": True}
    queued = ask(gateway, "POST", "/jobs", answers.Submitted, held, 201)["job"]
    ask(gateway, "POST", f"/v1/jobs/{queued}/move", answers.Moved, {"top": True})
    ask(gateway, "POST", f"/v1/jobs/{queued}/hold", answers.JobState)
    why = get(gateway, f"/v1/jobs/{queued}/why", answers.Why)
    assert why["because"][0]["cause"] == "held"
    jobs = get(gateway, "/jobs?limit=1", answers.Jobs)
    assert jobs["next_page_token"]
    again = get(gateway, f"/jobs?page_token={jobs['next_page_token']}", answers.Jobs)
    assert {each["job"] for each in (*jobs["jobs"], *again["jobs"])} >= {job, queued}
    ask(gateway, "DELETE", path, answers.Stopped, status=202)
    ended(gateway, path, answers.JobStatus)
    assert ask(gateway, "DELETE", "/jobs", answers.StoppedMany)["jobs"] == 1
    ask(gateway, "POST", f"/v1/jobs/{queued}/retry", answers.Retried)
    ended(gateway, f"/v1/jobs/{queued}", answers.JobStatus)
    ask(gateway, "DELETE", f"/v1/jobs/{queued}/record", answers.Removed)
    events = get(gateway, "/v1/events?since=0", answers_output.EventPage)
    assert {"submit", "started", "pause", "finish", "remove"} <= {
        e["kind"] for e in events["events"]
    }


def test_groups_and_schedules_answer_as_their_types_say(gateway: RunningGateway) -> None:
    made = {"submit": {"argv": ["true"], "name": "sweep"}, "array": {"ranges": [[0, 3, 1]]}}
    array = ask(gateway, "POST", "/v1/arrays", answers_more.SubmittedGroup, made, 201)["group"]
    flow = {
        "name": "release",
        "steps": [
            {"name": "build", "submit": {"argv": ["sh", "-c", "echo $CI"]}},
            {"name": "test", "submit": {"argv": ["false"]}, "needs": [{"step": "build"}]},
        ],
        "env": {"CI": "yes"},
    }
    group = ask(gateway, "POST", "/v1/flows", answers_more.SubmittedGroup, flow, 201)["group"]
    for each in (array, group):
        path = f"/v1/groups/{each}"
        wait_until(
            lambda p=path: (
                get(gateway, f"{p}/wait?timeout_seconds=5", answers_more.GroupEnd)["state"]
                == "ended"
            ),
        )
    shown = get(gateway, f"/v1/groups/{group}?limit=1", answers_more.GroupStatus)
    rest = f"/v1/groups/{group}?page_token={shown['next_page_token']}"
    assert get(gateway, rest, answers_more.GroupStatus)["members"][0]["step"] == "test"
    logs = gateway.rest("alice", "GET", "/v1/jobs/release.build/logs", Accept="text/plain")
    assert logs.body == b"yes\n"
    groups = get(gateway, "/v1/groups?ended=true", answers_more.Groups)["groups"]
    assert {array, group} <= {each["group"] for each in groups}
    assert gateway.rest("alice", "GET", "/v1/jobs/release").json["code"] == "is-group"
    ask(gateway, "POST", f"/v1/groups/{group}/retry", answers_more.ChangedGroup)
    ask(gateway, "PATCH", f"/v1/groups/{group}", answers_more.UpdatedGroup, {"max_running": 1})
    ask(gateway, "DELETE", f"/v1/groups/{array}/record", answers_more.ChangedGroup)
    work = {"every": "@daily", "submit": {"argv": ["true"]}, "name": "daily"}
    ask(gateway, "POST", "/v1/schedules", answers_more.Scheduled, work, 201)
    get(gateway, "/v1/schedules", answers_more.Schedules)
    status = get(gateway, "/v1/schedules/daily", answers_more.ScheduleStatus)
    assert status["submit"]["cwd"] == "/home/alice"
    ask(gateway, "POST", "/v1/schedules/daily/pause", answers_more.Scheduled)
    ask(gateway, "POST", "/v1/schedules/daily/resume", answers_more.Scheduled)
    ask(gateway, "POST", "/v1/schedules/daily/run", answers_more.ScheduleRun, status=201)
    ask(gateway, "DELETE", "/v1/schedules/daily", answers_more.ScheduleRemoved)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/queues", answers_more.Queues), ("/v1/doctor", answers_more.Doctor),
     ("/v1/whoami", answers_more.WhoAmI), ("/healthz", answers_more.Health)],
)  # fmt: skip
def test_the_host_answers_as_the_types_say(gateway: RunningGateway, path: str, kind: Any) -> None:
    get(gateway, path, kind)
