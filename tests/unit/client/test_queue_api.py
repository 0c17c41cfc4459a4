"""The queue's operations of the library: what is asked, what is given, what is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.errors import ProtocolError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Call = Callable[[Client], object]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MOVED = {"job": JOB_ID, "queue": "batch", "priority": 5}
RETRIED = {"job": JOB_ID, "state": "queued", "attempt": 2}
WHY: dict[str, Any] = {
    "job": JOB_ID,
    "state": "queued",
    "because": [],
    "ahead": 0,
    "start_ns": None,
}
QUEUES: dict[str, Any] = {"queues": [], "capacity": {}, "promised": {}, "own": {}, "quota": {}}
SETTING = {"name": "batch", "paused": True, "max_running": None}
STOPPED = {"jobs": 2, "queued": 1, "running": 1, "ids": [JOB_ID]}
NOWHERE = {"top": False, "before": None, "queue": None}
NO_STOP = {"kill": False, "grace_seconds": None, "dry_run": False, "expect": None}

# The operation, its answer, the call, what it asks for and what it gives.
CALLS: list[tuple[str, dict[str, Any], Call, dict[str, Any], object]] = [
    ("hold", {"state": "queued"}, lambda c: c.hold("b"), {"job": "b"}, "queued"),
    ("release", {"state": "queued"}, lambda c: c.release("b"), {"job": "b"}, "queued"),
    ("move", MOVED, lambda c: c.move("b", top=True), {**NOWHERE, "job": "b", "top": True}, MOVED),
    ("move", MOVED, lambda c: c.move("b", before="x"), {**NOWHERE, "job": "b", "before": "x"},
     MOVED),
    ("move", MOVED, lambda c: c.move("b", queue="q"), {**NOWHERE, "job": "b", "queue": "q"}, MOVED),
    ("retry", RETRIED, lambda c: c.retry("b"), {"job": "b"}, RETRIED),
    ("why", WHY, lambda c: c.why("b"), {"job": "b"}, WHY),
    ("queues", QUEUES, lambda c: c.queues(), {}, QUEUES),
    ("queue", SETTING, lambda c: c.set_queue("batch", paused=True),
     {"name": "batch", "paused": True}, SETTING),
    ("queue", SETTING, lambda c: c.set_queue("batch", max_running=None),
     {"name": "batch", "max_running": None}, SETTING),
    ("stop_many", STOPPED, lambda c: c.stop_many({"queue": "batch", "name": None}),
     {**NO_STOP, "select": {"queue": "batch"}}, STOPPED),
    ("stop_many", STOPPED,
     lambda c: c.stop_many({"labels": {"a": None}}, kill=True, grace_seconds=0, dry_run=True,
                           expect=2),
     {"select": {"labels": {"a": None}}, "kill": True, "grace_seconds": 0, "dry_run": True,
      "expect": 2}, STOPPED),
]  # fmt: skip


@pytest.mark.parametrize(("op", "answer", "call", "asked", "given"), CALLS)
def test_a_request_and_its_answer_are_those_of_the_protocol(
    daemon: FakeDaemon,
    op: str,
    answer: dict[str, Any],
    call: Call,
    asked: dict[str, Any],
    given: object,
) -> None:
    daemon.answer(op, answer)
    with Client(daemon.path) as client:
        assert call(client) == given
    assert daemon.args(op) == [asked]


@pytest.mark.parametrize(("op", "call"), {op: (op, call) for op, _, call, _, _ in CALLS}.values())
def test_an_answer_without_its_value_is_a_protocol_error(
    daemon: FakeDaemon, op: str, call: Call
) -> None:
    daemon.answer(op, {})
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="without"):
        call(client)


@pytest.mark.parametrize(("op", "call"), {op: (op, call) for op, _, call, _, _ in CALLS}.values())
def test_a_refusal_is_passed_on(daemon: FakeDaemon, op: str, call: Call) -> None:
    daemon.refuse(op, "job-state", given="running")
    with Client(daemon.path) as client, pytest.raises(RequestRefused, match="it is running"):
        call(client)


def test_a_priority_is_changed_with_limits_or_alone(daemon: FakeDaemon) -> None:
    daemon.answer("update", {"job": JOB_ID, "limits": {"pids_max": 5}, "priority": 7})
    with Client(daemon.path) as client:
        assert client.update("b", priority=7) == {"pids_max": 5}
        client.update("b", {"pids_max": 5}, priority=-7)
    assert daemon.args("update") == [
        {"job": "b", "limits": {}, "priority": 7},
        {"job": "b", "limits": {"pids_max": 5}, "priority": -7},
    ]
