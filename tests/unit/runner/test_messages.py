"""Requests: what is taken, and each refusal by field, given and allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from runner import messages
from runner.message_kinds import Closed, OsText
from runner.message_limits import IoRequest, LimitsRequest
from runner.parsing import parse
from runner.refusal import Refusal

JOB = {"argv": ["true"], "cwd": "/"}
KINDS: list[type[Closed]] = [
    messages.Hello, messages.Submit, messages.List, messages.Status, messages.Logs, messages.Stop,
    messages.Wait, messages.Remove, messages.Doctor, messages.Credit, messages.Cancel,
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


# What is refused

NO_RATE = "a rate: bytes or operations a second, read or write"
FIELDS = {
    kind: ", ".join(kind.__struct_fields__) for kind in (messages.Submit, LimitsRequest, IoRequest)
}
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
        (messages.Status, {"job": "x" * 65}, "job", None),
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


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([*CRAFTED, "/", "none", "host", "\0", "a=b"])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from(
    sorted({name for kind in (*KINDS, LimitsRequest, IoRequest)
            for name in kind.__struct_fields__})
)  # fmt: skip
# Mostly right, so that the checks behind the first one are reached too.
requests = st.one_of(
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
