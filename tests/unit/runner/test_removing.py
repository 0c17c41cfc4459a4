"""The removal of jobs that have ended, whatever the disk says to it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from runner.refusal import Refusal
from runner.store import StoreError
from runner.store_file import FullStoreError
from tests.unit.runner.removal import Bench, job_of, on_bench, until

if TYPE_CHECKING:
    from pathlib import Path


def fail_on(monkeypatch: pytest.MonkeyPatch, bench: Bench, name: str, *ids: str) -> None:
    """Let a call of the directories fail for some jobs, as for a mount that is in the way."""
    real = getattr(bench.directories, name)

    def failing(job_id: str) -> None:
        if job_id in ids:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), job_id)
        real(job_id)

    monkeypatch.setattr(bench.directories, name, failing)


def test_a_removed_job_leaves_no_row_no_directory_and_no_problem(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id, other = bench.ended(), bench.ended()
        bench.problems.add("something", job_id)
        told = bench.changes.next(job_id)
        await bench.removing.remove(job_of(bench, job_id), 5)
        assert told.done()
        assert bench.left() == {other}
        assert bench.problems.all() == []
        assert bench.store.events_since(0, 100)[-1].data == {"removed_by_uid": 5}

    on_bench(tmp_path, test)


def test_a_job_that_has_not_ended_is_never_removed(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.queued()
        with pytest.raises(Refusal) as refused:
            await bench.removing.remove(job_of(bench, job_id), 5)
        assert refused.value.to_wire()["code"] == "job-active"
        assert bench.left() == {job_id}

    on_bench(tmp_path, test)


def test_of_two_who_remove_the_same_job_one_is_told_that_it_is_gone(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job = job_of(bench, bench.ended())
        outcomes = await asyncio.gather(
            bench.removing.remove(job, 1), bench.removing.remove(job, 2), return_exceptions=True
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
                await bench.removing.remove(job_of(bench, stuck), 0)
            assert refused.value.to_wire()["code"] == "store-error"
            assert "unmount" in refused.value.to_wire()["detail"]
            assert await bench.removing.remove_ended([stuck, free], 0) == [free]
        (problem,) = bench.problems.all()
        assert problem.job == stuck
        assert bench.left() == {stuck}
        assert await bench.removing.remove_ended([stuck], 0) == [stuck]
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
            assert await bench.removing.remove_ended([stuck, free], 0) == [stuck, free]
            await bench.removing.retry_removals()
        assert os.listdir(bench.directories.path) == [f"removed-{stuck}"]
        (problem,) = bench.problems.all()
        assert "tried again" in problem.text
        await bench.removing.retry_removals()
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
        assert await bench.removing.remove_ended([job_id], 0) == [job_id]
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
        await bench.removing.finish_removals()
        assert bench.left() == {other}
        await bench.removing.finish_removals()
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
                await bench.removing.remove(job_of(bench, job_id), 0)
        assert os.listdir(f"{bench.directories.path}/removed-{job_id}")
        await bench.removing.remove(job_of(bench, job_id), 0)
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
        removing = asyncio.ensure_future(bench.removing.remove(job_of(bench, job_id), 0))
        await until(lambda: bench.store.get(job_id) is None)
        removing.cancel()
        await asyncio.gather(removing, return_exceptions=True)
        free.set()
        await asyncio.gather(*busy)
        assert os.listdir(bench.directories.path) == [f"removed-{job_id}"]
        await bench.removing.retry_removals()
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
            await bench.removing.remove(job_of(bench, job_id), 0)
        (problem,) = bench.problems.all()
        assert "tried again" in problem.text
        assert "can't start new thread" in problem.text
        await bench.removing.retry_removals()
        assert bench.problems.all() == []
        assert bench.left() == set()

    on_bench(tmp_path, test)
