"""Which call is which operation, and where the two do not say the same.

The calls with one answer; those with many are `gateway.rpc.streams`'. Of all others, request and
arguments, answer and response have the same names (`gateway.rpc.convert`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from client.errors import RequestRefused
from gateway.asking import MOST_STEPS
from gateway.proto.runnerd.v1 import (
    groups_pb2,
    jobs_pb2,
    queues_pb2,
    schedules_pb2,
    system_pb2,
)
from gateway.rpc import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

    from client.protocol import Message as Args

_FILES: Final[tuple[FileDescriptor, ...]] = tuple(
    module.DESCRIPTOR for module in (jobs_pb2, groups_pb2, schedules_pb2, queues_pb2, system_pb2)
)
_PAGE: Final = 100


def _same(given: Args) -> Args:
    return given


class Call(NamedTuple):
    """An operation; what becomes of the request's fields, and of the answer's.

    `is_long`: it may take as long as a job.
    """

    op: str
    arguments: Callable[[Args], Args] = _same
    answer: Callable[[Args], Args] = _same
    is_long: bool = False


def _submitted(given: Args) -> Args:
    return dict(given.get("submission", {}))


def _beside(given: Args) -> Args:
    """A submission in the place where the protocol has it."""
    return {**_without(given, "submission"), "submit": given.get("submission", {})}


def _array(given: Args) -> Args:
    array = {key: given[key] for key in ("ranges", "max_running") if key in given}
    return {"submit": given.get("submission", {}), "array": {"ranges": [], **array}}


def _without(given: Args, *names: str) -> Args:
    return {key: value for key, value in given.items() if key not in names}


def _page(place: str) -> Callable[[Args], Args]:
    """A page's size, and where it begins, in the words of the operation."""

    def arguments(given: Args) -> Args:
        args = _without(given, "page_size", "page_token")
        args["limit"] = given.get("page_size", _PAGE)
        if token := given.get("page_token"):
            args[place] = _place(token)
        return args

    return arguments


def _place(token: str) -> int:
    if token.isascii() and token.isdigit() and len(token) < len(str(2**63)):
        return int(token)
    raise RequestRefused(
        "invalid-argument", field="page_token", given=token[:64], allowed="a next_page_token"
    )


def _paged(given: Args) -> Args:
    following = given.get("next")
    return {**given, "next_page_token": "" if following is None else str(following)}


def _entries(given: Args) -> Args:
    return {**_paged(given), "entries": [_entry(each) for each in given["jobs"]]}


def _entry(given: Args) -> Args:
    return {"group": given["group_summary"]} if "group_summary" in given else {"job": given}


def _updated(given: Args) -> Args:
    args = _without(given, "lift")
    if lifted := given.get("lift"):
        args["limits"] = {**given.get("limits", {}), **dict.fromkeys(lifted)}
    return args


def _unbounded(name: str) -> Callable[[Args], Args]:
    """The field `name` says that there is no bound, for which the protocol has nil."""

    def arguments(given: Args) -> Args:
        bound = {"max_running": None} if given.get(name) else {}
        return {**_without(given, name), **bound}

    return arguments


def _held(given: Args) -> Args:
    return {**_without(given, "release"), "held": not given.get("release", False)}


def _located(given: Args) -> Args:
    numbers = {"stdout": 1, "stderr": 2}
    streams = [numbers[name] for name in given.get("streams", ())]
    return {**given, "streams": streams} if streams else given


def _drained(given: Args) -> Args:
    waits = {"begin": False} if given.get("only_wait") else {}
    return {**_without(given, "only_wait"), **waits}


def _as(name: str) -> Callable[[Args], Args]:
    """The whole answer is what the response calls by that name."""
    return lambda given: {name: given}


