"""The routes of schedules: jobs that are submitted again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rest import answers_more, pages, queries, sending
from gateway.rest.calls import Answer, Call, Reply, Route
from gateway.rest.submissions import NewSchedule

if TYPE_CHECKING:
    from client.protocol import Message


async def make(call: Call) -> Reply:
    """A schedule."""
    answer = await call.make("schedule", sending.fields_of(call.body(NewSchedule)))
    return Reply(answer, 201, {"Location": f"/v1/schedules/{answer['schedule']}"})


async def list_schedules(call: Call) -> Reply:
    """A page of schedules."""
    query = call.query(queries.SchedulesQuery)
    args: Message = {"limit": query.limit}
    if (after := pages.place("schedules", query.page_token)) is not None:
        args["after"] = after
    answer = await call.ask("schedules", args)
    token = pages.token("schedules", answer.get("next"))
    headers = pages.link(call.request.path, call.request.query.items(), token)
    return Reply({"schedules": answer["schedules"], "next_page_token": token}, headers=headers)


def _plain(op: str) -> Any:  # noqa: ANN401  a handler
    async def ask(call: Call) -> Reply:
        return Reply(await call.ask(op, {"schedule": call.path("schedule")}))

    return ask


async def run(call: Call) -> Reply:
    """Run it once now."""
    answer = await call.ask("schedule_run", {"schedule": call.path("schedule")})
    return Reply(answer, 201, {"Location": f"/v1/jobs/{answer['job']}"})


_ONE: Final = ("no-such-schedule", "ambiguous-schedule")
_NEW: Final = (
    "too-many-jobs", "quota-exceeded", "no-such-queue", "limit-unavailable", "draining",
    "shutting-down", "store-error",
)  # fmt: skip


def _action(verb: str, about: str) -> Route:
    return Route(
        method="POST", path=f"/schedules/{{schedule}}/{verb}", name=f"{verb}Schedule",
        op=f"schedule_{verb}",
        tag="schedules", about=about, handler=_plain(f"schedule_{verb}"), body=queries.Nothing,
        body_may_be_missing=True, problems=_ONE,
        answers={200: Answer("The schedule after that.", answers_more.Scheduled)},
    )  # fmt: skip


ROUTES: Final = (
    Route(
        method="GET", path="/schedules", name="listSchedules", op="schedules", tag="schedules",
        about="Schedules, the oldest first",
        handler=list_schedules, query=queries.SchedulesQuery,
        answers={200: Answer("A page of schedules.", answers_more.Schedules)},
    ),
    Route(
        method="POST", path="/schedules", name="makeSchedule", op="schedule", tag="schedules",
        about="Submit a job again and again, at times of a calendar",
        more="What a run would be refused for now is refused at once.",
        handler=make, body=NewSchedule, problems=_NEW,
        answers={201: Answer("The schedule is made.", answers_more.Scheduled)},
    ),
    Route(
        method="GET", path="/schedules/{schedule}", name="getSchedule", op="schedule_status",
        tag="schedules",
        about="One schedule, with its next times and what it submits",
        handler=_plain("schedule_status"), problems=_ONE,
        answers={200: Answer("The schedule.", answers_more.ScheduleStatus)},
    ),
    Route(
        method="DELETE", path="/schedules/{schedule}", name="removeSchedule", op="schedule_remove",
        tag="schedules",
        about="Forget a schedule; its jobs stay",
        handler=_plain("schedule_remove"), problems=_ONE,
        answers={200: Answer("It is gone.", answers_more.ScheduleRemoved)},
    ),
    Route(
        method="POST", path="/schedules/{schedule}/run", name="runSchedule",
        op="schedule_run", tag="schedules",
        about="Run a schedule once now, whatever its times are",
        handler=run, body=queries.Nothing, body_may_be_missing=True, problems=(*_ONE, *_NEW),
        answers={201: Answer("The job that it is run as.", answers_more.ScheduleRun)},
    ),
    _action("pause", "Run a schedule no more until it is resumed"),
    _action("resume", "Let a paused schedule go on; what was due meanwhile was not missed"),
)  # fmt: skip
