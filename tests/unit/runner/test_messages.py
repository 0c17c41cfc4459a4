"""Requests: what is taken, and each refusal by field, given and allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from runner import message_queue, messages
from runner.message_kinds import Closed, OsText
from runner.message_limits import IoRequest, LimitsRequest
from runner.parsing import parse
from runner.refusal import Refusal

JOB = {"argv": ["true"], "cwd": "/"}
KINDS: list[type[Closed]] = [
    messages.Hello, messages.Submit, messages.List, messages.Status, messages.Logs, messages.Stop,
    messages.Wait, messages.Remove, messages.Doctor, messages.Credit, messages.Cancel,
    messages.Update, message_queue.Hold, message_queue.Release, message_queue.Move,
    message_queue.Retry, message_queue.Why, message_queue.Events, message_queue.Queues,
    message_queue.SetQueue, message_queue.StopMany,
]  # fmt: skip


def refusal_of(kind: type[Closed], args: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(kind, args)
    assert caught.value.code == "invalid-argument"
    return caught.value


# What is taken


def test_a_job_needs_a_command_and_a_directory_and_has_defaults_for_the_rest() -> None:
    submit = parse(messages.Submit, {**JOB})
    assert (submit.argv, submit.cwd) == ([b"true"], b"/")
    assert (submit.env, submit.name, submit.user) == ({}, None, None)
    assert (submit.umask, submit.network) == (0o022, None)
    assert submit.limits == LimitsRequest()


def test_text_of_the_system_is_bytes_whichever_way_it_came() -> None:
    args = {"argv": ["a", b"\xff", "\xe9"], "cwd": b"/\xfe", "env": {"A": b"\xff", b"\xfe": "x"}}
    submit = parse(messages.Submit, args)
    assert submit.argv == [b"a", b"\xff", b"\xc3\xa9"]
    assert submit.cwd == b"/\xfe"
    assert submit.env == {b"A": b"\xff", b"\xfe": b"x"}
    io = {"path": b"/\xff", "read_bytes_per_second": 4096}
    assert parse(messages.Submit, {**JOB, "limits": {"io": [io]}}).limits.io[0].path == b"/\xff"


def test_parsing_leaves_its_argument_alone() -> None:
    env = {"A": "1"}
    parse(messages.Submit, {**JOB, "env": env})
    assert env == {"A": "1"}


LIMIT_BOUNDS = {
    "memory_max_bytes": (4 * 2**20, 2**50),
    "cpu_max_millicpus": (10, 1_024_000),
    "pids_max": (1, 4_194_304),
    "timeout_seconds": (0.001, 315_360_000),
}
RATES = ("read_bytes_per_second", "write_bytes_per_second")


@pytest.mark.parametrize("limit", LIMIT_BOUNDS)
def test_the_bounds_of_a_limit_are_those_of_the_protocol(limit: str) -> None:
    low, high = LIMIT_BOUNDS[limit]
    for value in (low, high):
        parsed = parse(messages.Submit, {**JOB, "limits": {limit: value}})
        assert getattr(parsed.limits, limit) == value
    step = 0.0001 if isinstance(low, float) else 1
    for value in (low - step, high + 1, 0, -1, 2**63, 2**64 - 1):
        refusal = refusal_of(messages.Submit, {**JOB, "limits": {limit: value}})
        assert refusal.fields["field"] == f"limits.{limit}"
        assert refusal.fields["given"] == ascii(value)
        assert refusal.fields["allowed"] == f"{low} to {high}"


@pytest.mark.parametrize("rate", RATES)
def test_the_bounds_of_a_rate_are_those_of_the_protocol(rate: str) -> None:
    for value in (4096, 2**50):
        parse(messages.Submit, {**JOB, "limits": {"io": [{"path": "/", rate: value}]}})
    for value in (4095, 2**50 + 1):
        io = [{"path": "/", rate: 4096}, {"path": "/", rate: value}]
        refusal = refusal_of(messages.Submit, {**JOB, "limits": {"io": io}})
        assert refusal.fields == {
            "field": f"limits.io[1].{rate}",
            "given": str(value),
            "allowed": "4096 to 1125899906842624",
        }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("kind", "args", "field"),
    [
        (messages.Submit, {**JOB, "limits": {"timeout_seconds": None}}, "limits.timeout_seconds"),
        (messages.Stop, {"job": "abcd", "grace_seconds": None}, "grace_seconds"),
        (messages.Wait, {"job": "abcd", "timeout_seconds": None}, "timeout_seconds"),
    ],
)
def test_what_is_no_number_of_seconds_is_refused(
    kind: type[Closed], args: dict[str, Any], field: str, value: float
) -> None:
    parse(kind, args)
    if "limits" in args:
        args = {**args, "limits": {"timeout_seconds": value}}
    else:
        args = {**args, field: value}
    assert refusal_of(kind, args).fields["field"] == field


def test_the_longest_texts_and_lists_are_taken() -> None:
    longest = "x" * protocol.MAX_ARGUMENT_BYTES
    parse(messages.Submit, {**JOB, "argv": ["x"] * protocol.MAX_ARGUMENTS})
    parse(messages.Submit, {**JOB, "argv": [longest]})
    parse(messages.Submit, {**JOB, "cwd": "/" + "x" * 4094})
    parse(messages.Submit, {**JOB, "name": "x" * 64})
    parse(messages.Submit, {**JOB, "env": {"K": "x" * (protocol.MAX_ARGUMENT_BYTES - 2)}})
    io = [{"path": "/", "read_bytes_per_second": 4096}] * 16
    parse(messages.Submit, {**JOB, "limits": {"io": io}})


def test_a_job_that_asks_the_queue_for_nothing_waits_in_the_usual_place() -> None:
    submit = parse(messages.Submit, {**JOB})
    assert (submit.queue, submit.priority, submit.labels, submit.after) == (None, 0, {}, [])
    assert (submit.retry, submit.hold, submit.idempotency_key) == (None, False, None)
    assert submit.reserve == message_queue.ReserveRequest()
    times = (submit.not_before_ns, submit.delay_seconds, submit.deadline_ns,
             submit.deadline_seconds)  # fmt: skip
    assert times == (None,) * 4


def test_what_a_job_may_ask_of_the_queue_is_taken_up_to_the_bounds() -> None:
    labels = {f"a/b.c-d_{n}": "~" * 256 for n in range(32)}
    after = [{"job": f"job{n}", "on": "started"} for n in range(256)]
    reasons = REASONS.replace(" or ", ", ").split(", ")
    rule = {"limit": 100, "memory_factor": 1000, "memory_max_bytes": 2**50, "timeout_factor": 1,
            "timeout_max_seconds": 0.001}  # fmt: skip
    submit = parse(messages.Submit, {
        **JOB, "queue": "x" * 64, "priority": -1000, "labels": labels, "after": after,
        "not_before_ns": 2**63 - 1, "deadline_seconds": 315_360_000, "hold": True,
        "retry": {"limit": 100, "backoff_seconds": 0, "backoff_max_seconds": 315_360_000,
                  "on": reasons, "rules": [{"reason": reason, **rule} for reason in reasons]},
        "reserve": {"millicpus": 1_024_000, "memory_bytes": 2**50},
        "idempotency_key": "!" * 128,
    })  # fmt: skip
    assert submit.labels == labels
    assert submit.after[255] == message_queue.AfterRequest(job="job255", on="started")
    assert submit.retry is not None
    assert [each.reason for each in submit.retry.rules] == reasons
    assert submit.reserve.memory_bytes == 2**50


# What is refused

NO_RATE = "a rate: bytes or operations a second, read or write"
FIELDS = {
    kind: ", ".join(kind.__struct_fields__) for kind in (messages.Submit, LimitsRequest, IoRequest)
}
NAME = "at most 64 letters, digits, '.', '_' and '-', the first a letter or digit"
REASONS = "exit, signal, oom, timeout, cpu-time, output-limit, launch-error, log-error or lost"
LABELS = (
    "at most 32 labels; a name has at most 64 letters, digits, '.', '_', '-' and '/', the first "
    "no sign, a value at most 256 printable ASCII characters"
)
TOO_LONG = protocol.MAX_ARGUMENT_BYTES + 1
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    # request, field, given, allowed
    ({"argv": []}, "argv", "[]", "array of length >= 1"),
    ({"argv": "true"}, "argv", "'true'", "array, got str"),
    ({"argv": ["a", 3]}, "argv[1]", "3", "text, got int"),
    ({"argv": ["a", None]}, "argv[1]", "None", "text, got NoneType"),
    ({"argv": [""]}, "argv[0]", "''", "a command"),
    ({"argv": ["a", "b\0c"]}, "argv[1]", "b'b\\x00c'", "text without NUL"),
    ({"argv": ["x" * TOO_LONG]}, "argv[0]", f"{TOO_LONG} bytes", "at most 131071 bytes"),
    ({"cwd": "tmp"}, "cwd", "b'tmp'", "an absolute path of at most 4095 bytes without NUL"),
    ({"cwd": ""}, "cwd", "b''", "an absolute path of at most 4095 bytes without NUL"),
    ({"cwd": "/\0"}, "cwd", "b'/\\x00'", "an absolute path of at most 4095 bytes without NUL"),
    ({"cwd": 3}, "cwd", "3", "text, got int"),
    ({"env": {"A=B": "1"}}, "env[b'A=B']", "b'A=B'", "a name without '='"),
    ({"env": {"": "1"}}, "env[b'']", "b''", "a name without '='"),
    ({"env": {"A": "\0"}}, "env[b'A']", "b'A=\\x00'", "text without NUL"),
    ({"env": {"A": "x" * TOO_LONG}}, "env[b'A']", f"{TOO_LONG + 2} bytes", "at most 131071 bytes"),
    ({"umask": -1}, "umask", "-1", "0 to 511"),
    ({"umask": 0o1000}, "umask", "512", "0 to 511"),
    ({"umask": True}, "umask", "True", "0 to 511"),
    ({"umask": "0022"}, "umask", "'0022'", "0 to 511"),
    ({"limits": {"pids_max": 1.5}}, "limits.pids_max", "1.5", "1 to 4194304"),
    ({"limits": {"pids_max": "7"}}, "limits.pids_max", "'7'", "1 to 4194304"),
    ({"limits": {"io": [{"path": "/"}]}}, "limits.io[0]", "no rate", NO_RATE),
    (
        {"limits": {"io": [{"path": "x", "read_bytes_per_second": 4096}]}},
        "limits.io[0].path", "b'x'", "an absolute path of at most 4095 bytes without NUL",
    ),
    ({"limits": {"io": [{}]}}, "limits.io[0].path", "nothing", "it is required"),
    (
        {"bogus": 1}, "bogus", "an unknown field",
        f"one of: {FIELDS[messages.Submit]}",
    ),
    ({"after": [{"job": "a"}, {"job": "b", "o": 1}]}, "after[1].o", "an unknown field",
     "one of: job, on"),
    ({"after": [{}]}, "after[0].job", "nothing", "it is required"),
    ({"after": [{"job": "a", "on": "late"}]}, "after[0].on", "'late'", "ok, any, fail or started"),
    ({"after": [{"job": "a"}] * 257}, "after", f"{[{'job': 'a'}] * 257}"[:80] + "…",
     "array of length <= 256"),
    ({"reserve": {"cpus": 1}}, "reserve.cpus", "an unknown field",
     "one of: millicpus, memory_bytes"),
    ({"reserve": {"millicpus": -1}}, "reserve.millicpus", "-1", "0 to 1024000"),
    ({"retry": {}}, "retry.limit", "nothing", "it is required"),
    ({"retry": {"limit": 0}}, "retry.limit", "0", "1 to 100"),
    ({"retry": {"limit": 1, "rules": [{"reason": "oom", "x": 1}]}}, "retry.rules[0].x",
     "an unknown field", f"one of: {', '.join(message_queue.RetryRule.__struct_fields__)}"),
    ({"retry": {"limit": 1, "rules": [{"reason": "oom", "limit": 101}]}}, "retry.rules[0].limit",
     "101", "0 to 100"),
    ({"retry": {"limit": 1, "on": ["stopped"]}}, "retry.on[0]", "'stopped'", REASONS),
    ({"retry": {"limit": 1, "backoff_seconds": -1}}, "retry.backoff_seconds", "-1",
     "0 to 315360000"),
    ({"priority": 1001}, "priority", "1001", "-1000 to 1000"),
    ({"priority": True}, "priority", "True", "-1000 to 1000"),
    ({"labels": {"a b": ""}}, "labels", "{'a b': ''}", LABELS),
    ({"labels": {"a": "\n"}}, "labels[...]", "{'a': '\\n'}", LABELS),
    ({"labels": {f"l{n}": "" for n in range(33)}}, "labels",
     f"{ {f'l{n}': '' for n in range(33)} }"[:80] + "…", LABELS),
    ({"not_before_ns": -1}, "not_before_ns", "-1", "0 to 9223372036854775807"),
    ({"deadline_seconds": 0}, "deadline_seconds", "0", "0.001 to 315360000"),
    ({"idempotency_key": "a b"}, "idempotency_key", "'a b'",
     "1 to 128 printable ASCII characters without spaces"),
    ({"hold": 1}, "hold", "1", "bool, got int"),
    (
        {"limits": {"bogus": 1}}, "limits.bogus", "an unknown field",
        f"one of: {FIELDS[LimitsRequest]}",
    ),
    (
        {"limits": {"io": [{"path": "/", "bogus": 1}]}}, "limits.io[0].bogus", "an unknown field",
        f"one of: {FIELDS[IoRequest]}",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "field", "given", "allowed"), REFUSED)
def test_a_job_is_refused_by_field_given_and_allowed(
    request_: dict[str, Any], field: str, given: str, allowed: str
) -> None:
    refusal = refusal_of(messages.Submit, {**JOB, **request_})
    assert refusal.fields == {"field": field, "given": given, "allowed": allowed}


@pytest.mark.parametrize(
    "name", ["", "-x", ".x", "_x", "a b", "a/b", "é", "x" * 65, "a\n", "\n", "٣", 3, b"x"]
)
def test_what_is_no_name_is_refused_with_what_one_is(name: object) -> None:
    refusal = refusal_of(messages.Submit, {**JOB, "name": name})
    assert refusal.fields["field"] == "name"
    assert "at most 64 letters, digits" in refusal.fields["allowed"]


@pytest.mark.parametrize("network", ["", "Host", "bridge", 1, True])
def test_what_is_no_network_is_refused_with_those_that_there_are(network: object) -> None:
    refusal = refusal_of(messages.Submit, {**JOB, "network": network})
    assert refusal.fields["field"] == "network"
    assert refusal.fields["given"] == ascii(network)
    for name in ("none", "host"):
        assert name in refusal.fields["allowed"]


@pytest.mark.parametrize("user", ["", "x" * 257, -1, 2**32 - 1, 2**64 - 1, [], {}, True, 1.0])
def test_what_can_be_no_user_is_refused_with_both_ways_to_name_one(user: object) -> None:
    refusal = refusal_of(messages.Submit, {**JOB, "user": user})
    assert refusal.fields["field"] == "user"
    assert "name" in refusal.fields["allowed"]
    assert "4294967294" in refusal.fields["allowed"]


def test_nothing_at_all_is_refused_by_the_first_field_that_is_missing() -> None:
    assert refusal_of(messages.Submit, {}).fields == {
        "field": "argv", "given": "nothing", "allowed": "it is required",
    }  # fmt: skip
    assert refusal_of(messages.Status, {}).fields["field"] == "job"


def test_arguments_and_environment_together_are_bounded_as_execve_bounds_them() -> None:
    argument = "x" * 100_000
    parse(messages.Submit, {**JOB, "argv": [argument] * 10})
    env = {f"K{n}": argument for n in range(10)}
    refusal = refusal_of(messages.Submit, {**JOB, "argv": [argument] * 10, "env": env})
    assert refusal.fields["field"] == "argv and env"
    assert refusal.fields["allowed"] == "at most 1048576 bytes together"


@pytest.mark.parametrize("key", [1, None, 1.5, True, (1, 2)])
def test_a_name_in_the_environment_that_is_no_text_is_refused(key: object) -> None:
    assert refusal_of(messages.Submit, {**JOB, "env": {key: "1"}}).fields["field"] == "env"


@pytest.mark.parametrize(
    ("kind", "args", "field", "allowed"),
    [
        (messages.Status, {"job": ""}, "job", None),
        (messages.Status, {"job": "x" * 129}, "job", None),
        (messages.Status, {"job": 7}, "job", None),
        (messages.List, {"limit": 0}, "limit", "1 to 1000"),
        (messages.List, {"limit": 1001}, "limit", "1 to 1000"),
        (messages.List, {"before": -1}, "before", "0 to 9223372036854775807"),
        (messages.List, {"before": 2**63}, "before", "0 to 9223372036854775807"),
        (messages.List, {"ended": 1}, "ended", None),
        (messages.Logs, {"job": "a", "cursor": -1}, "cursor", "0 to 9223372036854775807"),
        (messages.Logs, {"job": "a", "credit": 1025}, "credit", "0 to 1024"),
        (messages.Stop, {"job": "a", "grace_seconds": 3600.5}, "grace_seconds", "0 to 3600"),
        (messages.Stop, {"job": "a", "grace_seconds": -1}, "grace_seconds", "0 to 3600"),
        (messages.Wait, {"job": "a", "timeout_seconds": -1}, "timeout_seconds", "0 to 315360000"),
        (messages.Credit, {"events": 0}, "events", "1 to 1024"),
        (message_queue.Events, {"since": -1}, "since", "0 to 9223372036854775807"),
        (message_queue.SetQueue, {"name": "-"}, "name", NAME),
        (
            message_queue.SetQueue,
            {"name": "q", "max_running": -1},
            "max_running",
            "0 to 2147483648",
        ),
        (message_queue.StopMany, {}, "select", "it is required"),
        (message_queue.StopMany, {"select": {"x": 1}}, "select.x", None),
        (message_queue.StopMany, {"select": {}, "expect": -1}, "expect", "0 to 9007199254740992"),
        (
            messages.List,
            {"select": {"states": ["done"]}},
            "select.states[0]",
            "queued, starting, running, paused or ended",
        ),
        (messages.List, {"select": {"states": []}}, "select.states", None),
        (
            messages.List,
            {"select": {"name": "\x1b"}},
            "select.name",
            "a shell pattern of at most 64 printable ASCII characters",
        ),
        (messages.List, {"select": {"labels": {"": None}}}, "select.labels", LABELS),
        (
            messages.List,
            {"select": {"user": 2**32 - 1}},
            "select.user",
            "a user's name, or a number from 0 to 4294967294",
        ),
        (messages.Update, {"job": "a", "priority": -1001}, "priority", "-1000 to 1000"),
        (messages.Credit, {"events": 1025}, "events", "1 to 1024"),
        (messages.Hello, {"protocol": "1"}, "protocol", None),
        (messages.Hello, {"protocol": 1, "client": "x" * 129}, "client", None),
    ],
)
def test_other_requests_are_bounded_as_the_protocol_says(
    kind: type[Closed], args: dict[str, Any], field: str, allowed: str | None
) -> None:
    refusal = refusal_of(kind, args)
    assert refusal.fields["field"] == field
    assert refusal.fields["allowed"] == allowed if allowed else refusal.fields["allowed"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_request_refuses_a_field_that_it_does_not_know(kind: type[Closed]) -> None:
    refusal = refusal_of(kind, {"bogus": 1})
    assert refusal.fields["field"] in {"bogus", *kind.__struct_fields__}
    assert refusal.fields["allowed"]


# Whatever is sent


CRAFTED = [
    "x - at `$.argv.\u00b2",
    "x` - at `$.argv[0]",
    "x - at `$.limits.io[7].path",
    "x - at `$",
    "- at `(key` in `$.env",
    "Object missing required field `argv",
]


@pytest.mark.parametrize("name", CRAFTED)
def test_a_field_whose_name_imitates_a_place_is_still_only_an_unknown_field(name: str) -> None:
    refusal = refusal_of(messages.Submit, {name: 1, **JOB, "limits": {"io": []}})
    assert refusal.fields["given"] == "an unknown field"


INNER: list[type[Closed]] = [
    LimitsRequest, IoRequest, message_queue.AfterRequest, message_queue.RetryRequest,
    message_queue.RetryRule, message_queue.ReserveRequest, message_queue.Select,
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([*CRAFTED, "/", "none", "host", "\0", "a=b", "ok", "oom", "exit", "queued"])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from(
    sorted({name for kind in (*KINDS, *INNER) for name in kind.__struct_fields__})
)  # fmt: skip
inner_names = st.sampled_from(sorted({name for kind in INNER for name in kind.__struct_fields__}))
part = st.dictionaries(inner_names, anything, max_size=4)
rules = st.lists(
    st.builds(
        lambda reason, more: {"reason": reason, **more},
        st.sampled_from(["oom", "exit", "lost", "stopped"]) | anything,
        st.dictionaries(
            st.sampled_from(message_queue.RetryRule.__struct_fields__),
            st.none() | st.integers(0, 2**23) | anything,
            max_size=3,
        ),
    ),
    max_size=3,
)
numbers = st.none() | st.integers(-1, 2**62) | st.floats()
# What the queue is asked for, mostly right as well.
queueing = st.fixed_dictionaries(
    {},
    optional={
        "after": st.lists(
            st.fixed_dictionaries({"job": st.text(min_size=1, max_size=3)}) | part, max_size=3
        ),
        "retry": st.builds(
            lambda limit, rules, more: {"limit": limit, "rules": rules, **more},
            st.integers(0, 101),
            rules,
            part,
        ),
        "reserve": part,
        "select": part,
        "labels": st.dictionaries(st.text(max_size=3), st.text(max_size=3) | scalars, max_size=3),
        "not_before_ns": numbers,
        "delay_seconds": numbers,
        "deadline_ns": numbers,
        "deadline_seconds": numbers,
        "job": st.just("abcd"),
        "before": st.just("abce"),
        "top": st.booleans(),
        "queue": st.just("q"),
        "paused": st.booleans(),
        "name": st.just("q"),
    },
)
# Mostly right, so that the checks behind the first one are reached too.
requests = st.one_of(
    queueing,
    st.builds(lambda queue: {**JOB, **queue}, queueing),
    st.dictionaries(field_names | st.sampled_from(CRAFTED) | st.text(max_size=4), anything),
    st.builds(
        lambda more, limits, io: {**JOB, "limits": {**limits, "io": io}, **more},
        st.dictionaries(field_names, anything, max_size=2),
        st.dictionaries(st.sampled_from(sorted(LIMIT_BOUNDS)), anything, max_size=2),
        anything
        | st.lists(
            st.dictionaries(st.sampled_from(["path", *RATES, "x"]), anything | st.just(5000)),
            max_size=2,
        ),
    ),
)


@given(kind=st.sampled_from(KINDS), args=requests)
def test_any_value_is_a_request_or_a_refusal_that_can_be_sent(
    kind: type[Closed], args: dict[str, Any]
) -> None:
    answer: Closed | Refusal
    try:
        answer = parse(kind, args)
    except Refusal as refusal:
        answer = refusal
    if isinstance(answer, Refusal):
        assert answer.code == "invalid-argument"
        assert answer.fields["given"]
        assert answer.fields["allowed"]
        protocol.encode_frame(answer.to_wire())
    else:
        assert isinstance(answer, kind)


@given(value=st.text() | st.binary())
def test_an_argument_reaches_the_kernel_as_it_was_given(value: str | bytes) -> None:
    wanted = value if isinstance(value, bytes) else value.encode()
    try:
        submit = parse(messages.Submit, {**JOB, "argv": ["x", value]})
    except Refusal:
        assert b"\0" in wanted
    else:
        assert submit.argv[1] == wanted
        assert type(submit.argv[1]) is OsText


def test_the_environment_is_not_in_the_text_of_a_request() -> None:
    submit = parse(messages.Submit, {**JOB, "env": {"TOKEN": "hunter2"}})
    assert "hunter2" not in repr(submit) + str(submit) + f"{[submit]}"
    assert "env of 1 names" in repr(submit)


def test_a_value_of_the_environment_is_not_shown_in_a_refusal() -> None:
    """Refusals are printed by clients, in scripts' logs too."""
    env = {"TOKEN": "hunter2", "A": 3}
    refusal = refusal_of(messages.Submit, {**JOB, "env": env})
    assert "hunter2" not in str(refusal.to_wire())
