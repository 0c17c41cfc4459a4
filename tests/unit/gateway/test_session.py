"""The choke point: denial first, nothing without a line, what was checked is what is acted on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from gateway import session_stream
from gateway.policy import Binding, Bounds, Policy
from gateway.upstream import Who
from gateway.verbs import ADMIN, ROLES, SUBMITTER, VERBS, VIEWER, Target, allowed_to
from tests.unit.gateway.recording import ALICE, GROUP, JOB, Recorder, binding, job, run

if TYPE_CHECKING:
    from client.protocol import Message
    from gateway.session import Session

SUBMIT: Message = {"argv": ["/bin/echo", "a secret"], "cwd": "/", "env": {"PASSWORD": "s3cret"}}
BY_TARGET: dict[Target, Message] = {
    Target.JOB: {"job": JOB},
    Target.GROUP: {"group": GROUP},
    Target.SCHEDULE: {"schedule": "nightly"},
    Target.QUEUE: {"name": "batch"},
}
BY_OP: dict[str, Message] = {
    "submit": SUBMIT,
    "stop_many": {"select": {"queue": "batch"}},
    "submit_array": {"submit": SUBMIT, "array": {"ranges": [[0, 1, 1]]}},
    "schedule": {"submit": SUBMIT, "every": "@daily"},
    "submit_flow": {"name": "f", "steps": [b"\x82\xa4name\xa1a\xa6submit\x81\xa4argv\x91\xa1x"]},
}


def args_for(op: str) -> Message:
    verb = VERBS.get(op)
    return dict(BY_OP.get(op) or (verb and BY_TARGET.get(verb.target)) or {})


async def ask(session: Session, op: str, args: Message | None = None) -> Any:
    given = args_for(op) if args is None else args
    if op not in VERBS or not VERBS[op].is_stream:
        return await session.request(op, given)
    async with session.stream(op, given) as events:
        return [event async for event in events], events.answer


def refusal(session: Session, op: str, args: Message | None = None) -> RequestRefused:
    with pytest.raises(RequestRefused) as raised:
        run(ask(session, op, args))
    return raised.value


# Let in


def test_nobody_enters_who_is_in_no_binding() -> None:
    recorder = Recorder()
    with pytest.raises(RequestRefused, match="no binding of the gateway's policy") as raised:
        recorder.enter()
    assert raised.value.code == "not-permitted"
    assert recorder.refusals == ["not-permitted"]
    assert [line["decision"] for line in recorder.lines] == ["denied"]


def test_nobody_enters_with_a_certificate_that_does_not_count() -> None:
    recorder = Recorder(binding(ADMIN))
    recorder.distrust = "the certificate was revoked"
    with pytest.raises(RequestRefused, match="revoked") as raised:
        recorder.enter()
    assert raised.value.code == "unauthenticated"
    assert recorder.lines[0]["why"] == "the certificate was revoked"
    assert recorder.lines[0]["serial"] == "3f"


def test_nobody_acts_for_a_user_that_is_not_his() -> None:
    with pytest.raises(RequestRefused, match="may not act for"):
        Recorder(binding(ADMIN)).enter(user="bob")
    with pytest.raises(RequestRefused, match="root"):
        Recorder(binding(ADMIN)).enter(user="root")


def test_runnerd_is_asked_as_the_user_that_was_chosen() -> None:
    recorder = Recorder(binding(VIEWER, users=("nightly",)))
    run(ask(recorder.enter(user="nightly"), "queues"))
    assert recorder.who == [Who("nightly", "serial 3f, CN=alice")]
    assert recorder.lines[0]["user"] == "nightly"


def test_runnerd_is_told_of_names_that_are_no_ascii_in_ascii() -> None:
    recorder = Recorder(Binding(match="CN=Jürgen*", user="alice", roles=frozenset({VIEWER})))
    named = msgspec.structs.replace(ALICE, common_name="Jürgen, serial 1f")
    session = recorder.gate.enter(named, remote="192.0.2.7", api="rest")
    run(ask(session, "queues"))
    assert recorder.who[0].origin == r"serial 3f, CN=J\xfcrgen, serial 1f"


def test_a_flood_of_those_who_are_turned_away_is_one_line_a_second() -> None:
    recorder = Recorder()
    for number in range(500):
        recorder.now = number / 250
        with pytest.raises(RequestRefused):
            recorder.enter()
    assert [line.get("left_out") for line in recorder.lines] == [None, 249]
    assert len(recorder.refusals) == 500


# Role and operation


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("op", sorted(VERBS))
def test_what_a_role_may_not_never_reaches_runnerd(role: str, op: str) -> None:
    recorder = Recorder(binding(role))
    session = recorder.enter()
    if op in allowed_to(role):
        run(ask(session, op))
        assert [asked for asked, _ in recorder.asked] == [op]
        assert all(line["decision"] == "allowed" for line in recorder.lines)
        assert recorder.counted == [(op, "ok")]
    else:
        assert refusal(session, op).code == "not-permitted"
        assert recorder.asked == []
        assert [line["decision"] for line in recorder.lines] == ["denied"]
        assert recorder.counted == [(op, "not-permitted")]
        assert recorder.refusals == ["not-permitted"]
    assert recorder.open_streams == 0


@pytest.mark.parametrize("op", ["hello", "credit", "cancel", "signal", "", "Status", "__class__"])
def test_what_is_no_operation_never_reaches_runnerd(op: str) -> None:
    recorder = Recorder(binding(*ROLES))
    assert refusal(recorder.enter(), op).code == "unknown-op"
    assert recorder.asked == []
    assert recorder.counted == [("unknown", "unknown-op")]
    assert recorder.lines[0]["verb"] == op


def test_a_stream_is_no_request_and_the_other_way_round() -> None:
    recorder = Recorder(binding(ADMIN))
    session = recorder.enter()

    async def body() -> None:
        with pytest.raises(RequestRefused) as raised:
            await session.request("logs", {"job": JOB})
        assert raised.value.code == "bad-request"
        with pytest.raises(RequestRefused):
            await session.stream("status", {"job": JOB}).__aenter__()

    run(body())
    assert recorder.asked == []
    assert recorder.open_streams == 0


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("status", []),
        ("status", {b"job": JOB}),
        ("status", {}),
        ("status", {"job": 5}),
        ("status", {"job": b"x"}),
        ("submit", {**SUBMIT, "queue": b"prod"}),
        ("submit", {**SUBMIT, "user": True}),
        ("submit", {**SUBMIT, "priority": "9"}),
        ("submit", {**SUBMIT, "after": {"job": JOB}}),
        ("submit", {**SUBMIT, "net": []}),
        ("submit_array", {"submit": 5}),
        ("submit_array", {"submit": {b"user": "bob"}}),
        ("submit_flow", {"name": "f", "steps": []}),
        ("submit_flow", {"name": "f", "steps": ["text"]}),
        ("submit_flow", {"name": "f", "steps": [b"\xc1"]}),
        ("submit_flow", {"name": "f", "steps": [b"\x80"] * 1001}),
        ("list", {"select": 5}),
        ("list", {"select": None}),
        ("stop_many", {}),
        ("stop_many", {"select": None}),
        ("list", {"select": {"queue": 5}}),
        ("update", {"job": JOB, "priority": 1.5}),
        ("submit", {**SUBMIT, "labels": [[[]]] * 2 + [eval("[" * 40 + "]" * 40)]}),  # noqa: S307
    ],
)
def test_what_cannot_be_read_is_not_sent_on(op: str, args: Any) -> None:
    recorder = Recorder(binding(ADMIN))
    assert refusal(recorder.enter(), op, args).code in {"invalid-argument", "bad-request"}
    assert recorder.asked == []


def test_an_operator_with_users_in_its_steps_is_found_out() -> None:
    recorder = Recorder(binding(SUBMITTER))
    step = b"\x82\xa4name\xa1a\xa6submit\x82\xa4argv\x91\xa1x\xa4user\xa3bob"
    refused = refusal(recorder.enter(), "submit_flow", {"name": "f", "steps": [step]})
    assert (refused.code, refused.field) == ("not-permitted", "steps[0].submit.user")


def test_a_step_that_says_a_thing_twice_is_sent_as_it_was_read() -> None:
    recorder = Recorder(binding(SUBMITTER))
    step = b"\x82\xa4name\xa1a\xa6submit\x82\xa4user\xa3bob\xa4user\xa5alice"
    run(ask(recorder.enter(), "submit_flow", {"name": "f", "steps": [step]}))
    assert b"bob" not in recorder.asked[0][1]["steps"][0]


def test_a_command_that_is_too_long_is_refused_by_the_gates_bound_and_the_bindings() -> None:
    recorder = Recorder(binding(SUBMITTER))
    recorder.gate.max_command_bytes = 18
    session = recorder.enter()
    assert refusal(session, "submit").field == "argv"
    assert refusal(session, "exec", {"job": JOB, "argv": ["x" * 18]}).field == "argv"
    hooks = [{"on": ["ok"], "argv": ["x" * 18]}]
    assert refusal(session, "submit", {**SUBMIT, "argv": ["x"], "hooks": hooks}).field == "argv"
    run(ask(session, "exec", {"job": JOB, "argv": ["x" * 17]}))
    recorder.policy = Policy([binding(SUBMITTER, bounds=Bounds(max_command_bytes=1000))])
    run(ask(session, "submit"))


# How often


def test_more_than_the_burst_is_refused_with_the_time_to_wait() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(requests_per_second=2, burst=1)))
    session = recorder.enter()
    run(ask(session, "queues"))
    refused = refusal(session, "queues")
    assert refused.code == "too-many-requests"
    assert refused.retry_after_seconds == pytest.approx(0.5)
    assert len(recorder.asked) == 1
    recorder.now = 0.5
    run(ask(session, "queues"))


def test_what_comes_too_often_does_not_fill_the_audit_log() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(requests_per_second=0.001, burst=1)))
    session = recorder.enter()
    for _ in range(100):
        with pytest.raises(RequestRefused):
            run(ask(session, "status", {}))
    assert [line["code"] for line in recorder.lines] == ["invalid-argument", "too-many-requests"]
    recorder.now = 2.0
    refusal(session, "queues")
    assert recorder.lines[-1]["left_out"] == 98


def test_submissions_have_a_bound_of_their_own() -> None:
    bounds = Bounds(submissions_per_second=1, submission_burst=1)
    recorder = Recorder(binding(SUBMITTER, bounds=bounds))
    session = recorder.enter()
    run(ask(session, "submit"))
    assert "submissions a second" in str(refusal(session, "submit_array"))
    run(ask(session, "queues"))


def test_a_flow_of_many_steps_is_many_submissions() -> None:
    recorder = Recorder(
        binding(SUBMITTER, bounds=Bounds(submissions_per_second=1, submission_burst=3))
    )
    session = recorder.enter()
    flow = {"name": "f", "steps": BY_OP["submit_flow"]["steps"] * 100}
    run(ask(session, "submit_flow", flow))
    refused = refusal(session, "submit_flow", flow)
    assert "submissions a second" in str(refused)
    assert refused.retry_after_seconds == pytest.approx(3.0)


def test_streams_and_waits_are_counted_and_counted_out_whatever_happens() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(streams=1)))
    session = recorder.enter()

    async def body() -> None:
        async with session.stream("events", {}):
            assert recorder.open_streams == 1
            with pytest.raises(RequestRefused, match="1 streams and waits"):
                await session.request("wait", {"job": JOB})
        for broken in (ConnectionLost("gone"), RequestRefused("no-such-job"), KeyError("x")):
            recorder.answers["logs"] = broken
            with pytest.raises(type(broken)):
                await session.stream("logs", {"job": JOB}).__aenter__()
        recorder.answers["logs"] = {}
        recorder.events = [ConnectionLost("gone")]
        with pytest.raises(ConnectionLost):
            await ask(session, "logs")
        recorder.events = [{}, {}]
        async with session.stream("logs", {"job": JOB}) as events:
            async for _ in events:
                break
        task = asyncio.create_task(session.request("wait", {"job": JOB}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(body())
    assert recorder.open_streams == 0
    assert recorder.gate.rates.open_streams("CN=alice") == 0
    account = recorder.gate.rates._accounts["CN=alice"]
    assert (account.in_flight, account.streams) == (0, 0)
    assert recorder.counted[-1] == ("wait", "cancelled")


def test_connections_are_bounded_by_the_same_numbers() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(connections=1)))
    recorder.gate.connect(ALICE)
    with pytest.raises(RequestRefused, match="1 connections"):
        recorder.gate.connect(ALICE)
    recorder.gate.disconnect(ALICE)
    recorder.gate.connect(ALICE)
    with pytest.raises(RequestRefused, match="no binding"):
        Recorder().gate.connect(ALICE)


# While it goes on


def test_a_revoked_certificate_gets_nothing_more_of_a_stream() -> None:
    recorder = Recorder(binding(VIEWER))
    recorder.events = [{"data": b"1"}, {"data": b"2"}]
    session, seen = recorder.enter(), []

    async def body() -> None:
        async with session.stream("logs", {"job": JOB}) as events:
            async for event in events:
                seen.append(event["data"])
                recorder.distrust = "revoked"

    with pytest.raises(RequestRefused) as raised:
        run(body())
    assert raised.value.code == "unauthenticated"
    assert seen == [b"1"]
    assert recorder.bytes == 1


def test_a_revocation_ends_a_stream_on_which_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_stream, "RECHECK_SECONDS", 0.001)
    recorder = Recorder(binding(VIEWER))
    recorder.events = [None]
    session = recorder.enter()

    async def body() -> None:
        async with session.stream("events", {"follow": True}) as events:
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            recorder.distrust = "revoked"
            await waiting

    with pytest.raises(RequestRefused, match="revoked"):
        run(body())
    assert recorder.open_streams == 0


def test_whoever_may_not_go_on_is_not_told_what_he_waited_for() -> None:
    recorder = Recorder(binding(VIEWER))

    def answer(_args: Message) -> Message:
        recorder.distrust = "revoked"
        return {"job": JOB}

    recorder.answers["wait"] = answer
    assert refusal(recorder.enter(), "wait").code == "unauthenticated"


def test_a_policy_that_takes_rights_away_counts_at_once() -> None:
    recorder = Recorder(binding(ADMIN))
    recorder.events = [{}]
    session = recorder.enter()

    async def body() -> None:
        async with session.stream("logs", {"job": JOB}) as events:
            recorder.policy = Policy([binding(VIEWER)])
            with pytest.raises(RequestRefused, match="policy has changed"):
                await anext(events)
            with pytest.raises(RequestRefused, match="policy has changed"):
                await events.signal(9)

    run(body())
    assert refusal(session, "submit").code == "not-permitted"
    recorder.policy = Policy()
    with pytest.raises(RequestRefused, match="no binding"):
        session.identity()


def test_signals_reach_the_command_of_an_exec() -> None:
    recorder = Recorder(binding(SUBMITTER))
    session = recorder.enter()

    async def body() -> None:
        async with session.stream("exec", {"job": JOB, "argv": ["x"]}) as events:
            await events.signal(2)

    run(body())
    assert recorder.stream_of is not None
    assert recorder.stream_of.signals == [2]


def test_refusals_and_absences_of_runnerd_pass_through() -> None:
    for error in (
        RequestRefused("quota-exceeded", given=1),
        ConnectionLost("gone"),
        DaemonUnavailable("missing", "/s", "nobody", ""),
    ):
        recorder = Recorder(binding(SUBMITTER), {"submit": error})
        with pytest.raises(type(error)) as raised:
            run(ask(recorder.enter(), "submit"))
        assert raised.value is error
        assert recorder.refusals == []
        assert recorder.lines[-1]["decision"] == "allowed"


# Written down


def test_a_write_is_in_the_log_before_it_is_asked_and_after() -> None:
    recorder = Recorder(binding(SUBMITTER))
    seen: list[str] = []

    def answer(_args: Message) -> Message:
        seen.extend(line["phase"] for line in recorder.lines)
        return {"job": JOB}

    recorder.answers["submit"] = answer
    session = recorder.enter()
    run(ask(session, "submit"))
    assert seen == ["asked"]
    before, after = recorder.lines
    assert before["request"] == after["request"] == session.request_id
    assert (after["phase"], after["code"], after["made"]) == ("done", "ok", JOB)
    assert (after["argv0"], after["argc"]) == ("/bin/echo", 2)
    assert (after["remote"], after["api"], after["verb"]) == ("192.0.2.7", "rest", "submit")


def test_neither_environment_nor_arguments_are_in_the_log() -> None:
    recorder = Recorder(binding(ADMIN))
    session = recorder.enter()
    for op in ("submit", "submit_array", "schedule"):
        run(ask(session, op))
    run(ask(session, "exec", {"job": JOB, "argv": ["sh", "a secret"], "env": {"P": "s3cret"}}))
    assert not any("secret" in str(line) or "s3cret" in str(line) for line in recorder.lines)


def test_nothing_is_asked_that_cannot_be_written_down() -> None:
    recorder = Recorder(binding(ADMIN))
    recorder.audit_fails_at = {0}
    for op in ("submit", "logs", "wait", "stop"):
        refused = refusal(recorder.enter(), op)
        assert refused.code == "audit-unavailable"
        assert "nothing is done without it" in str(refused)
    assert recorder.asked == []
    assert recorder.open_streams == 0


def test_nothing_is_told_that_cannot_be_written_down() -> None:
    recorder = Recorder(binding(VIEWER), {"status": {"job": JOB}})
    recorder.audit_fails_at = {0}
    assert refusal(recorder.enter(), "status").code == "audit-unavailable"


def test_what_has_happened_is_told_though_its_outcome_cannot_be_written() -> None:
    recorder = Recorder(binding(SUBMITTER), {"submit": {"job": JOB}})
    recorder.audit_fails_at = {1}
    session = recorder.enter()
    assert run(ask(session, "submit")) == {"job": JOB}
    assert [line["phase"] for line in recorder.lines] == ["asked"]
    assert refusal(session, "submit").code == "audit-unavailable"


def test_a_refusal_stands_where_it_cannot_be_written_down() -> None:
    recorder = Recorder(binding(VIEWER))
    recorder.audit_fails_at = {0}
    assert refusal(recorder.enter(), "submit").code == "not-permitted"


def test_a_read_has_one_line_with_its_outcome() -> None:
    recorder = Recorder(binding(VIEWER), {"status": RequestRefused("no-such-job", given="x")})
    refusal(recorder.enter(), "status")
    (line,) = recorder.lines
    assert (line["job"], line["code"], line["decision"]) == (JOB, "no-such-job", "allowed")


def test_a_client_that_goes_away_leaves_a_line() -> None:
    recorder = Recorder(binding(VIEWER))

    async def body() -> None:
        task = asyncio.create_task(recorder.enter().request("status", {"job": JOB}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(body())
    assert [line["code"] for line in recorder.lines] == ["cancelled"]


# Before anything is decoded


def test_who_may_not_ask_is_told_so_before_what_was_sent_is_read() -> None:
    recorder = Recorder(binding(VIEWER))
    with pytest.raises(RequestRefused) as refused:
        recorder.enter().admit("submit_flow")
    assert refused.value.code == "not-permitted"
    (line,) = recorder.lines
    assert (line["verb"], line["decision"]) == ("submit_flow", "denied")


def test_a_request_that_was_admitted_counts_once_in_the_rate() -> None:
    bounds = Bounds(requests_per_second=0.001, burst=2)
    recorder = Recorder(binding(SUBMITTER, bounds=bounds))
    session = recorder.enter()
    session.admit("submit")
    run(ask(session, "submit", SUBMIT))
    session.admit("submit")
    with pytest.raises(RequestRefused) as refused:
        recorder.enter().admit("submit")
    assert refused.value.code == "too-many-requests"
    run(ask(session, "submit", SUBMIT))
    with pytest.raises(RequestRefused):
        run(ask(session, "submit", SUBMIT))


# What is no operation


def test_what_is_no_operation_is_counted_and_is_refused_with_a_line() -> None:
    bounds = Bounds(requests_per_second=0.5, burst=1)
    recorder = Recorder(binding(bounds=bounds))
    session = recorder.enter()
    session.touch()
    assert recorder.lines == []
    with pytest.raises(RequestRefused) as refused:
        session.touch()
    assert refused.value.code == "too-many-requests"
    assert refused.value.retry_after_seconds == pytest.approx(2.0)
    (line,) = recorder.lines
    assert (line["decision"], line["code"]) == ("denied", "too-many-requests")
    assert recorder.refusals == ["too-many-requests"]
    assert recorder.asked == []


def test_touching_pays_for_no_operation() -> None:
    bounds = Bounds(requests_per_second=0.001, burst=2)
    session = Recorder(binding(VIEWER, bounds=bounds)).enter()
    session.touch()
    run(ask(session, "queues"))
    assert refusal(session, "queues").code == "too-many-requests"


def test_asking_for_a_user_that_is_not_ones_own_is_counted_too() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(requests_per_second=0.001, burst=1)))
    for code in ("not-permitted", "too-many-requests"):
        with pytest.raises(RequestRefused) as refused:
            recorder.enter(user="bob")
        assert refused.value.code == code


def test_a_revoked_certificate_takes_nothing_from_the_one_that_replaced_it() -> None:
    recorder = Recorder(binding(VIEWER, bounds=Bounds(requests_per_second=0.001, burst=1)))
    recorder.distrust = "it was revoked"
    for _ in range(5):
        with pytest.raises(RequestRefused, match="revoked"):
            recorder.enter()
    recorder.distrust = None
    recorder.enter().touch()


def test_bytes_that_are_held_are_bounded_by_subject_and_released() -> None:
    recorder = Recorder(binding(SUBMITTER))
    one, other = recorder.enter(), recorder.enter()
    one.hold(60, 100)
    with pytest.raises(RequestRefused, match="bytes of requests") as refused:
        other.hold(41, 100)
    assert refused.value.retry_after_seconds == 1.0
    assert recorder.lines[-1]["code"] == "too-many-requests"
    one.release(60)
    other.hold(100, 100)


# Traces, and who one is


@pytest.mark.parametrize("op", ["submit", "submit_array", "submit_flow", "schedule"])
def test_the_trace_is_handed_to_what_is_submitted(op: str) -> None:
    recorder = Recorder(binding(SUBMITTER))
    given = args_for(op)
    run(ask(recorder.enter(trace="00-1-2-01"), op, given))
    sent = recorder.asked[0][1]
    env = sent["env"] if "env" in sent else sent["submit"]["env"]
    assert env["TRACEPARENT"] == "00-1-2-01"
    assert "TRACEPARENT" not in str(given)


@pytest.mark.parametrize("env", [{"TRACEPARENT": "own"}, {b"TRACESTATE": b"own"}, 5])
def test_a_trace_of_the_callers_own_stays(env: Any) -> None:
    recorder = Recorder(binding(SUBMITTER))
    run(ask(recorder.enter(trace="00-1-2-01"), "submit", {**SUBMIT, "env": env}))
    sent = recorder.asked[0][1]["env"]
    assert sent == env if env == 5 else env.items() <= sent.items()
    assert not isinstance(sent, dict) or "TRACEPARENT" not in sent or sent == {**sent, **env}


def test_a_caller_may_know_who_he_is() -> None:
    found = Recorder(binding(VIEWER)).enter().identity()
    assert (found["subject"], found["user"], found["roles"]) == ("CN=alice", "alice", [VIEWER])
    assert set(found["operations"]) == allowed_to(VIEWER)
    assert (found["queues"], found["names"]) == (None, None)


def test_without_a_scope_nothing_more_is_asked_of_runnerd() -> None:
    recorder = Recorder(binding(ADMIN))
    session = recorder.enter()
    given = {"job": "x", "before": "y"}
    run(ask(session, "move", given))
    assert recorder.asked == [("move", given)]


def test_long_lists_count_as_the_work_that_they_are() -> None:
    bounds = Bounds(requests_per_second=0.001, burst=10)
    recorder = Recorder(binding(VIEWER, bounds=bounds))
    recorder.answers["list"] = {"jobs": [job() for _ in range(500)], "next": None}
    session = recorder.enter()
    run(ask(session, "list", {}))
    with pytest.raises(RequestRefused) as refused:
        run(ask(session, "queues"))
    assert refused.value.code == "too-many-requests"
