"""Rows that are kept in memory: how many, how many bytes, and which."""

from __future__ import annotations

import msgspec

from runner.lifecycle import State
from runner.rows import Attached, Job, NewHook, NewJob
from runner.store_rows import RecentAttached, RecentRows


def job(number: int, **values: object) -> Job:
    made = Job(
        seq=number, id=f"job-{number}", submitted_by_uid=1, uid=1, gid=1, name=None,
        state=State.QUEUED, submitted_ns=1, started_ns=None, ended_ns=None, boot_id=None,
        monitor_pid=None, limits=None, reason=None, result=None, spec=b"1234",
    )  # fmt: skip
    return msgspec.structs.replace(made, **values)


def kept(rows: RecentRows) -> list[int]:
    return [n for n in range(10) if rows.get(f"job-{n}") is not None]


def test_the_jobs_that_were_asked_for_last_are_kept() -> None:
    rows = RecentRows(most_rows=3)
    for number in range(3):
        rows.put(job(number))
    assert rows.get("job-0") == job(0)
    rows.put(job(3))
    assert kept(rows) == [0, 2, 3]
    rows.drop("job-2")
    rows.drop("job-2")
    assert kept(rows) == [0, 3]
    rows.clear()
    assert len(rows) == 0


def test_no_more_bytes_are_kept_than_there_may_be_whatever_has_changed() -> None:
    rows = RecentRows(most_bytes=20)
    for _ in range(5):
        rows.put(job(0))
        rows.put(job(0, spec=b"x" * 8, limits=b"limits", result=b"result"))
    assert kept(rows) == [0]
    rows.put(job(1))
    assert kept(rows) == [1]
    rows.put(job(2, spec=bytes(16)))
    assert kept(rows) == [1, 2]
    rows.drop("job-2")
    rows.put(job(3, spec=bytes(16)))
    assert kept(rows) == [1, 3]


def test_what_jobs_have_beside_their_rows_is_known_of_the_newest() -> None:
    known = RecentAttached(most=2, most_ended=1)
    plain = NewJob(id="a", submitted_by_uid=1, uid=1, gid=1, name=None, spec=b"", submitted_ns=1)
    known.put(plain)
    known.put(msgspec.structs.replace(plain, id="b", hooks=(NewHook(("ended",), b""),)))
    assert known.get("a") == Attached(labels=False, dependencies=False, hooks=False)
    assert [known.has_no_hooks(job_id) for job_id in "abc"] == [True, False, False]
    known.put(msgspec.structs.replace(plain, id="c", after=(("a", "ok"),), labels={"k": "v"}))
    assert known.get("a") is None
    assert [known.comes_after_nothing(job_id) for job_id in "abc"] == [False, True, False]
    for job_id in "bcb":
        known.ended(job_id)
    assert [known.get(job_id) is not None for job_id in "abc"] == [False, False, True]


def test_a_job_that_is_too_large_is_not_kept_and_drives_no_other_out() -> None:
    rows = RecentRows(most_bytes=20)
    rows.put(job(0))
    rows.put(job(1))
    rows.put(job(1, spec=bytes(21)))
    assert kept(rows) == [0]
