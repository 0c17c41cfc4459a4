"""Properties of moves: where a job comes to be, and that nobody else's order changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ranks import Ranks, lane_of
from runner.rows import RANK_STEP
from runner.scheduling.kinds import Waiting

LANE = (7, "default", 0)


def waiting(name: str, rank: int, **more: Any) -> Waiting:
    fields = {"uid": 7, "queue": "default", "priority": 0, **more}
    return Waiting(id=name, rank=rank, **fields)


def ranks_of(*jobs: Waiting) -> Ranks:
    ranks = Ranks()
    for job in jobs:
        ranks.put(job)
    return ranks


def in_order(ranks: Ranks, names: list[str]) -> list[str]:
    jobs = [job for name in names if (job := ranks.get(name)) is not None]
    return [job.id for job in sorted(jobs, key=lambda job: (job.rank, job.id))]


def move(ranks: Ranks, changes: dict[str, int]) -> None:
    for name, rank in changes.items():
        job = ranks.get(name)
        assert job is not None
        ranks.put(job._replace(rank=rank))


def test_a_job_is_at_the_top_before_all_others_of_its_lane() -> None:
    ranks = ranks_of(*(waiting(str(n), n * RANK_STEP) for n in range(3)))
    job = ranks.get("2")
    assert job is not None
    move(ranks, {"2": ranks.top(LANE, job)})
    assert in_order(ranks, ["0", "1", "2"]) == ["2", "0", "1"]


def test_who_is_at_the_top_already_keeps_its_rank() -> None:
    ranks = ranks_of(waiting("0", 5), waiting("1", 9))
    job = ranks.get("0")
    assert job is not None
    assert ranks.top(LANE, job) == 5


def test_in_a_lane_that_is_empty_a_job_keeps_its_rank() -> None:
    job = waiting("0", 5)
    assert ranks_of(job).top((7, "other", 0), job) == 5


def test_jobs_of_other_lanes_are_not_counted() -> None:
    others = (
        waiting("1", -50, uid=8), waiting("2", -50, queue="slow"), waiting("3", -50, priority=3)
    )  # fmt: skip
    job, first = waiting("0", 9), waiting("4", 5)
    ranks = ranks_of(job, first, *others)
    assert ranks.top(LANE, job) == 5 - RANK_STEP
    assert ranks.before(first, "0") == {"0": 5 - RANK_STEP}


def test_a_job_that_was_dropped_is_nowhere_and_dropping_it_again_is_harmless() -> None:
    job = waiting("0", 1)
    ranks = ranks_of(job)
    ranks.drop("0")
    ranks.drop("0")
    assert ranks.get("0") is None
    assert ranks.top(LANE, waiting("1", 4)) == 4


def test_a_job_that_is_elsewhere_now_is_not_in_its_old_lane() -> None:
    job = waiting("0", 1)
    ranks = ranks_of(job)
    ranks.put(job._replace(queue="slow"))
    assert ranks.top(LANE, waiting("1", 4)) == 4
    assert lane_of(ranks.get("0") or job) == (7, "slow", 0)


moves = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60)


@given(moves=moves, step=st.sampled_from([1, 2, 3, RANK_STEP]))
def test_however_often_jobs_are_moved_each_comes_directly_before_the_other(
    moves: list[tuple[int, int]], step: int
) -> None:
    names = [str(n) for n in range(8)]
    ranks = ranks_of(*(waiting(name, n * step) for n, name in enumerate(names)))
    expected = list(names)
    for one, two in moves:
        other = ranks.get(str(two))
        assert other is not None
        if one == two:
            continue
        move(ranks, ranks.before(other, str(one)))
        expected.remove(str(one))
        expected.insert(expected.index(str(two)), str(one))
        assert in_order(ranks, names) == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_between_equal_or_neighbouring_ranks_room_is_made(rank: int) -> None:
    ranks = ranks_of(waiting("a", 0), waiting("b", rank), waiting("x", 10**9))
    other = ranks.get("b")
    assert other is not None
    changes = ranks.before(other, "x")
    assert list(changes) == ["a", "x"]
    move(ranks, changes)
    assert in_order(ranks, ["a", "b", "x"]) == ["a", "x", "b"]


def test_where_there_is_room_nobody_else_is_touched() -> None:
    ranks = ranks_of(*(waiting(str(n), n * RANK_STEP) for n in range(50)))
    other = ranks.get("25")
    assert other is not None
    (moved,) = ranks.before(other, "49").items()
    assert moved[0] == "49"
    assert 24 * RANK_STEP < moved[1] < 25 * RANK_STEP


@pytest.mark.parametrize("pattern", ["the same", "the last", "both", "any"])
def test_ranks_are_used_up_so_seldom_that_a_move_changes_a_few_of_them(pattern: str) -> None:
    count = 1000
    ranks = ranks_of(*(waiting(str(n), n * RANK_STEP) for n in range(count)))
    order = [str(n) for n in range(count)]
    changed, last = 0, str(count - 1)
    for number in range(2 * count):
        name = str(number * 7919 % (count - 1))
        target = {
            "the same": str(count - 1),
            "the last": last,
            "both": last if number % 2 else str(count - 1),
            "any": str(number * 104729 % count),
        }[pattern]
        other = ranks.get(target)
        if name == target or other is None:
            continue
        changes = ranks.before(other, name)
        changed += len(changes)
        move(ranks, changes)
        order.remove(name)
        order.insert(order.index(target), name)
        last = name
    assert in_order(ranks, order) == order
    assert changed <= 12 * 2 * count


def test_who_is_moved_again_is_not_in_its_own_way() -> None:
    ranks = ranks_of(waiting("a", 5), waiting("b", 6), waiting("c", 7))
    other = ranks.get("c")
    assert other is not None
    move(ranks, ranks.before(other, "b"))
    assert in_order(ranks, ["a", "b", "c"]) == ["a", "b", "c"]
    move(ranks, ranks.before(other, "a"))
    assert in_order(ranks, ["a", "b", "c"]) == ["b", "a", "c"]
