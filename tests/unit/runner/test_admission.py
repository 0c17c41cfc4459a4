"""Properties of admission: the cap, the order, and that everybody's turn comes."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from runner.admission import admit


class Queued(NamedTuple):
    id: str


def queue(length: int) -> list[Queued]:
    return [Queued(f"job-{number}") for number in range(length)]


counts = st.integers(0, 60)


@given(length=counts, running=counts, cap=counts)
def test_never_more_run_than_the_cap_allows(length: int, running: int, cap: int) -> None:
    admitted = admit(queue(length), running, cap)
    assert not admitted or running + len(admitted) <= cap


@given(length=counts, running=counts, cap=counts)
def test_the_first_in_the_queue_are_admitted_in_their_order(
    length: int, running: int, cap: int
) -> None:
    waiting = queue(length)
    admitted = admit(waiting, running, cap)
    assert admitted == [job.id for job in waiting[: len(admitted)]]


@given(length=counts, running=counts, cap=counts)
def test_no_place_is_left_free_while_a_job_waits(length: int, running: int, cap: int) -> None:
    admitted = admit(queue(length), running, cap)
    assert len(admitted) == length or running + len(admitted) >= cap


@given(length=counts, cap=st.integers(1, 10), ends=st.data())
def test_every_job_is_admitted_in_the_end(length: int, cap: int, ends: st.DataObject) -> None:
    waiting = queue(length)
    started: list[str] = []
    running = 0
    while waiting:
        admitted = admit(waiting, running, cap)
        started += admitted
        waiting = waiting[len(admitted) :]
        running += len(admitted)
        running -= ends.draw(st.integers(1, running))
    assert started == [job.id for job in queue(length)]


def test_nothing_is_admitted_when_the_cap_was_lowered_below_what_runs() -> None:
    assert admit(queue(3), running=5, max_running=2) == []
