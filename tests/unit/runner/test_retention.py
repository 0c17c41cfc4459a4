"""Which ended jobs go: against a naive model that knows nothing of iterators and totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import RetentionConfig
from runner.retention import (
    GRACE_SECONDS,
    Bounds,
    Selection,
    age_seconds,
    reasons,
    selected,
    surplus,
    to_remove,
)
from runner.rows import EndedJob, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECOND = 10**9
NOW = 1_000_000 * SECOND


def job(number: int, *, uid: int = 1, age: float = 100, size: int = 10) -> EndedJob:
    return EndedJob(f"job-{number}", uid, NOW - round(age * SECOND), number, size)


def in_order(jobs: Iterable[EndedJob]) -> list[EndedJob]:
    return sorted(jobs, key=lambda each: (each.ended_ns, each.seq))


def total_of(jobs: Iterable[EndedJob]) -> Total:
    listed = list(jobs)
    return Total(len(listed), sum(each.bytes for each in listed))


def decided(config: RetentionConfig, jobs: list[EndedJob]) -> list[str]:
    """The ids that go, in the order of their removal."""
    by_user = {uid: total_of(each for each in jobs if each.uid == uid)
               for uid in {each.uid for each in jobs}}  # fmt: skip

    def oldest_first(uid: int | None) -> Iterator[EndedJob]:
        return iter(in_order(each for each in jobs if uid in {None, each.uid}))

    found = to_remove(config, total_of(jobs), dict(sorted(by_user.items())), oldest_first, NOW)
    return [each.id for each in found]


def naive(config: RetentionConfig, jobs: list[EndedJob]) -> list[str]:
    """One at a time: the oldest of whatever is beyond a bound, until nothing is."""
    left, gone = in_order(jobs), []

    def over(some: list[EndedJob], most_jobs: int | None, most_bytes: int | None) -> bool:
        return bool(some) and (
            (most_jobs is not None and len(some) > most_jobs)
            or (most_bytes is not None and sum(each.bytes for each in some) > most_bytes)
        )

    def fresh(each: EndedJob) -> bool:
        return 0 <= NOW - each.ended_ns < GRACE_SECONDS * SECOND

    for uid in sorted({each.uid for each in jobs}):
        while over(
            own := [each for each in left if each.uid == uid],
            config.max_jobs_per_user, config.max_bytes_per_user,
        ) and not fresh(own[0]):  # fmt: skip
            gone.append(own[0])
            left.remove(own[0])
    while left and not fresh(left[0]):
        oldest = left[0]
        most = config.max_age_seconds
        old = most is not None and max(NOW - oldest.ended_ns, 0) > most * SECOND
        if not (old or over(left, config.max_jobs, config.max_bytes)):
            break
        gone.append(left.pop(0))
    return [each.id for each in gone]


some_jobs = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.one_of(st.integers(-20, 40), st.sampled_from([0, GRACE_SECONDS, 3600, -3600])),
        st.integers(0, 50),
    ),
    max_size=25,
).map(
    lambda many: [
        job(number, uid=uid, age=age, size=size) for number, (uid, age, size) in enumerate(many)
    ]
)
bounds = st.none() | st.integers(0, 12)
sizes = st.none() | st.integers(0, 300)
configs = st.builds(
    RetentionConfig, max_jobs=bounds, max_jobs_per_user=bounds, max_bytes=sizes,
    max_bytes_per_user=sizes, max_age_seconds=st.none() | st.integers(0, 60),
)  # fmt: skip


@given(config=configs, jobs=some_jobs)
def test_what_goes_is_what_the_naive_way_removes_one_at_a_time(
    config: RetentionConfig, jobs: list[EndedJob]
) -> None:
    assert decided(config, jobs) == naive(config, jobs)


@given(config=configs, jobs=some_jobs)
def test_what_stays_is_within_every_bound_but_for_what_has_just_ended(
    config: RetentionConfig, jobs: list[EndedJob]
) -> None:
    gone = set(decided(config, jobs))
    left = in_order(each for each in jobs if each.id not in gone)
    again = decided(config, left)
    assert again == []


@given(config=configs, jobs=some_jobs)
def test_no_job_goes_twice(config: RetentionConfig, jobs: list[EndedJob]) -> None:
    gone = decided(config, jobs)
    assert len(gone) == len(set(gone))


@given(
    groups=st.lists(
        st.tuples(st.integers(1, 3), st.integers(-20, 90), st.integers(1, 6)), max_size=8
    ),
    most=st.integers(0, 60),
    config=configs,
)
def test_by_age_a_group_goes_as_a_whole_and_by_any_bound_from_its_first_job_on(
    groups: list[tuple[int, int, int]], most: int, config: RetentionConfig
) -> None:
    members = [
        [job(100 * number + each, uid=uid, age=age) for each in range(size)]
        for number, (uid, age, size) in enumerate(groups)
    ]
    every = [each for group in members for each in group]
    by_age = set(decided(RetentionConfig(max_jobs=None, max_age_seconds=most), every))
    by_any = set(decided(config, every))
    for group, (_, age, _) in zip(members, groups, strict=True):
        whole = {each.id for each in group}
        is_old = age > most and age >= GRACE_SECONDS
        assert by_age & whole == (whole if is_old else set())
        left = [each.id not in by_any for each in group]
        assert left == sorted(left)


def test_without_bounds_everything_stays_and_nothing_is_asked_for() -> None:
    def never(_uid: int | None) -> Iterator[EndedJob]:
        yield from ()
        raise AssertionError

    none = RetentionConfig(max_jobs=None)
    assert list(to_remove(none, Total(3, 9), {1: Total(3, 9)}, lambda _uid: (), NOW)) == []
    asked: list[int | None] = []

    def oldest_first(uid: int | None) -> Iterator[EndedJob]:
        asked.append(uid)
        yield job(1)
        raise AssertionError("one look is enough")

    assert list(to_remove(none, Total(2, 9), {1: Total(2, 9)}, oldest_first, NOW)) == []
    assert asked == [None]


def test_the_oldest_of_all_goes_whoever_has_the_most() -> None:
    jobs = [job(1, uid=1, age=900), *(job(n, uid=2, age=100) for n in range(2, 6))]
    assert decided(RetentionConfig(max_jobs=4), jobs) == ["job-1"]


def test_a_users_own_bound_keeps_them_from_pushing_out_the_others() -> None:
    jobs = [job(1, uid=1, age=900), *(job(n, uid=2, age=100) for n in range(2, 6))]
    config = RetentionConfig(max_jobs=4, max_jobs_per_user=3)
    assert decided(config, jobs) == ["job-2"]


def test_a_job_that_has_just_ended_stays_also_where_none_may_stay() -> None:
    config = RetentionConfig(max_jobs=0)
    fresh = job(2, age=GRACE_SECONDS - 1)
    assert decided(config, [job(1, age=GRACE_SECONDS), fresh]) == ["job-1"]


def test_an_end_in_the_future_is_of_age_0_and_keeps_no_bound_from_being_kept() -> None:
    future = [job(number, age=-3600) for number in range(3)]
    assert decided(RetentionConfig(max_age_seconds=0), future) == []
    assert decided(RetentionConfig(max_jobs=1), future) == ["job-0", "job-1"]
    assert age_seconds(NOW + SECOND, NOW) == 0


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (Bounds(), 0),
        (Bounds(jobs=4), 0),
        (Bounds(jobs=3), 1),
        (Bounds(bytes=40), 0),
        (Bounds(bytes=39), 1),
        (Bounds(bytes=0), 4),
        (Bounds(age_seconds=100), 0),
        (Bounds(age_seconds=99), 4),
    ],
)
def test_a_bound_is_what_may_stay(limits: Bounds, gone: int) -> None:
    jobs = [job(number) for number in range(4)]
    assert list(surplus(limits, total_of(jobs), jobs, NOW)) == jobs[:gone]


def test_a_job_that_takes_nothing_goes_too_if_it_is_the_oldest_beyond_a_bound_of_bytes() -> None:
    jobs = [job(1, size=0), job(2, size=50), job(3, size=10)]
    assert list(surplus(Bounds(bytes=20), total_of(jobs), jobs, NOW)) == jobs[:2]


@given(
    jobs=some_jobs.map(in_order),
    keep=st.none() | st.integers(0, 30),
    older=st.none() | st.integers(0, 60),
)
def test_a_selection_is_of_what_is_both_old_enough_and_not_among_the_newest(
    jobs: list[EndedJob], keep: int | None, older: int | None
) -> None:
    newest = {each.id for each in jobs[len(jobs) - min(keep or 0, len(jobs)) :]}
    expected = [
        each
        for each in jobs
        if each.id not in newest
        and (older is None or max(NOW - each.ended_ns, 0) >= older * SECOND)
    ]
    assert list(selected(Selection(older, keep), len(jobs), jobs, NOW)) == expected


def test_a_selection_goes_no_further_than_the_jobs_that_there_were() -> None:
    jobs = [job(number) for number in range(5)]
    assert list(selected(Selection(), 3, jobs, NOW)) == jobs[:3]


def test_the_reasons_are_the_bounds_that_are_passed_and_no_others() -> None:
    config = RetentionConfig(
        max_jobs=5, max_bytes=100, max_jobs_per_user=2, max_bytes_per_user=60, max_age_seconds=90
    )
    by_user = {1: Total(3, 70), 2: Total(4, 10), 3: Total(1, 5)}
    assert reasons(config, Total(8, 85), by_user, job(0, age=100.2), NOW) == [
        "there are 8 jobs, max_jobs is 5",
        "uid 2 has 4 jobs (and 1 others too many), max_jobs_per_user is 2",
        "uid 1 has 70 bytes, max_bytes_per_user is 60",
        "one ended 100 s ago, max_age_seconds is 90",
    ]
    assert reasons(RetentionConfig(), Total(8, 85), by_user, job(0), NOW) == []
