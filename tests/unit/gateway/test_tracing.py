"""Traces of callers: what is one, and what a job is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.tracing import Trace, environment

if TYPE_CHECKING:
    from gateway.tracing import Headers

IDS = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{IDS[0]}-{IDS[1]}-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


def hex_of(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length).filter(
        lambda text: set(text) != {"0"}
    )


def test_a_trace_is_read_from_headers_and_from_metadata() -> None:
    expected = Trace(*IDS, 1, STATE)
    assert Trace.from_headers({"traceparent": PARENT, "tracestate": STATE}) == expected
    assert Trace.from_headers([("Traceparent", PARENT), ("TraceState", STATE)]) == expected
    assert Trace.from_headers([("traceparent", PARENT.encode()), ("tracestate", STATE)]) == expected
    assert Trace.from_headers(CIMultiDict({"TRACEPARENT": PARENT, "tracestate": STATE})) == expected


def test_states_in_several_headers_are_one_in_their_order() -> None:
    first, second = STATE.split(",")
    pairs = [("tracestate", first), ("traceparent", PARENT), ("tracestate", second)]
    trace = Trace.from_headers(CIMultiDict(pairs))
    assert trace is not None
    assert trace.state == STATE


@pytest.mark.parametrize(
    "parent",
    [
        "", "00", PARENT[:-1], PARENT.upper(), f"{PARENT}-more", f"ff{PARENT[2:]}", f"{PARENT}\n",
        f"00-{'0' * 32}-{IDS[1]}-01", f"00-{IDS[0]}-{'0' * 16}-01", "zz" + PARENT[2:],
        f"01-{IDS[0]}-{IDS[1]}-01-{'x' * 200}", f"{PARENT[:-2]}é1", " " * 100_000, f"\0{PARENT}",
    ],
)  # fmt: skip
def test_what_is_malformed_or_long_is_no_trace(parent: str) -> None:
    assert Trace.from_headers({"traceparent": parent, "tracestate": STATE}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"tracestate": STATE}, [("traceparent", PARENT), ("traceparent", PARENT)],
        [("traceparent", b"\xff\xfe")],
    ],
)  # fmt: skip
def test_none_or_several_are_no_trace(headers: Headers) -> None:
    assert Trace.from_headers(headers) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    trace = Trace.from_headers({"traceparent": f"cc-{IDS[0]}-{IDS[1]}-01-what-the-future-has"})
    assert trace == Trace(*IDS, 1)


@pytest.mark.parametrize(
    "state", ["no member", "a=1,a=2", f"a={'x' * 600}", "A=1\n", "é=1", "a=1\x00", "," * 511]
)
def test_a_state_that_is_wrong_is_left_out_and_the_trace_counts(state: str) -> None:
    assert Trace.from_headers({"traceparent": PARENT, "tracestate": state}) == Trace(*IDS, 1)


def test_a_job_is_told_of_the_trace_by_its_environment() -> None:
    assert environment(Trace(*IDS, 1, STATE)) == {"TRACEPARENT": PARENT, "TRACESTATE": STATE}
    assert environment(Trace(*IDS, 0)) == {"TRACEPARENT": f"{PARENT[:-1]}0"}


@given(hex_of(32), hex_of(16), st.integers(0, 255))
def test_what_was_read_is_handed_on_as_it_was(trace_id: str, parent_id: str, flags: int) -> None:
    parent = f"00-{trace_id}-{parent_id}-{flags:02x}"
    trace = Trace.from_headers({"traceparent": parent})
    assert trace == Trace(trace_id, parent_id, flags)
    assert environment(trace) == {"TRACEPARENT": parent}


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]),
                          st.text() | st.binary() | st.just(PARENT) | st.just(STATE))))  # fmt: skip
def test_whatever_comes_in_what_goes_out_is_short_and_printable(
    pairs: list[tuple[str, str | bytes]],
) -> None:
    trace = Trace.from_headers(pairs)
    if trace is not None:
        for name, value in environment(trace).items():
            assert name in {"TRACEPARENT", "TRACESTATE"}
            assert 0 < len(value) <= 512
            assert value.isascii()
            assert value.isprintable()


def test_a_flood_of_headers_costs_what_a_few_do() -> None:
    pairs = [("traceparent", PARENT), *([("tracestate", "a=1")] * 100_000)]
    assert Trace.from_headers(pairs) == Trace(*IDS, 1)