CALLS: Final[Mapping[str, Call]] = {
    "JobService.SubmitJob": Call("submit", _submitted),
    "JobService.GetJob": Call("status", answer=_as("status")),
    "JobService.ListJobs": Call("list", _page("before"), _entries),
    "JobService.WaitJob": Call("wait", answer=_as("status"), is_long=True),
    "JobService.StopJob": Call("stop"),
    "JobService.StopJobs": Call("stop_many", lambda given: {"select": {}, **given}),
    "JobService.PauseJob": Call("pause"),
    "JobService.ResumeJob": Call("resume"),
    "JobService.UpdateJob": Call("update", _updated),
    "JobService.HoldJob": Call("hold"),
    "JobService.ReleaseJob": Call("release"),
    "JobService.MoveJob": Call("move"),
    "JobService.RetryJob": Call("retry"),
    "JobService.ExplainJob": Call("why"),
    "JobService.RemoveJob": Call("remove"),
    "JobService.PruneJobs": Call("prune"),
    "JobService.LocateLogs": Call("locate", _located, is_long=True),
    "GroupService.SubmitArray": Call("submit_array", _array),
    "GroupService.SubmitFlow": Call("submit_flow"),
    "GroupService.GetGroup": Call("group", _page("after"), _paged),
    "GroupService.WaitGroup": Call("wait_group", is_long=True),
    "GroupService.StopGroup": Call("stop_group"),
    "GroupService.RetryGroup": Call("retry_group"),
    "GroupService.HoldGroup": Call("hold_group", _held),
    "GroupService.UpdateGroup": Call("update_group", _unbounded("unbounded")),
    "GroupService.RemoveGroup": Call("remove_group"),
    "ScheduleService.CreateSchedule": Call("schedule", _beside),
    "ScheduleService.ListSchedules": Call("schedules", _page("after"), _paged),
    "ScheduleService.GetSchedule": Call("schedule_status"),
    "ScheduleService.PauseSchedule": Call("schedule_pause"),
    "ScheduleService.ResumeSchedule": Call("schedule_resume"),
    "ScheduleService.RunSchedule": Call("schedule_run"),
    "ScheduleService.RemoveSchedule": Call("schedule_remove"),
    "QueueService.ListQueues": Call("queues"),
    "QueueService.UpdateQueue": Call("queue", _unbounded("configured")),
    "SystemService.Doctor": Call("doctor"),
    "SystemService.Drain": Call("drain", _drained, is_long=True),
}


class Method(NamedTuple):
    """A call as the protos describe it, and the operation that it is."""

    path: str
    call: Call
    descriptor: MethodDescriptor


def methods() -> list[Method]:
    """All that the table has. Raises KeyError where protos and table differ."""
    found = [method for method in _described() if not method.server_streaming]
    return [Method(path(each), CALLS[path(each)], each) for each in found]


def arguments(call: Call, request: Any) -> Args:  # noqa: ANN401  any of the requests
    """What is asked of the session. Raises RequestRefused."""
    if call.op == "submit_flow" and len(request.steps) > MOST_STEPS:
        raise RequestRefused(
            "invalid-argument",
            field="steps",
            given=len(request.steps),
            allowed=f"1 to {MOST_STEPS}",
        )
    args = call.arguments(convert.to_args(request))
    if call.op == "submit_flow":
        args["steps"] = [_step(step) for step in args.get("steps", ())]
    return args


def _step(given: Args) -> bytes:
    """A step as the protocol wants it, encoded by itself."""
    step = {**_without(given, "submission"), "submit": given.get("submission", {})}
    packed: bytes = msgpack.packb(step, use_bin_type=True)
    return packed


def fill(call: Call, response: Any, answer: Args) -> None:  # noqa: ANN401  any of the responses
    """The response that the session's answer is."""
    convert.fill(response, call.answer(answer))


def services() -> list[ServiceDescriptor]:
    """Those of which this table has methods."""
    return [service for file in _FILES for service in file.services_by_name.values()]


def _described() -> list[MethodDescriptor]:
    return [method for service in services() for method in service.methods]


def path(method: MethodDescriptor) -> str:
    """Service and method, without the package."""
    return f"{method.containing_service.name}.{method.name}"
