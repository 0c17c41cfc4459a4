"""What is counted of jobs: the numbers by themselves, and what the store tells of its commits."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle import ImpossibleTransition
from runner.outcome import REASONS
from runner.rows import Launch, NewJob
from runner.stats import LAUNCH_SECONDS, WAIT_SECONDS, Histogram, Stats
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 10**9
START = 1_700_000_000 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "db"))
    yield opened
    opened.close()


def a_job(submitted_ns: int = START) -> NewJob:
    return NewJob(
        id=str(uuid.uuid4()), submitted_by_uid=1000, uid=1000, gid=1000, name=None, spec=b"s",
        submitted_ns=submitted_ns,
    )  # fmt: skip


def running(store: Store) -> str:
    job = a_job()
    store.insert(job, launch=Launch(START, "boot"))
    store.mark_running(job.id, 7, START, None)
    return job.id


# Histograms


@given(st.lists(st.integers(-SECOND, 100_000 * SECOND)))
def test_a_histogram_says_of_each_bound_how_many_took_at_most_so_long(times: list[int]) -> None:
    histogram = Histogram(WAIT_SECONDS)
    for each in times:
        histogram.add(each)
    shown, took = histogram.shown(), [max(each, 0) for each in times]
    assert shown["buckets"] == [sum(ns / SECOND <= bound for ns in took) for bound in WAIT_SECONDS]
    assert shown["count"] == len(times)
    assert shown["sum_seconds"] == pytest.approx(sum(took) / SECOND)


@pytest.mark.parametrize("bounds", [WAIT_SECONDS, LAUNCH_SECONDS])
def test_bounds_grow(bounds: tuple[float, ...]) -> None:
    assert sorted(set(bounds)) == list(bounds)
    assert Histogram(bounds).shown()["bounds"] == list(bounds)


# Numbers


def test_cpu_time_never_becomes_less_when_a_cgroup_is_gone_before_its_end_is_committed() -> None:
    stats = Stats(0, 0)
    stats.use(5, None)
    assert stats.never_less(stats.cpu_usec + 100) == 105
    assert stats.never_less(stats.cpu_usec) == 105
    stats.use(110, 3)
    assert stats.never_less(stats.cpu_usec) == 115
    assert stats.log_bytes == 3


def test_how_long_the_daemon_has_run_is_not_told_by_the_wall_clock() -> None:
    stats = Stats(START, 5 * SECOND)
    assert stats.since_ns == START
    assert stats.uptime_seconds(7 * SECOND + SECOND // 2) == 2.5


def test_what_an_earlier_daemon_launched_counts_for_no_latency() -> None:
    stats = Stats(0, 0)
    stats.run("of before", START)
    assert stats.launches.shown()["count"] == 0


# What the store tells


def test_a_job_that_starts_when_it_is_submitted_has_waited_and_was_launched(store: Store) -> None:
    job = a_job()
    store.insert(job, launch=Launch(START + SECOND // 20, "boot"))
    stats = store.stats
    assert (stats.submitted, stats.starts) == (1, 1)
    assert stats.waits.shown()["sum_seconds"] == pytest.approx(0.05)
    assert stats.launches.shown()["count"] == 0
    store.mark_running(job.id, 7, START, None)
    assert stats.launches.shown()["count"] == 1


def test_a_job_that_waited_is_counted_when_it_starts(store: Store) -> None:
    job = a_job()
    store.insert(job)
    assert (store.stats.submitted, store.stats.starts) == (1, 0)
    store.mark_starting(job.id, START + 30 * SECOND, "boot")
    assert store.stats.starts == 1
    assert store.stats.waits.shown()["sum_seconds"] == 30


def test_every_reason_is_there_and_an_end_counts_once_it_is_committed(store: Store) -> None:
    assert dict(store.stats.ends) == dict.fromkeys(REASONS, 0)
    job_id = running(store)
    store.mark_ended(job_id, START, "oom", b"", is_ok=False)
    with pytest.raises(ImpossibleTransition):
        store.mark_ended(job_id, START, "oom", b"", is_ok=False)
    assert store.stats.ends["oom"] == 1
    assert store.stats.ends.total() == 1


def test_ends_in_the_queue_count_for_those_that_were_in_it(store: Store) -> None:
    waits, runs = a_job(), running(store)
    store.insert(waits)
    store.end_queued([(waits.id, "deadline", b""), (runs, "stopped", b"")], START)
    assert {reason: count for reason, count in store.stats.ends.items() if count} == {"deadline": 1}


def test_a_start_that_came_to_nothing_is_no_launch_and_the_next_one_is_its_own(
    store: Store,
) -> None:
    job = a_job()
    store.insert(job)
    store.mark_starting(job.id, START, "boot")
    store.mark_requeued(job.id, START + 1, "no room")
    store.mark_starting(job.id, START + SECOND, "boot")
    assert (store.stats.starts, store.stats.requeued) == (2, 1)
    store.mark_ended(job.id, START, "launch-error", b"", is_ok=False)
    store.stats.run(job.id, START)
    assert store.stats.launches.shown()["count"] == 0


def test_another_attempt_is_a_start_and_no_wait(store: Store) -> None:
    job_id = running(store)
    store.mark_retried(job_id, START, ended_ns=START, reason="exit", result=b"r")
    store.mark_starting(job_id, START + SECOND, "boot")
    stats = store.stats
    assert (stats.submitted, stats.starts, stats.retries) == (1, 2, 1)
    assert stats.waits.shown()["count"] == 1
    assert not stats.ends.total()
    store.mark_ended(job_id, START, "exit", b"r", is_ok=True)
    store.mark_retried_many([job_id], START, 0)
    assert (stats.retries, stats.ends.total()) == (2, 1)


def test_nothing_is_kept_of_jobs_that_are_through(store: Store) -> None:
    for _ in range(5):
        store.mark_ended(running(store), START, "exit", b"", is_ok=True)
    job = a_job()
    store.insert(job, launch=Launch(START, "boot"))
    store.mark_ended(job.id, START, "launch-error", b"", is_ok=False)
    assert store.stats._starting == {}
