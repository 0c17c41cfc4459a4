"""Buckets and counts: how long to wait, nobody at another one's cost, memory that is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Bounds
from gateway.rates import HELD_BYTES, Bucket, Muffler, Rates

SLOW = Bounds(requests_per_second=2.0, burst=3, in_flight=100)


def test_a_burst_goes_through_and_the_next_one_is_told_when() -> None:
    rates = Rates()
    assert [rates.begin("a", SLOW, 0.0) for _ in range(3)] == [None] * 3
    no = rates.begin("a", SLOW, 0.0)
    assert no is not None
    assert no.retry_after_seconds == pytest.approx(0.5)
    assert "2 requests a second" in no.why


def test_after_that_time_there_is_one_and_no_more() -> None:
    rates = Rates()
    for _ in range(3):
        rates.begin("a", SLOW, 0.0)
    assert rates.begin("a", SLOW, 0.5) is None
    assert rates.begin("a", SLOW, 0.5) is not None


def test_one_subjects_flood_is_not_anothers() -> None:
    rates = Rates()
    while rates.begin("a", SLOW, 0.0) is None:
        pass
    assert rates.begin("b", SLOW, 0.0) is None


@given(
    st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 10), min_size=1, max_size=60)
)
def test_never_more_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, steps: list[float]
) -> None:
    bucket, now, taken = Bucket(burst, 0.0), 0.0, 0
    for step in steps:
        now += step
        taken += bucket.take(now, rate, burst) == 0.0
        assert taken <= burst + now * rate + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 50), st.floats(0, 1e6))
def test_waiting_as_long_as_is_said_is_enough(rate: float, burst: int, start: float) -> None:
    bucket = Bucket(burst, start)
    while not (wait := bucket.take(start, rate, burst)):
        pass
    assert wait <= 1 / rate + 1e-9
    assert bucket.take(start + wait + 1e-6, rate, burst) == 0.0


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    bucket = Bucket(1, 100.0)
    assert bucket.take(50.0, 1.0, 1) == 0.0
    assert bucket.take(60.0, 1.0, 1) > 0.0
    assert bucket.take(101.0, 1.0, 1) == 0.0


def test_requests_in_flight_are_counted_in_and_out() -> None:
    rates, bounds = Rates(), Bounds(in_flight=1)
    assert rates.begin("a", bounds, 0.0) is None
    no = rates.begin("a", bounds, 0.0)
    assert no is not None
    assert no.retry_after_seconds == 1.0
    rates.end("a")
    assert rates.begin("a", bounds, 0.0) is None


def test_streams_take_no_place_of_requests() -> None:
    rates, bounds = Rates(), Bounds(in_flight=1, streams=1)
    assert rates.begin("a", bounds, 0.0, is_long=True) is None
    assert rates.begin("a", bounds, 0.0, is_long=True) is not None
    assert rates.begin("a", bounds, 0.0) is None
    rates.end("a", is_long=True)
    assert rates.open_streams("a") == 0
    assert rates.begin("a", bounds, 0.0, is_long=True) is None


def test_what_was_refused_takes_no_place() -> None:
    rates, bounds = Rates(), Bounds(requests_per_second=1.0, burst=1, streams=5)
    assert rates.begin("a", bounds, 0.0, is_long=True) is None
    assert rates.begin("a", bounds, 0.0, is_long=True) is not None
    assert rates.open_streams("a") == 1


def test_connections_are_counted() -> None:
    rates, bounds = Rates(), Bounds(connections=1)
    assert rates.connect("a", bounds, 0.0) is None
    assert rates.connect("a", bounds, 0.0) is not None
    rates.disconnect("a")
    assert rates.connect("a", bounds, 0.0) is None


def test_bytes_in_hand_are_counted_in_and_out() -> None:
    rates, bounds = Rates(), Bounds()
    assert rates.hold("a", bounds, 0.0, HELD_BYTES) is None
    no = rates.hold("a", bounds, 0.0, 1)
    assert no is not None
    assert (no.retry_after_seconds, "bytes" in no.why) == (1.0, True)
    assert rates.hold("b", bounds, 0.0, 1) is None
    assert rates.hold("a", bounds, 0.0, 1, most=HELD_BYTES + 1) is None
    rates.release("a", HELD_BYTES)
    assert rates.hold("a", bounds, 0.0, HELD_BYTES) is not None
    rates.release("a", 1)
    assert rates.hold("a", bounds, 0.0, HELD_BYTES) is None
    rates.release("nobody", 0)


def test_a_subject_with_bytes_in_hand_is_not_forgotten() -> None:
    rates, bounds = Rates(most=1), Bounds()
    assert rates.hold("a", bounds, 0.0, 1) is None
    assert rates.hold("b", bounds, 100.0, 1) is not None
    rates.release("a", 1)
    assert rates.hold("b", bounds, 100.0, 1) is None


def test_submissions_have_a_rate_of_their_own() -> None:
    rates, bounds = Rates(), Bounds(submissions_per_second=0.5, submission_burst=1)
    assert rates.submit("a", bounds, 0.0) is None
    no = rates.submit("a", bounds, 0.0)
    assert no is not None
    assert no.retry_after_seconds == pytest.approx(2.0)


def test_a_large_submission_takes_as_many_as_it_is_work() -> None:
    rates, bounds = Rates(), Bounds(submissions_per_second=2.0, submission_burst=10)
    assert rates.submit("a", bounds, 0.0) is None
    no = rates.submit("a", bounds, 0.0, 10)
    assert no is not None
    assert no.retry_after_seconds == pytest.approx(0.5)
    # More than there ever are: all of them, and the rest is owed.
    assert rates.submit("a", bounds, 0.5, 20) is None
    no = rates.submit("a", bounds, 0.5)
    assert no is not None
    assert no.retry_after_seconds == pytest.approx(5.5)
    assert rates.submit("a", bounds, 6.0) is None


def test_memory_is_bounded_however_many_subjects_come() -> None:
    rates = Rates(most=100)
    for number in range(10_000):
        rates.begin(f"s{number}", SLOW, float(number))
        rates.end(f"s{number}")
    assert len(rates) <= 100


def test_a_subject_with_an_open_stream_is_not_forgotten() -> None:
    rates = Rates(most=10)
    rates.begin("held", SLOW, 0.0, is_long=True)
    for number in range(1000):
        name = f"s{number}"
        assert rates.begin(name, SLOW, float(number)) is None
        rates.end(name)
    assert rates.open_streams("held") == 1
    rates.end("held", is_long=True)


def test_newcomers_wait_where_nobody_can_be_forgotten_without_giving_somebody_more() -> None:
    rates = Rates(most=2)
    for name in ("a", "b"):
        while rates.begin(name, SLOW, 0.0) is None:
            rates.end(name)
    no = rates.begin("c", SLOW, 0.0)
    assert no is not None
    assert rates.begin("a", SLOW, 0.0) is not None
    assert rates.begin("c", SLOW, 10.0) is None


def test_one_thing_is_said_once_a_second_with_what_was_left_out() -> None:
    muffler = Muffler(most=2)
    assert [muffler.say("x", now) for now in (0.0, 0.1, 0.2)] == [0, None, None]
    assert muffler.say("y", 0.3) == 0
    assert muffler.say("x", 1.1) == 2
    assert muffler.say("z", 1.2) == 0
    assert len(muffler._said) == 2
