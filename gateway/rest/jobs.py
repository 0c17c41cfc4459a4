"""The routes of jobs, those of the first interface of this kind among them: list, make, look, end.

Each translates and asks; whether it may be is the session's. What a job wrote is
`gateway.rest.logs`'.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from client.errors import RequestRefused
from gateway.rest import answers, answers_output, pages, queries, reading, sending
from gateway.rest.calls import Answer, Call, Reply, Route, given
from gateway.rest.conditions import check_match
from gateway.rest.keys import idempotency_key
from gateway.rest.submissions import Submission

if TYPE_CHECKING:
    from client.protocol import Message

# What a job uses changes at each look: it would give each answer another tag.
_VOLATILE: Final = "usage"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_WITHOUT_OUTPUT: Final = ("not-permitted", "too-many-requests")


async def _listed(call: Call, *, ended: bool) -> Reply:
    query = call.query(queries.ListQuery)
    args: Message = {"select": pages.selection(query), "limit": query.limit, "ended": ended}
    if (before := pages.place("jobs", query.page_token)) is not None:
        args["before"] = before
    answer = await call.ask("list", args)
    jobs = pages.within(answer["jobs"], query.since_ns, query.until_ns)
    following = answer.get("next")
    if query.since_ns is not UNSET and len(jobs) < len(answer["jobs"]):
        # Newest first: when the last one is too old all that follow are.
        last = answer["jobs"][-1]["submitted_ns"]
        following = None if last < query.since_ns else following
    token = pages.token("jobs", following)
    request = call.request
    headers = pages.link(request.path, request.query.items(), token)
    return Reply({"jobs": jobs, "next_page_token": token}, headers=headers)


async def list_jobs(call: Call) -> Reply:
    """Running and queued jobs; with states others."""
    return await _listed(call, ended=False)


async def list_all_jobs(call: Call) -> Reply:
    """Every job that is recorded."""
    return await _listed(call, ended=True)


async def submit(call: Call) -> Reply:
    """A job; of a key that was used the job of then."""
    args = sending.fields_of(call.body(Submission))
    idempotency_key(call.request.headers, args)
    answer = await call.make("submit", args)
    status = 200 if answer.get("existing") else 201
    return Reply(answer, status, {"Location": f"/v1/jobs/{answer['job']}"})


async def representation(call: Call, reference: str, output_bytes: int) -> Message:
    """A job as it is shown, without what it uses; with its output once it has ended."""
    job = dict(await call.ask("status", {"job": reference}))
    job.pop(_VOLATILE, None)
    if job["state"] == "ended" and output_bytes:
        job["output"] = await _output(call, job, output_bytes)
    return job


async def _output(call: Call, job: Message, most: int) -> Message | None:
    try:
        return await reading.beginning(call.session, job, most)
    except RequestRefused as refused:
        if refused.code in _WITHOUT_OUTPUT:
            return None
        raise


async def show(call: Call) -> Reply:
    """One job."""
    query = call.query(queries.JobQuery)
    job = await representation(call, call.path("job"), query.output_bytes)
    return Reply(job, is_tagged=True)


async def stats(call: Call) -> Reply:
    """What a job uses, or has used."""
    job = await call.ask("status", {"job": call.path("job")})
    names = ("job", "state", "attempt", "usage", "result")
    return Reply({name: job.get(name) for name in names})


async def stop(call: Call) -> Reply:
    """End a job. 202: it was asked to; else it has ended."""
    reference, query = call.path("job"), call.query(queries.StopQuery)
    await check_match(call, reference)
    if not _ID.fullmatch(reference):
        # The answer lacks the id, and a name may soon mean another job.
        reference = (await call.ask("status", {"job": reference}))["job"]
    args = {"job": reference, "kill": query.kill, **given(query, "grace_seconds")}
    answer = await call.ask("stop", args)
    is_over = answer["state"] in ("queued", "ended")
    return Reply({"job": reference, **answer}, 200 if is_over else 202)


async def stop_many(call: Call) -> Reply:
    """End all jobs that are meant."""
    query = call.query(queries.StopManyQuery)
    args: Message = {"select": pages.selection(query), "kill": query.kill, "dry_run": query.dry_run}
    return Reply(await call.ask("stop_many", args | given(query, "grace_seconds", "expect")))


async def update(call: Call) -> Reply:
    """Change limits, and the priority."""
    reference = call.path("job")
    await check_match(call, reference)
    changes = sending.fields_of(call.body(queries.JobChange), nulls=True)
    return Reply(await call.ask("update", {"job": reference, **changes}))


async def remove(call: Call) -> Reply:
    """Forget an ended job and its output."""
    reference = call.path("job")
    await check_match(call, reference)
    return Reply(await call.ask("remove", {"job": reference}))


async def move(call: Call) -> Reply:
    """Change where a queued job waits."""
    fields = sending.fields_of(call.body(queries.Move))
    return Reply(await call.ask("move", {"job": call.path("job"), **fields}))


async def wait(call: Call) -> Reply:
    """The job when it has ended, or as it is when the time has passed."""
    seconds = call.query(queries.WaitQuery).timeout_seconds
    args = {"job": call.path("job"), "timeout_seconds": seconds}
    job = dict(await call.ask("wait", args, timeout=seconds + 30))
    job.pop(_VOLATILE, None)
    return Reply(job)


async def locate(call: Call) -> Reply:
    """Where in the output that begins which is looked for."""
    query = call.query(queries.LocateQuery)
    args: Message = {"job": call.path("job")}
    args |= given(query, "lines", "since_ns", "until_ns", "attempt")
    if (stream := reading.stream_number(query.stream)) is not None:
        args["streams"] = [stream]
    return Reply(await call.ask("locate", args))


def _plain(op: str) -> Any:  # noqa: ANN401  a handler
    """The handler of an operation that needs the job alone."""

    async def ask(call: Call) -> Reply:
        return Reply(await call.ask(op, {"job": call.path("job")}))

    return ask


_ONE: Final = ("no-such-job", "ambiguous-job", "is-group")
_IN_STATE: Final = (*_ONE, "job-state")
_NEW: Final = (
    "too-many-jobs", "quota-exceeded", "no-such-queue", "limit-unavailable", "key-in-use",
    "draining", "shutting-down", "store-error", "no-such-job",
)  # fmt: skip


def _action(op: str, about: str, kind: type = answers.JobState) -> Route:
    """An operation on one job that needs nothing else."""
    return Route(
        method="POST", path=f"/jobs/{{job}}/{op}", name=f"{op}Job", op=op, tag="jobs",
        about=about,
        handler=_plain(op), body=queries.Nothing, body_may_be_missing=True,
        answers={200: Answer("The job after that.", kind)},
        problems=(*_IN_STATE, "quota-exceeded", "draining") if op == "retry" else _IN_STATE,
    )  # fmt: skip


ROUTES: Final = (
    Route(
        method="GET", path="/jobs", name="listJobs", op="list", tag="jobs", is_also_plain=True,
        about="Running and queued jobs, newest first",
        more="With `state` those in these states, ended ones too.",
        handler=list_jobs, query=queries.ListQuery,
        answers={200: Answer("A page of jobs.", answers.Jobs)}, problems=("no-such-queue",),
    ),
    Route(
        method="POST", path="/jobs", name="submitJob", op="submit", tag="jobs", is_also_plain=True,
        about="Submit a job", has_key=True,
        more="It is on disk when the answer is sent. The same key gives the same job: then 200.",
        handler=submit, body=Submission, problems=_NEW,
        answers={
            201: Answer("The job is submitted.", answers.Submitted),
            200: Answer("The key was used before: the job of then.", answers.Submitted),
        },
    ),
    Route(
        method="DELETE", path="/jobs", name="stopJobs", op="stop_many",
        tag="jobs", is_also_plain=True,
        about="End all jobs that are meant",
        more="Without a selection all that have not ended. An admin's request means everybody's "
        "unless it says `user`.",
        handler=stop_many, query=queries.StopManyQuery, problems=("no-such-queue",),
        answers={200: Answer("How many.", answers.StoppedMany)},
    ),
    Route(
        method="GET", path="/jobs/logs", name="listAllJobs", op="list",
        tag="jobs", is_also_plain=True,
        about="Every job that is recorded, newest first",
        handler=list_all_jobs, query=queries.ListQuery,
        answers={200: Answer("A page of jobs.", answers.Jobs)}, problems=("no-such-queue",),
    ),
    Route(
        method="GET", path="/jobs/{job}", name="getJob", op="status",
        tag="jobs", is_also_plain=True,
        about="One job; with its output once it has ended", is_conditional=True,
        handler=show, query=queries.JobQuery, problems=_ONE,
        answers={200: Answer("The job.", answers.JobStatus)},
    ),
    Route(
        method="DELETE", path="/jobs/{job}", name="stopJob", op="stop",
        tag="jobs", is_also_plain=True,
        about="End a job", is_conditional=True,
        more="SIGTERM, and SIGKILL after the grace; a queued job ends at once. Its record stays.",
        handler=stop, query=queries.StopQuery, problems=_ONE,
        answers={
            200: Answer("It has ended.", answers.Stopped),
            202: Answer("It was asked to end, and ends soon.", answers.Stopped),
        },
    ),
    Route(
        method="PATCH", path="/jobs/{job}", name="updateJob", op="update", tag="jobs",
        about="Change limits of a job, and the priority of one that is queued",
        more="All of it or nothing. What is missing stays as it is, null lifts a limit.",
        handler=update, body=queries.JobChange, is_conditional=True,
        problems=(*_IN_STATE, "limit-below-use", "limit-unavailable"),
        answers={200: Answer("The limits that apply now.", answers.Updated)},
    ),
    Route(
        method="DELETE", path="/jobs/{job}/record", name="removeJob", op="remove", tag="jobs",
        about="Forget an ended job and its output", is_conditional=True,
        handler=remove, problems=(*_ONE, "job-active"),
        answers={200: Answer("It is gone.", answers.Removed)},
    ),
    Route(
        method="GET", path="/jobs/{job}/stats", name="getJobStats", op="status", tag="jobs",
        about="What a job uses now, or has used",
        handler=stats, problems=_ONE, answers={200: Answer("The figures.", answers.Stats)},
    ),
    Route(
        method="GET", path="/jobs/{job}/why", name="explainJob", op="why", tag="jobs",
        about="What a job waits for, or why it ended",
        handler=_plain("why"), problems=_ONE, answers={200: Answer("The causes.", answers.Why)},
    ),
    Route(
        method="GET", path="/jobs/{job}/wait", name="waitForJob", op="wait", tag="jobs",
        about="Wait until a job has ended",
        more="Ask again while `state` is not `ended`.",
        handler=wait, query=queries.WaitQuery, problems=_ONE,
        answers={200: Answer("The job, ended or not.", answers.JobStatus)},
    ),
    Route(
        method="GET", path="/jobs/{job}/locate", name="locateInJob", op="locate", tag="output",
        about="Where in the output its last lines begin, or what was written since a time",
        handler=locate, query=queries.LocateQuery, problems=_ONE,
        answers={200: Answer("The offsets.", answers_output.Location)},
    ),
    Route(
        method="POST", path="/jobs/{job}/move", name="moveJob", op="move", tag="jobs",
        about="Change where a queued job waits",
        handler=move, body=queries.Move, problems=(*_IN_STATE, "no-such-queue"),
        answers={200: Answer("Where it waits now.", answers.Moved)},
    ),
    _action("pause", "Freeze a running job; its timeout stands still"),
    _action("resume", "Let a paused job go on"),
    _action("hold", "Keep a queued job from starting"),
    _action("release", "Let a job that is held start when its turn comes"),
    _action("retry", "Run an ended job once more", answers.Retried),
)  # fmt: skip
