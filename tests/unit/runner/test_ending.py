"""Ends with their sizes, and the removal of what has ended, whatever the disk says to it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from runner import outcome, records, stored, work
from runner.disk_usage import tree_bytes
from runner.lifecycle import State
from runner.refusal import Refusal
from runner.store import StoreError
from runner.store_file import FullStoreError
from tests.unit.runner.removal import Bench, on_bench, until

if TYPE_CHECKING:
    from pathlib import Path

    from runner.rows import Job


def job_of(bench: Bench, job_id: str) -> Job:
    job = bench.store.get(job_id)
    assert job is not None
    return job


def fail_on(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, *ids: str) -> None:
    """Let a call of the directories fail for some jobs, as for a mount that is in the way."""
    real = getattr(bench.directories, name)

    def failing(job_id: str) -> None:
        if job_id in ids:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), job_id)
        real(job_id)

    monkeypatch.setattr(bench.directories, name, failing)


def running(bench: Bench, **record: object) -> str:
    """A job with cgroups, whose monitor has written that it ended by itself, or `record`."""
    job_id = bench.queued()
    bench.store.mark_starting(job_id, 1, "boot")
    bench.tree.create_job(job_id)
    unknown = dict.fromkeys(stored.RESULT_FIELDS)
    ended = {"job": job_id, "started_ns": 5, "ended_ns": 9, "reason": "exit", "exit_status": 0}
    fields = {**unknown, **ended, "exit_code": 0, "log_bytes": 3, **record}
    path = f"{bench.directories.path}/{job_id}/{records.EXIT}"
    with open(path, "wb") as file:
        file.write(records.pack(fields))
    return job_id


def test_an_end_that_can_be_had_without_waiting_is_committed_and_told_at_once(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        job_id = running(bench)
        told = bench.changes.next(job_id)
        bench.ending.monitor_gone(job_id)
        job = job_of(bench, job_id)
        assert (job.state, job.reason, job.started_ns) == (State.ENDED, "exit", 5)
        assert job.disk_bytes == tree_bytes(f"{bench.directories.path}/{job_id}") > 0
        assert told.done()
        assert bench.tree.jobs() == []
        assert bench.ends == 1

    on_bench(tmp_path, test)


@pytest.mark.parametrize("what", ["something below", "held", "much output"])
def test_an_end_that_has_to_be_waited_for_is_committed_when_nothing_of_the_job_is_left(
    tmp_path: Path, what: str
) -> None:
    async def test(bench: Bench) -> None:
        job_id = running(bench, log_bytes=2**40 if what == "much output" else 0)
        if what == "something below":
            os.mkdir(f"{bench.tree.root}/job-{job_id}/payload/of-its-own")
        if what == "held":
            bench.held.add(job_id)
        bench.ending.monitor_gone(job_id)
        assert job_of(bench, job_id).state is State.STARTING
        await until(lambda: bench.ends == 1)
        assert job_of(bench, job_id).reason == "exit"
        assert bench.released == [job_id]
        assert not bench.held
        assert bench.tree.jobs() == []

    on_bench(tmp_path, test)


def test_a_job_whose_record_is_garbled_or_missing_is_lost(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        garbled, missing = running(bench, exit_status=None), running(bench)
        os.unlink(f"{bench.directories.path}/{missing}/{records.EXIT}")
        for job_id in (garbled, missing):
            bench.ending.monitor_gone(job_id)
        await until(lambda: bench.ends == 2)
        assert [job_of(bench, job_id).reason for job_id in (garbled, missing)] == ["lost"] * 2
        assert bench.tree.jobs() == []

    on_bench(tmp_path, test)


def test_an_end_that_cannot_be_stored_now_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        job_id = running(bench)
        real, tries = bench.store.mark_ended, []

        def failing(*args: object, **named: object) -> object:
            tries.append(args)
            if len(tries) == 1:
                raise FullStoreError("no room")
            return real(*args, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.store, "mark_ended", failing)
        monkeypatch.setattr(work, "RETRY_SECONDS", 0.001)
        bench.ending.monitor_gone(job_id)
        assert bench.ends == 0
        await until(lambda: bench.ends == 1)
        assert job_of(bench, job_id).state is State.ENDED

    on_bench(tmp_path, test)


def test_an_end_without_a_size_is_measured_afterwards(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.queued()
        size = tree_bytes(f"{bench.directories.path}/{job_id}")
        bench.ending.end(job_id, outcome.stopped_in_queue(0), {})
        assert bench.ends == 1
        await until(lambda: job_of(bench, job_id).disk_bytes == size)
        assert bench.store.ended.total().bytes == size > 0

    on_bench(tmp_path, test)


def test_an_end_with_a_size_is_stored_with_it(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.queued()
        bench.ending.end(job_id, outcome.stopped_in_queue(0), {"disk_bytes": 77})
        assert job_of(bench, job_id).disk_bytes == 77

    on_bench(tmp_path, test)


def test_a_removed_job_leaves_no_row_no_directory_and_no_problem(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id, other = bench.ended(), bench.ended()
        bench.problems.add("something", job_id)
        told = bench.changes.next(job_id)
        await bench.ending.remove(job_of(bench, job_id), 5)
        assert told.done()
        assert bench.left() == {other}
        assert bench.problems.all() == []
        assert bench.store.events_since(0, 100)[-1].data == {"removed_by_uid": 5}

    on_bench(tmp_path, test)


def test_a_job_that_has_not_ended_is_never_removed(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.queued()
        with pytest.raises(Refusal) as refused:
            await bench.ending.remove(job_of(bench, job_id), 5)
        assert refused.value.to_wire()["code"] == "job-active"
        assert bench.left() == {job_id}

    on_bench(tmp_path, test)


def test_of_two_who_remove_the_same_job_one_is_told_that_it_is_gone(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job = job_of(bench, bench.ended())
        outcomes = await asyncio.gather(
            bench.ending.remove(job, 1), bench.ending.remove(job, 2), return_exceptions=True
        )
        assert outcomes[0] is None
        assert isinstance(outcomes[1], Refusal)
        assert outcomes[1].to_wire()["code"] == "no-such-job"
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_a_directory_that_cannot_be_taken_out_of_use_is_refused_or_a_problem_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        stuck, free = bench.ended(), bench.ended()
        with monkeypatch.context() as patched:
            fail_on(patched, bench, "doom", stuck)
            with pytest.raises(Refusal) as refused:
                await bench.ending.remove(job_of(bench, stuck), 0)
            assert refused.value.to_wire()["code"] == "store-error"
            assert "unmount" in refused.value.to_wire()["detail"]
            assert await bench.ending.remove_ended([stuck, free], 0) == [free]
        (problem,) = bench.problems.all()
        assert problem.job == stuck
        assert bench.left() == {stuck}
        assert await bench.ending.remove_ended([stuck], 0) == [stuck]
        assert bench.problems.all() == []
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_a_directory_that_cannot_be_removed_is_tried_again_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        stuck, free = bench.ended(), bench.ended()
        with monkeypatch.context() as patched:
            fail_on(patched, bench, "remove_doomed", stuck)
            assert await bench.ending.remove_ended([stuck, free], 0) == [stuck, free]
            await bench.ending.retry_removals()
        assert os.listdir(bench.directories.path) == [f"removed-{stuck}"]
        (problem,) = bench.problems.all()
        assert "tried again" in problem.text
        await bench.ending.retry_removals()
        assert bench.problems.all() == []
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_a_full_disk_is_given_room_before_it_is_asked_to_store_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.ended()
        real, tries = bench.store.delete_ended, []

        def full_at_first(ids: list[str], time_ns: int, uid: int) -> list[str]:
            tries.append(os.listdir(bench.directories.path))
            if len(tries) == 1:
                raise FullStoreError("full")
            return real(ids, time_ns, uid)

        monkeypatch.setattr(bench.store, "delete_ended", full_at_first)
        assert await bench.ending.remove_ended([job_id], 0) == [job_id]
        assert tries == [[f"removed-{job_id}"], []]
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_a_removal_that_was_cut_off_is_finished_and_no_unended_job_goes_with_it(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        cut, gone, other = bench.ended(), bench.ended(), bench.ended()
        for job_id in (cut, gone):
            bench.directories.doom(job_id)
        bench.store.delete(gone, 1, 0)
        await bench.ending.finish_removals()
        assert bench.left() == {other}
        await bench.ending.finish_removals()
        assert bench.left() == {other}

    on_bench(tmp_path, test)


def test_a_store_that_fails_for_another_reason_costs_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.ended()

        def locked(*_: object) -> list[str]:
            raise StoreError("database is locked")

        with monkeypatch.context() as patched:
            patched.setattr(bench.store, "delete_ended", locked)
            with pytest.raises(StoreError, match="locked"):
                await bench.ending.remove(job_of(bench, job_id), 0)
        assert os.listdir(f"{bench.directories.path}/removed-{job_id}")
        await bench.ending.remove(job_of(bench, job_id), 0)
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_the_directory_of_who_goes_away_while_every_thread_is_busy_is_removed_later(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        free = threading.Event()
        busy = [asyncio.ensure_future(bench.work.blocking(free.wait)) for _ in range(2)]
        await asyncio.sleep(0.01)
        job_id = bench.ended()
        removing = asyncio.ensure_future(bench.ending.remove(job_of(bench, job_id), 0))
        await until(lambda: bench.store.get(job_id) is None)
        removing.cancel()
        await asyncio.gather(removing, return_exceptions=True)
        free.set()
        await asyncio.gather(*busy)
        assert os.listdir(bench.directories.path) == [f"removed-{job_id}"]
        await bench.ending.retry_removals()
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_without_a_thread_a_job_is_removed_and_its_directory_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.ended()

        async def no_thread(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(bench.work, "blocking", no_thread)
            await bench.ending.remove(job_of(bench, job_id), 0)
        (problem,) = bench.problems.all()
        assert "tried again" in problem.text
        assert "can't start new thread" in problem.text
        await bench.ending.retry_removals()
        assert bench.problems.all() == []
        assert bench.left() == set()

    on_bench(tmp_path, test)
