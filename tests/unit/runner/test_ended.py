"""Ended jobs as the store lists and counts them, and their removal many at a time."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.group_rows import NewGroup
from runner.lifecycle import State
from runner.rows import EndedJob, NewJob, Total
from runner.store import JobActiveError, Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING = Total(0, 0)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def kept(path: str) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def queued(kept: Store, number: int, uid: int = 1) -> str:
    job_id = f"{number:08x}-0000-4000-8000-000000000000"
    kept.insert(NewJob(id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=None, spec=b"s",
                       submitted_ns=1))  # fmt: skip
    return job_id


def ended(kept: Store, number: int, *, uid: int = 1, ended_ns: int = 9, size: int = 10) -> str:
    job_id = queued(kept, number, uid)
    kept.mark_ended(job_id, ended_ns, "exit", b"r", disk_bytes=size, is_ok=True)
    return job_id


def everything(kept: Store, uid: int | None, limit: int) -> list[EndedJob]:
    found: list[EndedJob] = []
    while page := kept.ended.page(uid, found[-1] if found else None, limit):
        assert len(page) <= limit
        found += page
    return found


def test_the_size_is_stored_with_the_end(kept: Store) -> None:
    job = kept.get(ended(kept, 1, size=4096))
    assert job is not None
    assert job.disk_bytes == 4096
    assert kept.ended.page(None, None, 5) == [EndedJob(job.id, 1, 9, job.seq, 4096)]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_go_from_the_oldest_end_to_the_newest_of_one_user_or_all(
    kept: Store, limit: int
) -> None:
    ends = [(5, 1), (3, 2), (5, 2), (-7, 1), (5, 1)]
    ids = [ended(kept, number, uid=uid, ended_ns=at) for number, (at, uid) in enumerate(ends)]
    queued(kept, 99)
    assert [job.id for job in everything(kept, None, limit)] == [ids[n] for n in (3, 1, 0, 2, 4)]
    assert [job.id for job in everything(kept, 2, limit)] == [ids[1], ids[2]]
    assert everything(kept, 3, limit) == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["end", "remove", "measure", "reopen"]),
        st.integers(0, 7),
        st.integers(0, 1000),
    ),
    max_size=30,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps)
def test_the_totals_are_those_of_the_rows_whatever_comes_and_goes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path = str(tmp_path_factory.mktemp("totals") / "db")
    kept = Store.open(path)
    made: list[str] = []
    for what, which, size in steps:
        if what == "end":
            made.append(ended(kept, len(made), uid=which % 3, size=size))
        elif what == "reopen":
            kept.close()
            kept = Store.open(path)
        elif made and what == "remove":
            kept.delete_ended([made[which % len(made)]], 1, 0)
        elif made:
            kept.measure({made[which % len(made)]: size})
    rows = everything(kept, None, 100)
    for uid in (None, 0, 1, 2):
        own = [job for job in rows if uid in {None, job.uid}]
        assert kept.ended.total(uid) == Total(len(own), sum(job.bytes for job in own))
    assert set(kept.ended.totals()) == {job.uid for job in rows}
    assert kept.counts()[State.ENDED] == len(rows)
    kept.close()


# Groups


def grouped(kept: Store, number: int, size: int, uid: int = 1) -> list[str]:
    """A new array; the ids of its jobs."""
    group_id = f"{number:08x}-aaaa-4000-8000-000000000000"
    ids = [f"{number:08x}-{member:04x}-4000-8000-000000000000" for member in range(size)]
    new = NewGroup(
        id=group_id, submitted_by_uid=uid, kind="array", name=None, submitted_ns=1,
        max_running=None, idempotency_key=None, digest=b"", about=b"", spec=b"s",
    )  # fmt: skip
    jobs = [
        NewJob(id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=None, spec=b"",
               submitted_ns=1, group_id=group_id, member=member)
        for member, job_id in enumerate(ids)
    ]  # fmt: skip
    kept.insert_group(new, jobs)
    return ids


def finish(kept: Store, *ids: str, ended_ns: int = 9, size: int = 10) -> None:
    for job_id in ids:
        kept.mark_ended(job_id, ended_ns, "exit", b"r", disk_bytes=size, is_ok=False)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_groups_jobs_are_listed_once_it_has_ended_and_from_then_on(
    kept: Store, limit: int
) -> None:
    ids = grouped(kept, 1, 3)
    before, after = ended(kept, 2, ended_ns=30), ended(kept, 3, ended_ns=40)
    finish(kept, *ids[:2], ended_ns=5)
    assert [job.id for job in everything(kept, None, limit)] == [before, after]
    assert (kept.ended.total(1), kept.ended.final_total(1)) == (Total(4, 40), Total(2, 20))
    finish(kept, ids[2], ended_ns=30)
    listed = everything(kept, None, limit)
    assert [job.id for job in listed] == [*ids, before, after]
    assert {job.ended_ns for job in listed[:3]} == {30}
    assert everything(kept, 1, limit) == listed
    assert everything(kept, 2, limit) == []
    assert kept.ended.final_total() == Total(5, 50)


def test_an_array_that_goes_on_is_not_looked_at_however_much_of_it_has_ended(kept: Store) -> None:
    ids = grouped(kept, 1, 2000)
    kept.end_queued([(job_id, "stopped", b"r") for job_id in ids[:-1]], 5)
    alone = ended(kept, 2)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    kept._db.set_progress_handler(count, 100)
    assert [job.id for job in kept.ended.page(None, None, 16)] == [alone]
    assert steps < 10
    kept._db.set_progress_handler(None, 100)


def test_a_group_that_is_tried_again_goes_on_and_its_jobs_stay(kept: Store) -> None:
    ids = grouped(kept, 1, 3)
    finish(kept, *ids)
    assert len(everything(kept, None, 5)) == 3
    kept.mark_retried_many(ids[1:], 20, 0)
    assert everything(kept, None, 5) == []
    assert (kept.ended.total(), kept.ended.final_total()) == (Total(1, 10), NOTHING)
    kept.delete_ended(ids[:1], 21, 0)
    finish(kept, *ids[1:], ended_ns=50)
    assert [(job.id, job.ended_ns) for job in everything(kept, None, 5)] == [
        (ids[1], 50), (ids[2], 50),
    ]  # fmt: skip


grouped_steps = st.lists(
    st.tuples(
        st.sampled_from(["group", "alone", *["end"] * 5, "retry", "remove", "measure", "reopen"]),
        st.integers(0, 30),
        st.integers(0, 40),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=grouped_steps)
def test_listed_and_counted_is_what_has_ended_with_its_group_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path = str(tmp_path_factory.mktemp("grouped") / "db")
    kept = Store.open(path)
    made = grouped(kept, 0, 3)
    for number, (what, which, size) in enumerate(steps, start=1):
        job = kept.get(made[which % len(made)])
        state = None if job is None else job.state
        if what == "group":
            made += grouped(kept, number, 1 + which % 4, uid=which % 2)
        elif what == "alone":
            made.append(queued(kept, number, uid=which % 2))
        elif what == "reopen":
            kept.close()
            kept = Store.open(path)
        elif job is None:
            continue
        elif what == "end" and state is State.QUEUED:
            finish(kept, job.id, ended_ns=size, size=size)
        elif what == "retry" and state is State.ENDED:
            chosen = made[which % len(made) :][: 1 + size % 4]
            kept.mark_retried_many(chosen, size, 0)
        elif what == "remove":
            kept.delete_ended([job.id, made[size % len(made)]], 1, 0)
        elif what == "measure":
            kept.measure({job.id: size, made[0]: size + 1})
    _check(kept, made, 1 + len(steps) % 5)
    kept.close()


def _check(kept: Store, made: list[str], limit: int) -> None:
    """Compare with what the rows say one by one."""
    every = [job for job in map(kept.get, made) if job is not None and job.state is State.ENDED]
    final = []
    for job in every:
        group = None if job.group_id is None else kept.group(job.group_id)
        at = job.ended_ns if group is None else group.ended_ns
        assert kept.ended.goes_on(job.group_id or "") == (at is None)
        if at is not None:
            final.append(EndedJob(job.id, job.submitted_by_uid, at, job.seq, job.disk_bytes))
    final.sort(key=lambda each: (each.ended_ns, each.seq))
    for uid in (None, 0, 1):
        own = [each for each in final if uid in {None, each.uid}]
        assert everything(kept, uid, limit) == own
        assert kept.ended.final_total(uid) == Total(len(own), sum(each.bytes for each in own))
        all_own = [job for job in every if uid in {None, job.submitted_by_uid}]
        size = sum(job.disk_bytes for job in all_own)
        assert kept.ended.total(uid) == Total(len(all_own), size)
    assert set(kept.ended.final_totals()) == {each.uid for each in final}


def test_many_are_removed_at_once_and_what_has_not_ended_stays(kept: Store) -> None:
    first, second, waiting = ended(kept, 1), ended(kept, 2), queued(kept, 3)
    gone = kept.delete_ended([first, waiting, "unknown", second, first], 7, 5)
    assert gone == [first, second]
    assert kept.get(first) is None
    assert kept.get(waiting) is not None
    removals = [event for event in kept.events_since(0, 100) if event.kind == "remove"]
    assert [event.job_id for event in removals] == [first, second]
    assert removals[0].data == {"removed_by_uid": 5}
    assert kept.ended.total() == NOTHING
    with pytest.raises(JobActiveError):
        kept.delete(waiting, 8, 0)


def test_nothing_is_removed_when_not_all_can_be(kept: Store, path: str) -> None:
    job = ended(kept, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        kept.delete_ended([job], 7, 0)
    with pytest.raises(StoreError):
        kept.measure({job: 77})
    other.execute("ROLLBACK")
    other.close()
    assert kept.ended.total() == Total(1, 10)
    assert kept.counts()[State.ENDED] == 1


def test_only_ended_jobs_of_0_bytes_are_unmeasured_and_then_no_more(kept: Store) -> None:
    jobs = [ended(kept, number, size=0) for number in range(3)]
    ended(kept, 10, size=1)
    waiting = queued(kept, 11)
    (first, second), (third,) = (
        kept.ended.unmeasured(0, 2), kept.ended.unmeasured(2, 2),
    )  # fmt: skip
    assert [job for _, job in (first, second, third)] == jobs
    kept.measure({jobs[0]: 5, jobs[1]: 6, waiting: 7, "unknown": 8})
    assert [job for _, job in kept.ended.unmeasured(0, 9)] == [jobs[2]]
    assert kept.ended.total() == Total(4, 12)
    unended = kept.get(waiting)
    assert unended is not None
    assert unended.disk_bytes == 0


@pytest.mark.parametrize(("most", "at_once", "rounds"), [(4, 100, 1), (4, 2, 3), (1, 3, 3)])
def test_the_oldest_events_beyond_the_most_go_some_at_a_time(
    kept: Store, most: int, at_once: int, rounds: int
) -> None:
    for number in range(10):
        queued(kept, number)
    before = kept.events_since(0, 100)
    times = 1
    while kept.trim_events(most, at_once):
        times += 1
    assert times == rounds
    assert kept.events_since(0, 100) == before[-most:]
    assert not kept.trim_events(most, at_once)


def test_without_events_none_are_trimmed(kept: Store) -> None:
    assert not kept.trim_events(1, 1)
