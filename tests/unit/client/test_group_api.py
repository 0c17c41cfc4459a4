"""Groups in the library: what is asked, what is given, what is no answer, what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from client.api import Client
from client.errors import ConnectionLost, ProtocolError, RequestRefused, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

ID = "9b1d81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MADE = {"group": ID, "kind": "array", "jobs": 51, "existing": False}
COUNTS = dict.fromkeys(
    ("queued", "starting", "running", "paused", "ok", "failed", "skipped"), 0
)  # fmt: skip
SUMMARY: dict[str, Any] = {"group": ID, "kind": "array", "size": 3, "counts": COUNTS}
BARE: dict[str, Any] = {"cwd": "/", "env": {"A": "b"}, "umask": 0o22}


def page(*members: int, following: int | None = None) -> dict[str, Any]:
    return {**SUMMARY, "members": [{"member": each} for each in members], "next": following}


def test_an_array_is_asked_for_with_what_it_submits(daemon: FakeDaemon) -> None:
    daemon.answer("submit_array", MADE)
    with Client(daemon.path) as client:
        made = client.submit_array(
            ["make", b"\xff"], ranges=[(0, 98, 2), (99, 99, 1)], max_running=4, name="n",
            idempotency_key="k", **BARE,
        )  # fmt: skip
    assert made == MADE
    assert daemon.args("submit_array") == [{
        "submit": {"argv": ["make", b"\xff"], **BARE, "name": "n", "idempotency_key": "k"},
        "array": {"ranges": [[0, 98, 2], [99, 99, 1]], "max_running": 4},
    }]  # fmt: skip


def test_without_a_bound_none_is_sent(daemon: FakeDaemon) -> None:
    daemon.answer("submit_array", MADE)
    with Client(daemon.path) as client:
        client.submit_array(["true"], ranges=[(0, 1, 1)], **BARE)
    assert daemon.args("submit_array")[0]["array"] == {"ranges": [[0, 1, 1]]}


def test_a_flow_is_asked_for_step_by_step(daemon: FakeDaemon) -> None:
    daemon.answer("submit_flow", {**MADE, "kind": "flow"})
    hook = {"on": ["ok"], "argv": ["mail"], "url": None}
    with Client(daemon.path) as client:
        client.submit_flow(
            "release",
            [
                {"name": "build", "submit": {"argv": ["\udcff"], "limits": {"pids_max": 3}}},
                {"name": "test", "submit": {"argv": ["x"]}, "needs": [{"step": "build"}]},
            ],
            env={"A": "b"}, max_running=2, hooks=[hook], key="k",
        )  # fmt: skip
    (asked,) = daemon.args("submit_flow")
    steps = [msgpack.unpackb(step) for step in asked.pop("steps")]
    assert steps == [
        {"name": "build", "submit": {"argv": [b"\xff"], "limits": {"pids_max": 3}}},
        {"name": "test", "submit": {"argv": ["x"]}, "needs": [{"step": "build"}]},
    ]
    assert asked == {
        "name": "release", "env": {"A": "b"}, "max_running": 2, "idempotency_key": "k",
        "hooks": [{"on": ["ok"], "argv": ["mail"]}],
    }  # fmt: skip


def test_a_flow_has_the_environment_of_its_caller_unless_another_is_given(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    daemon.answer("submit_flow", MADE)
    with Client(daemon.path) as client:
        client.submit_flow("f", [{"name": "a", "submit": {}}])
        client.submit_flow("f", [{"name": "a", "submit": {}}], env={})
    own, none = (asked["env"] for asked in daemon.args("submit_flow"))
    assert own["OURS"] == "1"
    assert none == {}


@pytest.mark.parametrize("wrong", [object(), 2**70, "\ud800"])
def test_a_step_that_cannot_travel_is_refused_before_anything_is_sent(
    daemon: FakeDaemon, wrong: object
) -> None:
    steps: Any = [{"name": "a", "submit": {}}, {"name": "b", "submit": {"argv": [wrong]}}]
    with Client(daemon.path) as client, pytest.raises(RequestRefused) as refused:
        client.submit_flow("f", steps, env={})
    assert refused.value.field == "steps[1]"
    assert not daemon.args("submit_flow")


def broken_at_first(op: str) -> Callable[[Session, dict[str, Any]], None]:
    """Takes the request, and dies before it answers."""
    times: list[str] = []

    def handle(session: Session, request: dict[str, Any]) -> None:
        times.append(op)
        if len(times) == 1:
            session.close()
        else:
            session.ok(request, {**MADE, "existing": True})

    return handle


def test_a_submission_that_may_have_arrived_is_sent_again_with_the_same_key(
    daemon: FakeDaemon,
) -> None:
    daemon.handlers["submit_array"] = broken_at_first("submit_array")
    daemon.handlers["submit_flow"] = broken_at_first("submit_flow")
    with Client(daemon.path) as client:
        assert client.submit_array(["true"], ranges=[(0, 1, 1)], **BARE)["existing"]
        assert client.submit_flow("f", [{"name": "a", "submit": {}}], env={})["existing"]
    first, again = (args["submit"]["idempotency_key"] for args in daemon.args("submit_array"))
    assert first == again
    assert len(first) == 36
    of_flow = [args["idempotency_key"] for args in daemon.args("submit_flow")]
    assert of_flow[0] == of_flow[1] != first


def test_a_daemon_that_stays_away_may_have_it(daemon: FakeDaemon) -> None:
    def gone(session: Session, _request: dict[str, Any]) -> None:
        session.close()

    daemon.handlers["submit_array"] = gone
    with (
        Client(daemon.path, reconnect_seconds=0.1) as client,
        pytest.raises(ConnectionLost, match="its jobs may have been accepted"),
    ):
        client.submit_array(["true"], ranges=[(0, 1, 1)], **BARE)


def test_a_list_is_collapsed_page_by_page(daemon: FakeDaemon) -> None:
    pages: dict[int | None, dict[str, Any]] = {
        None: {"jobs": [{"group_summary": SUMMARY}], "next": 7},
        7: {"jobs": [{"job": "b"}], "next": None},
    }
    daemon.handlers["list"] = lambda s, r: s.ok(r, pages[r["args"]["before"]])
    with Client(daemon.path) as client:
        found = list(client.entries(ended=True, select={"queue": "q"}, page=1))
    assert found == [{"group_summary": SUMMARY}, {"job": "b"}]
    assert daemon.args("list")[1] == {
        "ended": True, "collapse": True, "limit": 1, "select": {"queue": "q"}, "before": 7,
    }  # fmt: skip


def test_members_are_given_page_by_page_by_the_full_id(daemon: FakeDaemon) -> None:
    pages = {-1: page(0, 1, following=1), 1: page(2)}
    daemon.handlers["group"] = lambda s, r: s.ok(r, pages[r["args"]["after"]])
    with Client(daemon.path) as client:
        assert [each["member"] for each in client.members("sweep", page=2)] == [0, 1, 2]
    assert daemon.args("group") == [
        {"group": "sweep", "after": -1, "limit": 2},
        {"group": ID, "after": 1, "limit": 2},
    ]


@pytest.mark.parametrize("answer", [{}, SUMMARY, page(0, following=-1), {"group": ID}])
def test_members_that_are_none_or_never_end_are_an_error(
    daemon: FakeDaemon, answer: dict[str, Any]
) -> None:
    daemon.answer("group", answer)
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.members("x"))


STOPPED = {"group": ID, "jobs": 43, "queued": 40, "running": 3}
CHANGED = {"group": ID, "jobs": 5}
HELD = {"group": ID, "jobs": 5, "held": True}
UPDATED = {"group": ID, "max_running": None, "jobs": 5}
CALLS: list[tuple[str, dict[str, Any], Callable[[Client], object], dict[str, Any]]] = [
    ("stop_group", STOPPED, lambda c: c.stop_group("x"), {"kill": False}),
    ("stop_group", STOPPED, lambda c: c.stop_group("x", grace_seconds=3, kill=True),
     {"kill": True, "grace_seconds": 3}),
    ("retry_group", CHANGED, lambda c: c.retry_group("x"), {}),
    ("hold_group", HELD, lambda c: c.hold_group("x"), {"held": True}),
    ("hold_group", HELD, lambda c: c.release_group("x"), {"held": False}),
    ("update_group", UPDATED, lambda c: c.update_group("x", max_running=None),
     {"max_running": None}),
    ("update_group", UPDATED, lambda c: c.update_group("x", max_running=3, priority=-1),
     {"max_running": 3, "priority": -1}),
    ("remove_group", CHANGED, lambda c: c.remove_group("x"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "answer", "call", "asked"), CALLS)
def test_a_request_and_its_answer_are_those_of_the_protocol(
    daemon: FakeDaemon,
    op: str,
    answer: dict[str, Any],
    call: Callable[[Client], object],
    asked: dict[str, Any],
) -> None:
    daemon.answer(op, answer)
    with Client(daemon.path) as client:
        assert call(client) == answer
    assert daemon.args(op) == [{"group": "x", **asked}]


@pytest.mark.parametrize(("op", "_answer", "call", "_asked"), CALLS)
def test_an_answer_that_is_none_is_an_error(
    daemon: FakeDaemon,
    op: str,
    _answer: object,
    call: Callable[[Client], object],
    _asked: object,
) -> None:
    daemon.answer(op, {"group": ID, "more": 1})
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        call(client)


def test_waiting_bears_a_restart_and_means_the_same_group_still(daemon: FakeDaemon) -> None:
    times: list[int] = []

    def wait(session: Session, request: dict[str, Any]) -> None:
        times.append(1)
        if len(times) == 1:
            session.close()
        else:
            session.ok(request, {**SUMMARY, "failed": None})

    daemon.answer("group", page())
    daemon.handlers["wait_group"] = wait
    with Client(daemon.path) as client:
        assert client.wait_group("sweep")["failed"] is None
        client.wait_group(ID, timeout_seconds=0)
    assert [args["group"] for args in daemon.args("wait_group")] == [ID, ID, ID]
    assert daemon.args("wait_group")[2]["timeout_seconds"] == 0
    assert daemon.args("group") == [{"group": "sweep", "after": -1, "limit": 0}]


# The code is-group


def is_group(**about: object) -> RequestRefused:
    known = {"field": "job", "given": "'sweep'", "group": ID, "kind": "array", "jobs": 100}
    return RequestRefused.from_wire({"code": "is-group", **known, **about})


def test_what_was_named_is_known_to_the_program() -> None:
    error = is_group()
    assert error.group is not None
    assert (error.group.group, error.group.kind, error.group.jobs) == (ID, "array", 100)
    assert RequestRefused.from_wire({"code": "no-such-job", "group": ID}).group is None


@pytest.mark.parametrize(
    ("about", "named", "said"),
    [
        ({}, "sweep", "sweep is an array of 100 jobs; name one of them, sweep.INDEX"),
        ({}, None, "'sweep' is an array of 100 jobs; name one of them, 'sweep'.INDEX"),
        ({"kind": "flow", "jobs": 1}, "r", "r is a flow of 1 job; name one of them, r.STEP"),
        (
            {"field": "before"},
            "r",
            "--before: r is an array of 100 jobs; name one of them, r.INDEX",
        ),
        ({"kind": "x\x1b"}, "r", "r is a x\\x1b of 100 jobs; name one of them, r.INDEX"),
    ],
)  # fmt: skip
def test_people_are_told_what_it_is_and_how_to_go_on(
    about: dict[str, Any], named: str | None, said: str
) -> None:
    error = is_group(**about)
    error.job = named
    assert describe(error, {"before": "--before"}) == said


@pytest.mark.parametrize("about", [{"group": None}, {"kind": 5}, {"jobs": "100"}, {"jobs": True}])
def test_a_group_without_its_facts_is_no_refusal_of_the_protocol(about: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        is_group(**about)


def test_what_cannot_be_done_now_is_said_of_the_group() -> None:
    error = RequestRefused("not-now", field="group", given="9b1d81c0", detail="nothing failed")
    error.job = "sweep"
    assert describe(error) == "sweep: nothing failed"
