"""Ends: what is committed of them and when, and their sizes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from runner import outcome, records, stored, work
from runner.disk_usage import tree_bytes
from runner.lifecycle import State
from runner.store_file import FullStoreError
from tests.unit.runner.removal import Bench, job_of, on_bench, until

if TYPE_CHECKING:
    from pathlib import Path


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
