"""Verbs that are given an array or a flow: what they ask, and what they say."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from client.cli.flow_tree import state_of
from client.cli.group_words import has_failed, was_skipped
from tests.unit.client.conftest import JOB_ID, OTHER_ID, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

ID = "9b1d81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
SECOND = 10**9
# The operations on one job, which say what was named instead.
OF_JOBS = ("status", "wait", "retry", "remove", "update", "why", "pause", "resume", "move", "logs")


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def summary(**counts: int) -> dict[str, Any]:
    names = ("queued", "starting", "running", "paused", "ok", "failed", "skipped", "removed")
    size = sum(counts.values())
    has_ended = set(counts) <= {"ok", "failed", "skipped"}
    return {
        "group": ID, "kind": "array", "name": "sweep", "max_running": None,
        "state": "ended" if has_ended else "running",
        "ok": "failed" not in counts if has_ended else None,
        "size": size, "submitted_by_uid": 0, "user": "root", "queue": "default",
        "submitted_ns": 1_763_810_000 * SECOND, "argv": ["make", "a b"],
        "ended_ns": 1_763_810_060 * SECOND if has_ended else None,
        "counts": dict.fromkeys(names, 0) | counts, "first": 0, "last": size - 1,
    }  # fmt: skip


def member(number: int, code: int | None = None, **changes: object) -> dict[str, Any]:
    result = None if code is None else RESULT | {"exit_code": code, "exit_status": code}
    return {
        "job": f"{number:08x}-5d0f-4c3e-9d7e-0c6a3b1f2e4d", "name": f"sweep.{number}",
        "state": "queued" if code is None else "ended", "member": number, "group": ID,
        "step": None, "values": {}, "needs": [], "result": result, "waits_for": "slots",
        "user": "root", "argv": ["make"], "submitted_ns": SECOND, "started_ns": None,
        "ended_ns": None,
    } | changes  # fmt: skip


def serve(daemon: FakeDaemon, group: dict[str, Any], *members: dict[str, Any]) -> None:
    """Every name but the jobs' own is the group's; a page has two of its jobs."""

    def is_group(session: Session, request: dict[str, Any]) -> None:
        about = {"group": ID, "kind": group["kind"], "jobs": group["size"]}
        session.refuse(request, "is-group", field="job", given="'sweep'", **about)

    def show(session: Session, request: dict[str, Any]) -> None:
        args = request["args"]
        after = [each for each in members if each["member"] > args["after"]]
        page = after[: min(args["limit"], 2)]
        following = page[-1]["member"] if len(page) < len(after) and page else None
        session.ok(request, {**group, "members": page, "next": following})

    for op in OF_JOBS:
        daemon.handlers[op] = is_group
    daemon.handlers["group"] = show


# stop


def test_stop_says_how_many_once_all_have_ended(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(running=3, queued=40))
    stopped = {"group": ID, "jobs": 43, "queued": 40, "running": 3}
    daemon.answer("stop_group", stopped)
    daemon.answer("wait_group", {**summary(failed=43), "failed": None})
    said = "9b1d81c0: 43 jobs (40 queued, 3 running) stopped\n"
    assert runctl("stop", "--grace", "2s", "sweep") == (0, said, "")
    assert daemon.args("stop_group") == [{"group": ID, "kill": False, "grace_seconds": 2.0}]
    out = runctl("stop", "--json", "sweep")[1]
    assert json.loads(out)["stopped"] == stopped
    assert json.loads(out)["counts"]["failed"] == 43


def test_stop_without_waiting_says_that_they_were_asked(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(running=1))
    daemon.answer("stop_group", {"group": ID, "jobs": 1, "queued": 0, "running": 1})
    said = "9b1d81c0: 1 job (0 queued, 1 running) asked to stop\n"
    assert runctl("stop", "--no-wait", "sweep") == (0, said, "")
    assert json.loads(runctl("stop", "--no-wait", "--json", "sweep")[1])["running"] == 1
    assert not daemon.args("wait_group")


def test_a_group_that_has_ended_has_no_job_to_stop(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(ok=1))
    daemon.answer("stop_group", {"group": ID, "jobs": 0, "queued": 0, "running": 0})
    daemon.answer("wait_group", {**summary(ok=1), "failed": None})
    assert runctl("stop", "sweep") == (0, "9b1d81c0: no job to stop\n", "")


def test_jobs_and_groups_are_stopped_together_in_their_order(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, summary(running=1))
    refuse = daemon.handlers["status"]
    daemon.handlers["status"] = lambda s, r: (
        s.ok(r, make_job()) if r["args"]["job"] in ("build", JOB_ID) else refuse(s, r)
    )
    daemon.answer("stop", {"state": "running"})
    daemon.answer("wait", make_job(result={}))
    daemon.answer("stop_group", {"group": ID, "jobs": 1, "queued": 0, "running": 1})
    daemon.answer("wait_group", {**summary(failed=1), "failed": None})
    out = runctl("stop", "sweep", "build")[1]
    assert [line.split()[0] for line in out.splitlines()] == ["9b1d81c0:", "3f2a81c0"]


# wait

FAILED_AND_GONE = summary(ok=2) | {
    "ok": False, "size": 8, "counts": summary(ok=2)["counts"] | {"removed": 6},
}  # fmt: skip


def test_status_says_that_what_failed_is_gone(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, FAILED_AND_GONE)
    code, out, _ = runctl("status", "sweep")
    assert code == 0
    assert "failed: 2 ok, 6 removed" in out
    assert "the jobs that failed are not kept any more" in out


def first_failed(code: int = 7, **changes: object) -> dict[str, Any]:
    found = member(17, code) | changes
    return {key: found[key] for key in ("job", "name", "member", "result")}


@pytest.mark.parametrize(
    ("answer", "status", "out", "err"),
    [
        ({**summary(ok=3), "failed": None}, 0, "9b1d81c0 has ended: 3 ok\n", ""),
        (
            {**summary(ok=2, failed=1), "failed": first_failed()}, 7,
            ("9b1d81c0 has ended: 1 failed, 2 ok\n"
             "sweep.17 (00000011) ended with exit code 7\n"), "",
        ),
        (
            {**summary(failed=1), "failed": first_failed(name=None)}, 7,
            "9b1d81c0 has ended: 1 failed\n9b1d81c0.17 (00000011) ended with exit code 7\n", "",
        ),
        ({**summary(failed=1), "failed": None}, 125, "9b1d81c0 has ended: 1 failed\n", ""),
        (
            {**FAILED_AND_GONE, "failed": None}, 125,
            "9b1d81c0 has ended: 2 ok, 6 removed\nthe jobs that failed are not kept any more\n", "",
        ),
        (
            {**summary(failed=1, queued=2), "failed": first_failed()}, 125, "",
            "runctl: array 9b1d81c0 has not ended in time: 2 queued, 1 failed\n",
        ),
    ],
)  # fmt: skip
def test_wait_exits_as_the_first_failed_job_did(
    runctl: Runctl, daemon: FakeDaemon, answer: dict[str, Any], status: int, out: str, err: str
) -> None:
    serve(daemon, summary(running=1))
    daemon.answer("wait_group", answer)
    assert runctl("wait", "sweep") == (status, out, err)
    assert json.loads(runctl("wait", "--json", "sweep")[1])["failed"] == answer["failed"]


def test_wait_says_which_failed_also_beyond_the_first_page(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    ended = summary(ok=3, failed=9, skipped=1)
    stopped = RESULT | {"reason": "stopped", "exit_status": 143, "stopped_by_uid": 2147483643}
    dependency = RESULT | {"reason": "dependency", "exit_code": None, "exit_status": 125}
    members = [
        *(member(n, 0) for n in range(3)),
        member(3, 2),
        member(4, None, state="ended", result=dependency, needs=[{"step": "x", "on": "ok"}]),
        *(member(n, None, state="ended", result=stopped) for n in range(5, 13)),
    ]
    serve(daemon, ended, *members)
    daemon.answer("wait_group", {**ended, "failed": first_failed(2)})
    status, out, _ = runctl("wait", "sweep")
    lines = out.splitlines()
    assert status == 2
    assert lines[0] == "9b1d81c0 has ended: 9 failed, 1 skipped, 3 ok"
    assert lines[1] == "sweep.3 (00000003) ended with exit code 2"
    assert lines[2] == "sweep.5 (00000005) was stopped by uid 2147483643"
    assert lines[9:] == ["1 more failed"]


def test_wait_gives_what_is_left_of_its_time(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(running=1))
    daemon.answer("wait_group", {**summary(running=1), "failed": None})
    assert runctl("wait", "--timeout", "5s", "sweep", "sweep")[0] == 125
    first, second = (args["timeout_seconds"] for args in daemon.args("wait_group"))
    assert 0 < second < first <= 5


# retry, hold, release, rm


def test_retry_says_how_many(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(failed=2))
    daemon.answer("retry_group", {"group": ID, "jobs": 2})
    assert runctl("retry", "sweep") == (0, "9b1d81c0: 2 jobs are queued again\n", "")
    assert json.loads(runctl("retry", "--json", "sweep")[1]) == {"group": ID, "jobs": 2}
    assert daemon.args("retry_group")[0] == {"group": ID}
    daemon.refuse("retry_group", "not-now", field="group", detail="none of its jobs has failed")
    assert runctl("retry", "sweep") == (125, "", "runctl: sweep: none of its jobs has failed\n")


@pytest.mark.parametrize(
    ("verb", "jobs", "said"),
    [
        ("hold", 40, "40 jobs are held"),
        ("hold", 0, "no job had to be held"),
        ("release", 1, "1 job is released"),
    ],
)
def test_the_jobs_of_a_group_are_held_and_released(
    runctl: Runctl, daemon: FakeDaemon, verb: str, jobs: int, said: str
) -> None:
    serve(daemon, summary(queued=40))
    answer = {"group": ID, "jobs": jobs, "held": verb == "hold"}
    daemon.answer("hold_group", answer)
    assert runctl(verb, "sweep") == (0, f"9b1d81c0: {said}\n", "")
    assert daemon.args("hold_group") == [{"group": ID, "held": verb == "hold"}]
    assert json.loads(runctl(verb, "--json", "sweep")[1]) == answer


def test_what_an_admin_holds_is_named_as_it_was_asked_for(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    serve(daemon, summary(queued=1))
    why = "uid 0, an admin, holds it"
    daemon.refuse("hold_group", "not-permitted", field="group", given="9b1d81c0", detail=why)
    assert runctl("release", "sweep") == (125, "", f"runctl: sweep: {why}\n")


def test_rm_removes_every_job(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(ok=1))
    daemon.answer("remove_group", {"group": ID, "jobs": 100})
    assert runctl("rm", "sweep") == (0, "9b1d81c0 removed, 100 jobs\n", "")
    assert json.loads(runctl("rm", "--json", "sweep")[1]) == {"group": ID, "jobs": 100}
    daemon.refuse("remove_group", "not-now", field="group", detail="3 have not ended")
    assert runctl("rm", "sweep") == (125, "", "runctl: sweep: 3 have not ended\n")


def test_rm_by_force_kills_and_waits_first(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(running=1))
    daemon.answer("stop_group", {"group": ID, "jobs": 1, "queued": 0, "running": 1})
    daemon.answer("wait_group", {**summary(failed=1), "failed": None})
    daemon.answer("remove_group", {"group": ID, "jobs": 1})
    assert runctl("rm", "-f", "sweep") == (0, "9b1d81c0 removed, 1 job\n", "")
    asked = [each["op"] for each in daemon.seen if each["op"].endswith("_group")]
    assert asked == ["stop_group", "wait_group", "remove_group"]
    assert daemon.args("stop_group") == [{"group": ID, "kill": True}]


# update


@pytest.mark.parametrize(
    ("typed", "asked", "most", "said"),
    [
        (["--max-running", "8"], {"max_running": 8}, 8, "9b1d81c0: at most 8 at once\n"),
        (["--max-running", "none"], {"max_running": None}, None,
         "9b1d81c0: as many at once as the queue lets\n"),
        (["--priority", "-5"], {"priority": -5}, 4,
         "9b1d81c0: priority -5 of 40 queued jobs\n"),
        (["--priority", "0", "--max-running", "2"], {"priority": 0, "max_running": 2}, 2,
         "9b1d81c0: at most 2 at once\n9b1d81c0: priority 0 of 40 queued jobs\n"),
    ],
)  # fmt: skip
def test_update_changes_what_a_group_has(
    runctl: Runctl,
    daemon: FakeDaemon,
    typed: list[str],
    asked: dict[str, Any],
    most: int | None,
    said: str,
) -> None:
    serve(daemon, summary(queued=40))
    answer = {"group": ID, "max_running": most, "jobs": 40}
    daemon.answer("update_group", answer)
    assert runctl("update", "sweep", *typed) == (0, said, "")
    assert daemon.args("update_group") == [{"group": ID, **asked}]
    assert json.loads(runctl("update", "sweep", "--json", *typed)[1]) == answer


def test_update_says_when_no_job_had_another_priority(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(ok=2))
    daemon.answer("update_group", {"group": ID, "max_running": 4, "jobs": 0})
    said = "9b1d81c0: no queued job had another priority than 2\n"
    assert runctl("update", "sweep", "--priority", "2") == (0, said, "")


@pytest.mark.parametrize("typed", [["--mem", "1G"], ["--priority", "1", "--rlimit", "core=0"]])
def test_limits_are_a_jobs_own(runctl: Runctl, daemon: FakeDaemon, typed: list[str]) -> None:
    serve(daemon, summary(queued=40))
    said = "runctl: sweep: limits are changed job by job; name one of them, sweep.INDEX\n"
    assert runctl("update", "sweep", *typed) == (125, "", said)
    assert not daemon.args("update_group")


def test_a_job_has_no_number_that_run_at_once(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    daemon.answer("status", make_job())
    status, _, err = runctl("update", "build", "--max-running", "3")
    assert (status, "--max-running goes with an array or a flow" in err) == (125, True)
    assert not daemon.args("update")


def test_a_refused_change_speaks_of_the_option(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(queued=1))
    daemon.refuse("update_group", "not-permitted", field="priority", detail="at most 0")
    said = "runctl: --priority: at most 0\n"
    assert runctl("update", "sweep", "--priority", "9") == (125, "", said)


# status, why, events


def test_status_of_an_array_says_how_far_it_has_come_and_what_failed(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    serve(daemon, summary(ok=2, failed=1) | {"max_running": 4},
          member(0, 0), member(1, 0), member(2, 9))  # fmt: skip
    status, out, err = runctl("status", "sweep")
    assert (status, err) == (0, "")
    assert out == (
        f"array      {ID}\n"
        "name       sweep\n"
        "jobs       array of 3 jobs, at most 4 at once\n"
        "indexes    0 to 2\n"
        "command    make 'a b'\n"
        "user       root\n"
        "state      failed: 1 failed, 2 ok\n"
        "queue      default\n"
        "submitted  2025-11-22 11:13:20 +0000\n"
        "ended      2025-11-22 11:14:20 +0000\n"
        "failed     sweep.2 (00000002) ended with exit code 9\n"
    )


def test_status_of_an_array_with_gaps_does_not_claim_the_rest(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    serve(daemon, summary(ok=3, removed=1) | {"first": 2, "last": 9})
    out = runctl("status", "od")[1]
    assert "3 ok, 1 removed\n" in out
    assert "indexes    4 from 2 to 9\n" in out


def test_status_says_how_each_hook_went_last(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    failed = RESULT | {"reason": "launch-error", "exit_code": None, "detail": "no such program"}
    runs = [{"job": OTHER_ID, "state": "ended", "result": failed},
            {"job": JOB_ID, "state": "queued", "result": None}, None]  # fmt: skip
    hooks = [
        {"number": number, "on": ["fail"], "command": "mail", "host": None, "last": last}
        for number, last in enumerate(runs)
    ]
    said = (
        "hook       fail: runs mail; job 77aa81c0 could not start: no such program\n"
        "           fail: runs mail; job 3f2a81c0 is queued\n"
        "           fail: runs mail\n"
    )
    daemon.answer("status", make_job(hooks=hooks))
    assert said in runctl("status", "build")[1]
    serve(daemon, summary(ok=3) | {"hooks": hooks})
    assert said in runctl("status", "sweep")[1]


def test_status_of_a_flow_draws_its_steps(runctl: Runctl, daemon: FakeDaemon) -> None:
    flow = summary(ok=1, queued=2) | {"kind": "flow", "name": "release", "argv": []}
    needs = [{"step": "build", "on": "ok"}]
    serve(daemon, flow, member(0, 0, step="build"), member(1, step="test", needs=needs),
          member(2, step="doc", needs=needs))  # fmt: skip
    status, out, _ = runctl("status", "release")
    assert status == 0
    assert "jobs       flow of 3 steps\n" in out
    assert "state      running: 2 queued, 1 ok\n" in out
    drawn = out.partition("\n\n")[2]
    assert [name in drawn for name in ("build", "test", "doc")] == [True] * 3
    assert "release" not in drawn


def test_status_as_json_has_every_member(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(queued=5), *(member(number) for number in range(5)))
    group = json.loads(runctl("status", "--json", "sweep")[1])
    assert [each["member"] for each in group["members"]] == [0, 1, 2, 3, 4]
    assert (group["next"], group["counts"]["queued"]) == (None, 5)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({}, "9b1d81c0, member 17"),
        ({"step": None, "group_name": "sweep"}, "array sweep (9b1d81c0), index 17"),
        ({"step": None, "group_name": None}, "array 9b1d81c0, index 17"),
        ({"step": "test.2", "group_name": "release"}, "flow release (9b1d81c0), step test.2"),
        ({"step": "a", "group_name": "\x1b"}, "flow \\x1b (9b1d81c0), step a"),
    ],
)
def test_one_of_a_group_says_so_in_its_record(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, place: dict[str, Any], said: str
) -> None:
    daemon.answer("status", make_job(group=ID, member=17, **place))
    assert f"group      {said}\n" in runctl("status", "sweep.17")[1]


def test_what_a_step_comes_after_is_named(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    after = [{"job": OTHER_ID, "step": "test.2", "on": "ok", "met": False},
             {"job": JOB_ID, "step": None, "on": "any", "met": True}]  # fmt: skip
    daemon.answer("status", make_job(state="queued", after=after))
    said = "after      step test.2 (77aa81c0, ok), {}\n           3f2a81c0 (any), met\n"
    assert said.format("not met yet") in runctl("status", "release.publish")[1]
    ended = make_job(result={"reason": "dependency", "exit_code": None}, after=after)
    daemon.answer("status", ended)
    assert said.format("not met") in runctl("status", "release.publish")[1]


@pytest.mark.parametrize(
    ("fate", "result", "kind"),
    [
        ("skipped", {"reason": "dependency", "exit_code": None}, "skipped"),
        # It was to come after a job that is none of the flow.
        ("failed", {"reason": "dependency", "exit_code": None}, "failed"),
        ("ok", {}, "ok"),
        ("failed", {"exit_code": 1}, "failed"),
        (None, {"reason": "dependency", "exit_code": None}, "skipped"),
        (None, {"exit_code": 1}, "failed"),
    ],
)
def test_what_a_job_counts_as_is_said_by_runnerd(
    fate: str | None, result: dict[str, Any], kind: str
) -> None:
    needs = [{"step": "x", "on": "ok"}]
    job: Any = member(1, None, state="ended", step="b", needs=needs, result=RESULT | result)
    job |= {"ended_ns": 2 * SECOND} | ({"fate": fate} if fate else {})
    assert has_failed(job) == (kind == "failed")
    assert was_skipped(job) == (kind == "skipped")
    found = state_of(job, 0)
    assert found.kind == kind
    assert has_failed(job | {"result": None}) is was_skipped(job | {"result": None}) is False


def test_why_of_a_flow_has_a_line_for_each_set_of_steps_that_is_waited_for(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    flow = summary(running=2, queued=6) | {"kind": "flow", "name": "release"}

    def after(number: int, step: str, *needs: tuple[str, str]) -> dict[str, Any]:
        asked = [{"step": name, "on": on} for name, on in needs]
        called = {"step": step, "name": f"d.{step}", "needs": asked}
        return member(number, waits_for="dependency", **called)

    serve(
        daemon, flow,
        member(0, state="running", step="a", started_ns=SECOND), member(1, 0, step="z"),
        after(2, "b", ("a", "ok"), ("z", "ok")), after(3, "c", ("a", "ok")),
        after(4, "d", ("c", "ok")), after(5, "e", ("a", "started"), ("b", "fail")),
        after(6, "f", ("b", "ok"), ("c", "any")), after(7, "g", ("a", "started")),
    )  # fmt: skip
    refuse = daemon.handlers["why"]
    because = {"cause": "dependency", "needs": None, "free": None, "on": [OTHER_ID],
               "kinds": ["ok"], "until_ns": None}  # fmt: skip
    why = {"state": "queued", "because": [because], "ahead": 0, "start_ns": None, "result": None}
    daemon.handlers["why"] = lambda s, r: (
        refuse(s, r) if r["args"]["job"] == "release" else s.ok(r, why | r["args"])
    )
    daemon.refuse("status", "no-such-job")
    status, out, err = runctl("why", "release")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "9b1d81c0 running: 2 running, 6 queued",
        "d.b waits for step a, which is running",
        "1 more waits for the same",
        "d.d waits for step c, which is queued",
        "d.e waits for step b (fail), which is queued",
        "d.f waits for 2 steps: b (queued), c (any, queued)",
        "d.g waits for job 77aa81c0 (ok)",
    ]
    assert len(json.loads(runctl("why", "--json", "release")[1])["waiting"]) == 5


def test_why_of_a_group_says_the_same_once(runctl: Runctl, daemon: FakeDaemon) -> None:
    serve(daemon, summary(queued=3), member(0, waits_for="slots"), member(1, waits_for="behind"),
          member(2, waits_for="behind"))  # fmt: skip
    refuse = daemon.handlers["why"]
    because = {"cause": "slots", "needs": None, "free": None, "on": [], "kinds": [],
               "until_ns": None}  # fmt: skip
    why = {"state": "queued", "because": [because], "ahead": 0, "start_ns": None, "result": None}
    daemon.handlers["why"] = lambda s, r: (
        refuse(s, r) if r["args"]["job"] == "sweep" else s.ok(r, why | r["args"])
    )
    assert runctl("why", "sweep")[1].splitlines()[1:] == [
        "sweep.0 waits for a slot: as many jobs run as may at once", "2 more wait for the same",
    ]  # fmt: skip


def test_why_of_a_step_names_the_steps(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    because = {"cause": "dependency", "needs": None, "free": None, "on": [OTHER_ID, ID],
               "kinds": ["ok", "any"], "until_ns": None}  # fmt: skip
    daemon.answer("why", {"job": JOB_ID, "state": "queued", "because": [because], "ahead": 0,
                          "start_ns": None, "result": None})  # fmt: skip
    after = [{"job": OTHER_ID, "step": "test.2", "on": "ok", "met": False},
             {"job": ID, "step": None, "on": "any", "met": False}]  # fmt: skip
    daemon.answer("status", make_job(after=after))
    assert runctl("why", "release.publish")[1] == (
        "3f2a81c0 waits for step test.2 (77aa81c0, ok), which is running\n"
        "3f2a81c0 waits for job 9b1d81c0 (any), which is running\n"
    )


def test_why_asks_once_for_each_thing_that_is_waited_for(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    serve(daemon, summary(running=1, queued=3), member(0, state="running"),
          member(1, waits_for="group-cap"), member(2, waits_for="held"),
          member(3, waits_for="group-cap"))  # fmt: skip
    refuse = daemon.handlers["why"]
    because = {"needs": None, "free": None, "on": [], "kinds": [], "until_ns": None}
    cap = {"group": ID, "kind": "array", "max_running": 1, "running": 1}

    def why(session: Session, request: dict[str, Any]) -> None:
        job = request["args"]["job"]
        if job == "sweep":
            refuse(session, request)
            return
        causes = {member(1)["job"]: {"cause": "group-cap", "group": cap},
                  member(2)["job"]: {"cause": "slots"}}  # fmt: skip
        session.ok(request, {"job": job, "state": "queued", "because": [because | causes[job]],
                             "ahead": 0, "start_ns": None, "result": None})  # fmt: skip

    daemon.handlers["why"] = why
    assert runctl("why", "sweep") == (
        0,
        (
            "9b1d81c0 running: 1 running, 3 queued\n"
            "sweep.1 waits for its array 9b1d81c0: 1 job runs, 1 may at once\n"
            "1 more waits for the same\n"
            "sweep.2 waits for a slot: as many jobs run as may at once\n"
        ),
        "",
    )
    found = json.loads(runctl("why", "--json", "sweep")[1])
    assert found["group_summary"]["group"] == ID
    assert [each["job"] for each in found["waiting"]] == [member(1)["job"], member(2)["job"]]


def test_why_of_a_job_that_comes_after_a_group_says_what_that_is(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    serve(daemon, summary(running=1, ok=2))
    because = {"cause": "dependency", "needs": None, "free": None, "on": [ID, OTHER_ID],
               "kinds": ["ok", "any"], "until_ns": None}  # fmt: skip
    daemon.answer("why", {"job": JOB_ID, "state": "queued", "because": [because], "ahead": 0,
                          "start_ns": None, "result": None})  # fmt: skip
    refuse = daemon.handlers["status"]
    daemon.handlers["status"] = lambda s, r: (
        refuse(s, r) if r["args"]["job"] == ID else s.refuse(r, "no-such-job")
    )
    assert runctl("why", "later")[1] == (
        "3f2a81c0 waits for 9b1d81c0 (ok), array of 3 jobs: 1 running, 2 ok\n"
        "3f2a81c0 waits for job 77aa81c0 (any)\n"
    )


@pytest.mark.parametrize("typed", [[], ["-f"]])
def test_events_of_a_group_are_its_own_and_its_jobs_until_all_are_removed(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str]
) -> None:
    serve(daemon, summary(ok=2), member(0, 0), member(1, 0))

    def event(seq: int, job: str, kind: str) -> dict[str, Any]:
        return {"seq": seq, "time_ns": SECOND, "job": job, "kind": kind, "data": {}}

    jobs = [member(number)["job"] for number in range(2)]
    items = [
        event(5, jobs[0], "finish"), event(6, OTHER_ID, "finish"), event(7, ID, "group-ended"),
        {"gap": True, "since": 7, "oldest": 9}, event(9, jobs[0], "remove"),
        event(10, jobs[1], "remove"), event(11, jobs[1], "finish"),
    ]  # fmt: skip

    def events(session: Session, request: dict[str, Any]) -> None:
        for number, item in enumerate(items, 1):
            session.event(request, number, item)
        session.ok(request, {"next": 11})

    daemon.handlers["events"] = events
    status, out, err = runctl("events", "--since", "4", "--job", "sweep", *typed)
    assert (status, err) == (0, "runctl: event 8 is not kept any more\n")
    assert [line.split()[0] for line in out.splitlines()] == ["5", "7", "9", "10"]
    assert daemon.args("events")[0]["job"] is None


# Verbs that are for one job alone


@pytest.mark.parametrize(
    "typed", [["pause", "sweep"], ["resume", "sweep"], ["move", "--top", "sweep"]]
)
def test_a_verb_that_is_for_one_job_says_what_was_named(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str]
) -> None:
    serve(daemon, summary(queued=100))
    said = "runctl: sweep is an array of 100 jobs; name one of them, sweep.INDEX\n"
    assert runctl(*typed) == (125, "", said)
