"""What the wire asks of groups and hooks, for the fuzz target `wire`: read as the daemon reads it.

An array or a flow that is read is within its bounds, each job of it is a submission that can be
made, and its steps do not wait for each other; a hook that is accepted can be kept and run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from runner import flow_graph, group_submission, hook_checks, hook_template, told
from runner.group_rows import About, StepAbout
from runner.hook_rows import About as OfHook
from runner.hook_rows import HookCall
from runner.message_groups import SubmitArray, SubmitFlow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from client.protocol import Message
    from runner.messages import Submit
    from runner.policy import Peer

MOST_ARRAY: Final = 1000
_TIME_NS: Final = 1_763_810_000_000_000_000
_GROUP: Final = "3f2a0000-0000-4000-8000-00000000000a"


def check(request: object, check_submission: Callable[[Submit], None]) -> None:
    """A request for a group, if it is one. Raises Refusal."""
    if isinstance(request, SubmitArray):
        check_array(request)
    elif isinstance(request, SubmitFlow):
        check_flow(request, check_submission)


def check_array(request: SubmitArray) -> None:
    """Raises Refusal. Its indexes are those of its ranges, and no more than may be."""
    array = group_submission.read_array(request, MOST_ARRAY)
    ranges = request.array.ranges
    indexes = {n for first, last, stride in ranges for n in range(first, last + 1, stride)}
    assert array.size == len(indexes)
    assert 1 <= array.size <= MOST_ARRAY
    ends = told._ends(About(ranges=ranges))
    assert ends == {"FIRST": min(indexes), "LAST": max(indexes)}


def check_flow(request: SubmitFlow, check_submission: Callable[[Submit], None]) -> None:
    """Raises Refusal. Its steps can be brought into an order."""
    flow = _now(group_submission.read_flow(request))
    assert flow.size == len(request.steps)
    steps: list[StepAbout] = []
    for number in range(flow.size):
        step, submit = group_submission.read_step(request, number)
        assert set(request.env) <= set(submit.env)
        check_submission(submit)
        needs = [(need.step, str(need.on)) for need in step.needs]
        steps.append(StepAbout(name=step.name, values=step.values, needs=needs))
    _check_order(steps)


def _check_order(steps: Sequence[StepAbout]) -> None:
    """Each step has its turn after those that it needs."""
    needed = flow_graph.checked([flow_graph.Outline(step.name, step.needs) for step in steps])
    done: set[int] = set()
    while more := {n for n, needs in enumerate(needed) if {on for on, _ in needs} <= done} - done:
        done |= more
    assert len(done) == len(steps), "steps that wait for each other"


def check_hooks(request: Submit, peer: Peer) -> None:
    """Raises Refusal. Kept as templates, read again, and run with what has happened."""
    hook_checks.check(request.hooks, request.env)
    for number, new in enumerate(hook_template.new_hooks(request.hooks, request, peer)):
        template, kept = hook_template.unpack(new.template)
        call = HookCall(1, _GROUP, number, new.events[0], _TIME_NS, 1, OfHook(), new.template)
        run = hook_template.run_of(call, template, kept)
        assert run.queue == "hooks"
        assert run.user == request.user
        repr((template, run))


def _now(work: Coroutine[Any, Any, group_submission.Flow]) -> group_submission.Flow:
    """What is waited for is only that others have their turn."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            flow: group_submission.Flow = done.value
            return flow


HOOKS: Final[list[Message]] = [
    {"on": ["started", "ok"], "argv": ["true", b"\xff"], "timeout_seconds": 5, "retries": 2},
    {"on": ["ended"], "url": "https://example.org:8443/a?b=c", "memory_max_bytes": 2**24},
]


def requests() -> list[tuple[str, Message]]:
    """One of each operation on groups."""
    submit = {"argv": ["a"], "cwd": "/", "env": {"A": "b"}}
    end = [{"on": ["ok", "fail"], "argv": ["true"]}]
    steps = [
        {"name": "get", "submit": submit},
        {"name": "test.1", "submit": {**submit, "after": [{"job": "3f2a"}]},
         "needs": [{"step": "get"}], "values": {"os": "x", "py": "3"}},
        {"name": "clean", "submit": submit,
         "needs": [{"step": "get", "on": "any"}, {"step": "test.1", "on": "fail"}]},
    ]  # fmt: skip
    group = {"group": "3f2a"}
    return [
        ("submit_array", {"submit": {**submit, "name": "n", "hooks": end, "idempotency_key": "k"},
                          "array": {"ranges": [[0, 9, 3], [20, 20, 1]], "max_running": 4}}),
        ("submit_flow", {"name": "f", "steps": [msgpack.packb(step) for step in steps],
                         "env": {"P": b"\xff"}, "max_running": 2, "hooks": end}),
        ("group", {**group, "after": 3, "limit": 5}),
        ("stop_group", {**group, "grace_seconds": 1.5, "kill": True}),
        ("retry_group", group), ("remove_group", group),
        ("wait_group", {**group, "timeout_seconds": 2}), ("hold_group", {**group, "held": False}),
        ("update_group", {**group, "max_running": None, "priority": 3}),
        ("submit", {**submit, "hooks": HOOKS}),
    ]  # fmt: skip


def wrong() -> list[tuple[str, Message]]:
    """What is read and refused."""
    submit = {"argv": ["a"], "cwd": "/"}
    alone = {"name": "a", "submit": submit, "needs": [{"step": "b"}]}
    circle = [alone, {"name": "b", "submit": submit, "needs": [{"step": "a"}]}]
    return [
        ("submit_array", {"submit": submit, "array": {"ranges": [[0, 2**31 - 1, 1]]}}),
        ("submit_array", {"submit": submit, "array": {"ranges": [[3, 2, 1]]}}),
        ("submit_flow", {"name": "f", "steps": [msgpack.packb(alone)]}),
        ("submit_flow", {"name": "f", "steps": [msgpack.packb(step) for step in circle]}),
        ("submit_flow", {"name": "f", "steps": [b"\x81"]}),
    ]
