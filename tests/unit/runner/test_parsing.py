"""What a request is taken apart by: the envelope, and which kinds are looked at no further."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client import protocol
from runner import message_checks, message_queue_checks, messages, parsing
from runner.parsing import SHORT_BYTES, envelope, parse, short
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.message_kinds import Closed


@pytest.mark.parametrize("kind", sorted(parsing._SIMPLE, key=lambda kind: kind.__name__))
def test_what_is_looked_at_no_further_is_in_none_of_the_checks(kind: type[Closed]) -> None:
    for module in (message_checks, message_queue_checks):
        assert not re.search(rf"isinstance\(message, {kind.__name__}\b", inspect.getsource(module))


def test_an_envelope_has_an_operation_and_may_have_arguments() -> None:
    assert envelope({"id": 1, "op": "list"}) == ("list", {})
    assert envelope({"id": 1, "op": "list", "args": {"limit": 1}}) == ("list", {"limit": 1})


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"op": "list", "more": 1, "others": 2}, "'more'"),
        ({5: 1, "op": "list"}, "5"),
        ({"args": {}}, "op"),
        ({"op": b"list"}, "op"),
        ({"op": "list", "args": None}, "args"),
        ({"op": "list", "args": {"a": 1, b"b": 2}}, "args"),
    ],
)
def test_an_envelope_with_anything_else_is_refused(message: dict[Any, Any], field: str) -> None:
    with pytest.raises(Refusal) as caught:
        envelope(message)
    assert (caught.value.code, caught.value.fields["field"]) == ("bad-request", field)


KINDS = {"list": messages.List, "status": messages.Status, "wait": messages.Wait}
names = st.sampled_from(["id", "op", "args", "job", "limit", "select", "ended", "labels", "queue"])
scalars = (
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.floats() | st.binary(max_size=4)
    | st.sampled_from([*KINDS, "submit", "abcd", "ended"]) | st.text(max_size=4)
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | scalars, inner, max_size=3),
    max_leaves=8,
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "job": st.sampled_from(["abcd", "x"]) | values,
        "limit": st.integers(0, 1001) | values,
        "before": st.none() | st.integers(),
        "ended": st.booleans() | values,
        "timeout_seconds": st.none() | st.floats(-1, 10) | st.integers(-1, 10) | values,
        "select": st.dictionaries(
            st.sampled_from(["labels", "states", "queue", "user", "more"]),
            values | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
            | st.just(["ended"]),
            max_size=3,
        ),
        "more": values,
    },
)  # fmt: skip
requests = st.fixed_dictionaries(
    {"id": st.integers(1, 99) | values, "op": st.sampled_from([*KINDS, "stop"]) | values},
    optional={"args": arguments | values, "more": values},
)


def pack(value: object) -> bytes | None:
    try:
        return msgpack.packb(value, use_bin_type=True)
    except (OverflowError, UnicodeEncodeError, ValueError):
        return None


def the_long_way(body: bytes) -> tuple[Any, str, Closed] | None:
    try:
        message = protocol.decode_body(body, protocol.MAX_REQUEST_CONTAINERS)
        op, args = envelope(message)
        return (message["id"], op, parse(KINDS[op], args)) if op in KINDS else None
    except (protocol.FrameError, Refusal, TypeError, KeyError):
        return None


def same(body: bytes) -> None:
    if len(body) > SHORT_BYTES:
        return
    found = short(body)
    if found is not None:
        assert found == the_long_way(body)
        assert type(found[0]) is int


@given(request=requests)
@example(request={"id": 1, "op": "list", "args": {"select": {"labels": {"a": "b"}}}})
@example(request={"id": True, "op": "list"})
@example(request={"id": 1.0, "op": "list"})
def test_what_is_read_in_one_step_is_what_the_long_way_gives(request: dict[Any, Any]) -> None:
    if (body := pack(request)) is not None:
        same(body)


@given(request=requests, at=st.integers(0), byte=st.integers(0, 255), more=st.binary(max_size=3))
def test_so_it_is_when_bytes_of_it_were_garbled(
    request: dict[Any, Any], at: int, byte: int, more: bytes
) -> None:
    if (body := pack(request)) is not None:
        garbled = bytearray(body + more)
        garbled[at % len(garbled)] = byte
        same(bytes(garbled))


@pytest.mark.parametrize(
    ("op", "args"),
    [("list", {}), ("list", {"ended": False, "limit": 1}), ("status", {"job": "abcd"}),
     ("wait", {"job": "abcd", "timeout_seconds": None}),
     ("wait", {"job": "x", "timeout_seconds": 1})],
)  # fmt: skip
def test_what_is_asked_most_is_read_in_one_step(op: str, args: dict[str, Any]) -> None:
    body = protocol.encode_frame({"id": 7, "op": op, "args": args})[protocol.HEADER.size :]
    assert short(memoryview(body)) == (7, op, parse(KINDS[op], args))


@pytest.mark.parametrize(
    "names", [{1: "a"}, {"a": 1}, {"a": None}, {b"a": [1]}, {"a": "x", "b": {}}]
)
def test_a_variable_that_is_no_text_is_refused_without_its_name(names: dict[Any, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        parse(messages.Submit, {"argv": ["a"], "cwd": "/", "env": names})
    told = caught.value.to_wire()
    assert told["given"] == "a wrong value"
    wrong = [value for value in names.values() if not isinstance(value, str)]
    if wrong:
        expected = ("env[...]", f"text, got {type(wrong[0]).__name__}")
        assert (told["field"], told["allowed"]) == expected
