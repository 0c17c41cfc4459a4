"""The routes of arrays and flows: jobs that were submitted as one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.rest import answers_more, pages, queries, sending
from gateway.rest.calls import Answer, Call, Reply, Route, given
from gateway.rest.keys import idempotency_key
from gateway.rest.submissions import ArraySubmission, FlowSubmission

if TYPE_CHECKING:
    from client.protocol import Message


async def submit_array(call: Call) -> Reply:
    """An array: all of its jobs or none."""
    args = sending.fields_of(call.body(ArraySubmission))
    idempotency_key(call.request.headers, args["submit"])
    return _made(await call.make("submit_array", args))


async def submit_flow(call: Call) -> Reply:
    """A flow: all of its steps or none."""
    args = sending.flow(call.body(FlowSubmission))
    idempotency_key(call.request.headers, args)
    return _made(await call.make("submit_flow", args))


def _made(answer: Message) -> Reply:
    status = 200 if answer.get("existing") else 201
    return Reply(answer, status, {"Location": f"/v1/groups/{answer['group']}"})


async def list_groups(call: Call) -> Reply:
    """A page of groups: runnerd lists jobs, with their groups in one line each."""
    query = call.query(queries.GroupsQuery)
    select: Message = dict(given(query, "queue"))
    if isinstance(query.user, str):
        select["user"] = pages.user(query.user)
    args: Message = {"select": select, "limit": query.limit, "collapse": True, "ended": query.ended}
    if (before := pages.place("groups", query.page_token)) is not None:
        args["before"] = before
    answer = await call.ask("list", args)
    groups = [job["group_summary"] for job in answer["jobs"] if "group_summary" in job]
    token = pages.token("groups", answer.get("next"))
    headers = pages.link(call.request.path, call.request.query.items(), token)
    return Reply({"groups": groups, "next_page_token": token}, headers=headers)


async def show(call: Call) -> Reply:
    """A group with a page of its jobs."""
    query = call.query(queries.MembersQuery)
    args: Message = {"group": call.path("group"), "limit": query.limit}
    if (after := pages.place("members", query.page_token)) is not None:
        args["after"] = min(after, 2**31 - 1)
    answer = dict(await call.ask("group", args))
    token = pages.token("members", answer.pop("next", None))
    headers = pages.link(call.request.path, call.request.query.items(), token)
    return Reply({**answer, "next_page_token": token}, headers=headers)


async def stop(call: Call) -> Reply:
    """End every job of a group."""
    query = call.query(queries.StopQuery)
    args = {"group": call.path("group"), "kill": query.kill, **given(query, "grace_seconds")}
    answer = await call.ask("stop_group", args)
    return Reply(answer, 202 if answer["running"] else 200)


async def update(call: Call) -> Reply:
    """Change how many run at once, and the priority of what is queued."""
    changes = sending.fields_of(call.body(queries.GroupChange), nulls=True)
    return Reply(await call.ask("update_group", {"group": call.path("group"), **changes}))


async def wait(call: Call) -> Reply:
    """The group when it has ended, or as it is when the time has passed."""
    seconds = call.query(queries.WaitQuery).timeout_seconds
    args = {"group": call.path("group"), "timeout_seconds": seconds}
    return Reply(await call.ask("wait_group", args, timeout=seconds + 30))


def _plain(op: str, **more: Any) -> Any:  # noqa: ANN401  a handler
    """The handler of an operation that needs the group alone."""

    async def ask(call: Call) -> Reply:
        return Reply(await call.ask(op, {"group": call.path("group"), **more}))

    return ask


_ONE: Final = ("no-such-job", "ambiguous-job")
_NEW: Final = (
    "too-many-jobs", "quota-exceeded", "no-such-queue", "limit-unavailable", "key-in-use",
    "draining", "shutting-down", "store-error", "no-such-job",
)  # fmt: skip
_MADE: Final = {
    201: Answer("It is submitted.", answers_more.SubmittedGroup),
    200: Answer("The key was used before: the group of then.", answers_more.SubmittedGroup),
}


def _action(verb: str, about: str, handler: Any, kind: type) -> Route:  # noqa: ANN401
    return Route(
        method="POST", path=f"/groups/{{group}}/{verb}", name=f"{verb}Group", tag="groups",
        op="retry_group" if verb == "retry" else "hold_group",
        about=about, handler=handler, body=queries.Nothing, body_may_be_missing=True,
        answers={200: Answer("How many jobs.", kind)}, problems=(*_ONE, "not-now"),
    )  # fmt: skip


ROUTES: Final = (
    Route(
        method="POST", path="/arrays", name="submitArray", op="submit_array",
        tag="groups", has_key=True,
        about="Submit many jobs that differ in their index alone: all of them or none",
        handler=submit_array, body=ArraySubmission, problems=_NEW, answers=_MADE,
    ),
    Route(
        method="POST", path="/flows", name="submitFlow", op="submit_flow",
        tag="groups", has_key=True,
        about="Submit jobs that need each other: all of them or none", is_large=True,
        handler=submit_flow, body=FlowSubmission, problems=_NEW, answers=_MADE,
    ),
    Route(
        method="GET", path="/groups", name="listGroups", op="list", tag="groups",
        about="Arrays and flows, newest first",
        handler=list_groups, query=queries.GroupsQuery, problems=("no-such-queue",),
        answers={200: Answer("A page of groups.", answers_more.Groups)},
    ),
    Route(
        method="GET", path="/groups/{group}", name="getGroup", op="group", tag="groups",
        about="An array or a flow with a page of its jobs",
        handler=show, query=queries.MembersQuery, problems=_ONE,
        answers={200: Answer("The group.", answers_more.GroupStatus)},
    ),
    Route(
        method="DELETE", path="/groups/{group}", name="stopGroup", op="stop_group", tag="groups",
        about="End every job of a group", more="Its record stays.",
        handler=stop, query=queries.StopQuery, problems=_ONE,
        answers={
            200: Answer("All have ended.", answers_more.StoppedGroup),
            202: Answer("Those that ran were asked to end.", answers_more.StoppedGroup),
        },
    ),
    Route(
        method="PATCH", path="/groups/{group}", name="updateGroup", op="update_group", tag="groups",
        about="Change how many of a group run at once, and the priority of what is queued",
        handler=update, body=queries.GroupChange, problems=(*_ONE, "not-now"),
        answers={200: Answer("What it is now.", answers_more.UpdatedGroup)},
    ),
    Route(
        method="DELETE", path="/groups/{group}/record", name="removeGroup", op="remove_group",
        tag="groups",
        about="Forget a group that has ended, its jobs and their output",
        handler=_plain("remove_group"), problems=(*_ONE, "not-now"),
        answers={200: Answer("How many jobs are gone.", answers_more.ChangedGroup)},
    ),
    Route(
        method="GET", path="/groups/{group}/wait", name="waitForGroup", op="wait_group",
        tag="groups",
        about="Wait until every job of a group has ended",
        handler=wait, query=queries.WaitQuery, problems=_ONE,
        answers={200: Answer("The group, ended or not.", answers_more.GroupEnd)},
    ),
    _action(
        "retry", "Run once more what failed, and what was skipped for it",
        _plain("retry_group"), answers_more.ChangedGroup,
    ),
    _action(
        "hold", "Hold the queued jobs of a group",
        _plain("hold_group", held=True), answers_more.HeldGroup,
    ),
    _action(
        "release", "Release those that are held",
        _plain("hold_group", held=False), answers_more.HeldGroup,
    ),
)  # fmt: skip
