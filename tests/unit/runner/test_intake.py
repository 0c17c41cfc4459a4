"""What is taken into the queue: all of what comes together, or none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runner import submission_queue
from runner.queues import UserQuota
from runner.refusal import Refusal
from runner.rows import NewJob
from tests.unit.runner.queue_bench import QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_group_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        with pytest.raises(Refusal, match="quota-exceeded"):
            await bench.array(4)
        assert bench.store.waiting() == []
        await bench.array(3)
        with pytest.raises(Refusal, match="quota-exceeded"):
            await bench.array(1)
        # Root is bounded by what the daemon takes.
        await bench.array(997, uid=0)
        with pytest.raises(Refusal, match="too-many-jobs"):
            await bench.array(1, uid=0)
        bench.closed = Refusal("shutting-down")
        with pytest.raises(Refusal, match="shutting-down"):
            bench.intake.refuse_unless_open(0)

    on_queue(tmp_path, test, rules_of(quota=UserQuota(max_queued=3)))


def test_what_a_group_comes_after_is_met_where_it_is_for_all_of_its_jobs(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        done = bench.submit()
        await bench.turn()
        bench.run(done)
        bench.end(done, 3)
        bench.may_start = False
        group = await bench.array(2, after=((done, "fail"),))
        for job in bench.of(group):
            assert [each.met for each in bench.store.dependencies(job)] == [True]
        # Two steps want different things of it: each is judged by itself.
        new = NewJob(
            id="x", submitted_by_uid=1, uid=1, gid=1, name=None, spec=b"", submitted_ns=1,
            after=((done, "fail"), ("none", "ok")),
        )  # fmt: skip
        assert bench.queueing.after.by_now(new) == {done}
        other = NewJob(
            id="y", submitted_by_uid=1, uid=1, gid=1, name=None, spec=b"", submitted_ns=1,
            after=((done, "ok"),),
        )  # fmt: skip
        assert bench.queueing.after.all_by_now([new, other]) == set()

    on_queue(tmp_path, test)


def test_a_group_that_waits_for_too_much_is_refused_new_and_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission_queue, "MOST_UNMET_OF", 3)

    async def test(bench: QueueBench) -> None:
        target = bench.submit()
        await bench.turn()
        with pytest.raises(Refusal, match="quota-exceeded"):
            await bench.array(4, after=((target, "ok"),))
        group = await bench.flow([], [(0, "ok")], [(1, "ok")], [(2, "ok")])
        await bench.through(target)
        await bench.through(bench.of(group)[0], 1)
        bench.may_start = False
        assert bench.group_now(group).ended_ns is not None
        again = bench.submit()
        bench.submit(after=((again, "ok"),))
        with pytest.raises(Refusal, match="quota-exceeded"):
            bench.intake.retry_all(1000, bench.of(group), 1000)
        assert bench.group_now(group).ended_ns is not None

    on_queue(tmp_path, test, rules_of(1))


def test_the_job_of_a_hook_passes_quotas_but_not_a_daemon_that_takes_nothing(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        await bench.array(1)
        job = NewJob(
            id="9f0f3f52-0f64-4d4f-8b3d-2f4f6f1c9e11", submitted_by_uid=1, uid=1, gid=1, name=None,
            spec=b"", submitted_ns=1,
        )  # fmt: skip
        bench.closed = Refusal("draining")
        with pytest.raises(Refusal, match="draining"):
            bench.intake.submit_call(job, 1)
        assert len(bench.store.waiting()) == 1
        bench.closed = None
        assert bench.intake.submit_call(job, 1).id == job.id
        assert bench.queueing.scheduler.get(job.id) is not None

    on_queue(tmp_path, test, rules_of(quota=UserQuota(max_queued=1)))
