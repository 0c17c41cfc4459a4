"""The queue carried out: what is decided is committed, and survives the daemon."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from runner import arrivals, hopeless, queueing, stored
from runner.lifecycle import State
from runner.queues import UserQuota
from runner.refusal import Refusal
from runner.rows import QueueState
from runner.scheduling.kinds import Expire, Needs, Queue, Quota
from runner.store import StoreError
from tests.unit.runner.queue_bench import ALICE, SECOND, QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from pathlib import Path


def test_jobs_start_in_their_order_as_far_as_there_are_slots(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        jobs = [bench.submit() for _ in range(4)]
        await bench.turn()
        assert bench.launched == jobs[:2]
        assert bench.job(jobs[0]).state is State.STARTING
        bench.run(jobs[0])
        bench.end(jobs[0])
        await bench.turn()
        assert bench.launched == jobs[:3]

    on_queue(tmp_path, test, rules_of(2))


def test_however_many_jobs_come_there_is_one_decision_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        asked: list[int] = []
        decide = bench.queueing.scheduler.decide

        def counted(now_ns: int, **how: Any) -> Any:
            asked.append(now_ns)
            return decide(now_ns, **how)

        await bench.turn()
        monkeypatch.setattr(bench.queueing.scheduler, "decide", counted)
        for _ in range(50):
            bench.submit()
        await bench.turn()
        assert len(asked) == 1

    on_queue(tmp_path, test)


def test_a_decision_comes_though_something_happens_in_every_turn(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.submit()
        for _ in range(3):
            bench.queueing.soon()
            await asyncio.sleep(0)
        assert len(bench.launched) == 1

    on_queue(tmp_path, test)


def test_nothing_starts_while_nothing_may_and_lists_say_why(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        job = bench.submit()
        await bench.turn()
        assert bench.launched == []
        assert bench.queueing.cause(job) == "draining"
        bench.may_start = True
        bench.queueing.soon()
        await bench.turn()
        assert bench.launched == [job]

    on_queue(tmp_path, test)


def test_while_nothing_may_start_deadlines_and_dependencies_go_on(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        late = bench.submit(deadline_ns=time.time_ns() - 1)
        after = bench.submit(after=((late, "ok"),))
        await bench.turn()
        assert bench.job(late).reason == "deadline"
        assert bench.job(after).reason == "dependency"

    on_queue(tmp_path, test)


def test_a_store_that_cannot_be_written_costs_time_and_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        monkeypatch.setattr(queueing, "RETRY_SECONDS", 0.01)
        mark, failures = bench.store.mark_starting, [1, 2]

        def mark_or_fail(*args: Any) -> Any:
            if failures:
                failures.pop()
                raise StoreError("the disk is full")
            return mark(*args)

        monkeypatch.setattr(bench.store, "mark_starting", mark_or_fail)
        jobs = [bench.submit() for _ in range(3)]
        await bench.turn()
        assert bench.launched == []
        while len(bench.launched) < 2:
            await asyncio.sleep(0.005)
        assert bench.launched == jobs[:2]
        assert not failures

    on_queue(tmp_path, test, rules_of(2))


def test_a_job_that_is_no_more_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A defect of ours: it is said, and the next one has its turn."""

    async def test(bench: QueueBench) -> None:
        gone = bench.submit()
        following = bench.submit()
        bench.store.mark_ended(gone, 1, "lost", b"", is_ok=False)
        await bench.turn()
        bench.queueing.soon()
        await bench.turn()
        assert bench.launched == [following]

    on_queue(tmp_path, test)


def test_a_job_starts_when_its_time_has_come(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        job = bench.submit(not_before_ns=time.time_ns() + SECOND // 20)
        await bench.turn()
        assert bench.launched == []
        while not bench.launched:
            await asyncio.sleep(0.005)
        assert bench.launched == [job]

    on_queue(tmp_path, test)


def test_the_clock_is_looked_at_every_second_while_something_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        monkeypatch.setattr(queueing, "_LOOK_SECONDS", 0.01)
        job = bench.submit(not_before_ns=time.time_ns() + 3600 * SECOND)
        await bench.turn()
        later = time.time_ns() + 7200 * SECOND
        monkeypatch.setattr(time, "time_ns", lambda: later)
        while not bench.launched:
            await asyncio.sleep(0.005)
        assert bench.launched == [job]

    on_queue(tmp_path, test)


# Dependencies


def test_who_comes_after_a_job_starts_when_that_has_ended_well(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        first = bench.submit()
        second = bench.submit(after=((first, "ok"),))
        third = bench.submit(after=((first, "fail"),))
        await bench.turn()
        bench.run(first)
        bench.end(first)
        await bench.turn()
        assert bench.launched == [first, second]
        assert [known.met for known in bench.store.dependencies(second)] == [True]
        ended = bench.job(third)
        assert ended.reason == "dependency"
        assert ended.result is not None
        detail = stored.result(ended.result)["detail"]
        assert detail == f"it was to come after job {first[:8]} (fail), which ended: exit, status 0"

    on_queue(tmp_path, test)


def test_a_job_that_runs_lets_those_go_that_waited_for_its_start(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        first = bench.submit()
        second = bench.submit(after=((first, "started"),))
        await bench.turn()
        assert bench.launched == [first]
        bench.run(first)
        await bench.turn()
        assert bench.launched == [first, second]
        late = bench.submit(after=((first, "started"),))
        await bench.turn()
        assert bench.launched[-1] == late

    on_queue(tmp_path, test, rules_of(3))


def test_a_chain_ends_down_to_its_last_job_also_one_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        monkeypatch.setattr(hopeless, "BATCH", 20)
        root = bench.submit(deadline_ns=time.time_ns() - 1)
        chain = [root]
        for _ in range(45):
            chain.append(bench.submit(after=((chain[-1], "ok"),)))
        waiting = asyncio.ensure_future(bench.changes.next(chain[-1]))
        await waiting
        assert {bench.job(job).state for job in chain} == {State.ENDED}
        assert bench.job(chain[-1]).reason == "dependency"
        assert bench.ends == 3
        late = bench.submit(after=((chain[-1], "ok"),))
        await bench.turn()
        assert bench.job(late).reason == "dependency"

    on_queue(tmp_path, test)


def test_what_has_become_of_many_is_committed_at_once(tmp_path: Path) -> None:
    begun: list[str] = []
    targets: list[str] = []

    def watch(bench: QueueBench) -> None:
        bench.store._db.set_trace_callback(
            lambda statement: begun.append(statement) if statement == "BEGIN IMMEDIATE" else None
        )

    async def before(bench: QueueBench) -> None:
        bench.may_start = False
        targets.extend(bench.submit() for _ in range(40))
        last = bench.submit(after=tuple((target, "any") for target in targets))
        watch(bench)
        await bench.queueing.stop(targets[:30], 1000)
        # Their ends, and what they were waited for.
        assert len(begun) == 2
        assert len(bench.store.waiting()[-1].after) == 10
        begun.clear()
        bench.submit(after=tuple((target, "any") for target in targets))
        assert len(begun) == 1
        assert len(bench.store.waiting()[-1].after) == 10
        assert bench.queueing.after._unmet.of(1000) == 20
        # While nobody looks.
        for target in targets[30:]:
            bench.store.mark_ended(target, 5, "stopped", b"", is_ok=False)
        assert bench.job(last).state is State.QUEUED

    async def after(bench: QueueBench) -> None:
        assert bench.queueing.after._unmet.total == 0
        assert [job.after for job in bench.store.waiting()] == [(), ()]
        watch(bench)
        begun.clear()
        bench.queueing.load()
        assert begun == []

    on_queue(tmp_path, before)
    on_queue(tmp_path, after)


def test_what_can_never_start_is_ended_a_batch_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        monkeypatch.setattr(hopeless, "BATCH", 20)
        bench.submit(held_by_uid=0)
        late = [bench.submit(deadline_ns=time.time_ns() - 1) for _ in range(45)]
        others = [Expire(job) for job in late]
        decide = bench.queueing.scheduler.decide
        answers = [others[:25], others[25:]]

        def decide_some(now_ns: int, **how: Any) -> Any:
            decide(now_ns, **how)
            return answers.pop(0) if answers else []

        monkeypatch.setattr(bench.queueing.scheduler, "decide", decide_some)
        batches: list[int] = []
        end_queued = bench.store.end_queued

        def counted(ends: Any, time_ns: int) -> Any:
            batches.append(len(ends))
            return end_queued(ends, time_ns)

        monkeypatch.setattr(bench.store, "end_queued", counted)
        await bench.turn()
        assert batches == [20, 20, 5]
        assert {bench.job(job).reason for job in late} == {"deadline"}

    on_queue(tmp_path, test)


def test_a_job_whose_turn_it_is_when_it_is_submitted_is_starting_by_one_commit(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        await bench.turn()
        statements: list[str] = []
        bench.store._db.set_trace_callback(statements.append)
        job = bench.queueing.submit(bench.new())
        assert job.state is State.STARTING
        assert job.at_once == 1
        # Who submitted it hears of it first.
        assert bench.launched == []
        await bench.turn()
        assert bench.launched == [job.id]
        assert statements.count("COMMIT") == 1
        assert not [text for text in statements if text.startswith("SELECT")]
        assert job == bench.store._read(job.id)
        kinds = [event.kind for event in bench.store.events_since(0, 9)]
        assert kinds == ["submit", "launch"]
        assert bench.queueing.scheduler.going(job.id) is not None
        bench.run(job.id)
        bench.end(job.id)
        assert bench.queueing.scheduler.going(job.id) is None
        kinds = [event.kind for event in bench.store.events_since(0, 9)]
        assert kinds == ["submit", "launch", "started", "finish"]

    on_queue(tmp_path, test)


@pytest.mark.parametrize(
    "fields",
    [
        {"held_by_uid": 0},
        {"not_before_ns": 2**62},
        {"deadline_ns": 1},
        {"queue": "none"},
        {"after": (("00000000-dead-4000-8000-000000000000", "any"),)},
    ],
)
def test_a_job_that_waits_for_anything_is_queued_when_it_is_submitted(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async def test(bench: QueueBench) -> None:
        await bench.turn()
        job = bench.queueing.submit(bench.new(**fields))
        assert (job.state, job.at_once) == (State.QUEUED, 0)
        await bench.turn()
        assert bench.launched == []

    on_queue(tmp_path, test)


def test_a_job_is_queued_while_none_may_start_none_fits_or_others_are_on_their_way(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        await bench.turn()
        bench.may_start = False
        assert bench.queueing.submit(bench.new()).state is State.QUEUED
        bench.may_start = True
        # The other may have its turn first.
        assert bench.queueing.submit(bench.new()).state is State.QUEUED
        await bench.turn()
        assert len(bench.launched) == 2
        assert bench.queueing.submit(bench.new()).state is State.QUEUED
        for job in list(bench.launched):
            await bench.through(job)
        await bench.through(bench.launched[-1])
        bench.queueing.arrivals.add(["nobody"])
        assert bench.queueing.submit(bench.new()).state is State.QUEUED
        await bench.turn()
        assert len(bench.launched) == 4
        assert [bench.store._read(job) for job in bench.launched] == [
            bench.job(job) for job in bench.launched
        ]
        assert {bench.job(job).at_once for job in bench.launched} == {0}

    on_queue(tmp_path, test, rules_of(2))


def test_a_job_that_cannot_be_stored_has_no_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        await bench.turn()

        def full(*_: Any, **__: Any) -> None:
            raise StoreError("full")

        with monkeypatch.context() as broken:
            broken.setattr(bench.store, "insert", full)
            with pytest.raises(StoreError):
                bench.queueing.submit(bench.new())
        assert bench.queueing.scheduler.going_count() == 0
        job = bench.queueing.submit(bench.new())
        await bench.turn()
        assert bench.launched == [job.id]

    on_queue(tmp_path, test, rules_of(1))


def test_that_a_job_runs_is_committed_with_what_comes_next_or_in_a_moment(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        statements: list[str] = []
        bench.store._connection.set_trace_callback(statements.append)
        job = bench.queueing.submit(bench.new())
        await bench.turn()
        statements.clear()
        bench.run(job.id)
        assert bench.job(job.id).state is State.RUNNING
        assert bench.store.has_deferred
        assert statements == []
        while bench.store.has_deferred:
            await asyncio.sleep(0.005)
        assert "COMMIT" in statements
        other = bench.queueing.submit(bench.new())
        await bench.turn()
        bench.run(other.id)
        assert bench.store.has_deferred
        bench.end(other.id)
        assert not bench.store.has_deferred

    on_queue(tmp_path, test, rules_of(2))


def test_while_there_is_more_to_decide_it_is_decided_in_the_next_turn_but_not_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        bench.submit(held_by_uid=0)
        await bench.turn()
        answers: list[list[Any]] = [[Expire("nobody")]] * 3
        asked: list[int] = []

        def decide(now_ns: int, **_how: Any) -> list[Any]:
            asked.append(now_ns)
            return answers.pop() if answers else []

        monkeypatch.setattr(bench.queueing.scheduler, "decide", decide)
        monkeypatch.setattr(bench.queueing.scheduler, "wake_ns", lambda now_ns: now_ns)
        bench.queueing.soon()
        await bench.turn()
        assert 4 <= len(asked) <= 5
        while len(asked) < 8:
            await asyncio.sleep(0.005)

    on_queue(tmp_path, test)


def test_a_target_that_is_nowhere_counts_as_never(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        job = bench.submit(after=(("00000000-dead-4000-8000-000000000000", "any"),))
        await bench.turn()
        result = stored.result(bench.job(job).result or b"")
        assert "which was removed" in result["detail"]

    on_queue(tmp_path, test)


def test_what_was_met_stays_met_when_the_target_is_tried_again_and_fails(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        first, other = bench.submit(), bench.submit()
        both = bench.submit(after=((first, "ok"), (other, "ok")))
        await bench.turn()
        bench.run(first)
        bench.end(first)
        again = bench.store.mark_retried(first, time.time_ns(), by_uid=0)
        bench.queueing.waits(again)
        await bench.turn()
        for job, status in ((other, 0), (first, 3)):
            bench.run(job)
            bench.end(job, status)
            await bench.turn()
        assert bench.launched[-1] == both

    on_queue(tmp_path, test, rules_of(2))


def test_what_was_settled_while_nobody_looked_is_settled_at_the_start(tmp_path: Path) -> None:
    """The daemon was killed between the end of a job and what comes of it."""
    jobs: dict[str, str] = {}

    async def before(bench: QueueBench) -> None:
        bench.may_start = False
        jobs["target"] = target = bench.submit()
        jobs["ok"] = bench.submit(after=((target, "ok"),))
        jobs["fail"] = bench.submit(after=((target, "fail"),))
        jobs["chained"] = bench.submit(after=((jobs["fail"], "ok"),))
        bench.store.mark_starting(target, 1, "boot")
        bench.queueing.scheduler.release(target)
        bench.end(target)
        # As if it had not been said.
        bench.store._db.execute("UPDATE dependencies SET met = 0")

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == [jobs["ok"]]
        assert bench.job(jobs["fail"]).reason == "dependency"
        assert bench.job(jobs["chained"]).reason == "dependency"
        assert [known.met for known in bench.store.dependencies(jobs["ok"])] == [True]

    on_queue(tmp_path, before)
    on_queue(tmp_path, after)


def test_jobs_that_went_hold_what_they_were_promised_after_a_restart(tmp_path: Path) -> None:
    jobs: list[str] = []

    async def before(bench: QueueBench) -> None:
        jobs.extend(bench.submit(reserved_memory_bytes=600) for _ in range(2))
        await bench.turn()
        bench.run(jobs[0])
        assert bench.launched == jobs[:1]

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == []
        assert bench.queueing.cause(jobs[1]) == "memory"
        bench.end(jobs[0])
        await bench.turn()
        assert bench.launched == jobs[1:]

    on_queue(tmp_path, before, rules_of(9))
    on_queue(tmp_path, after, rules_of(9))


# Another attempt


def test_an_attempt_that_failed_gives_its_slot_back_and_waits_for_its_time(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        first, second = bench.submit(), bench.submit()
        await bench.turn()
        bench.run(first)
        later = time.time_ns() + 3600 * SECOND
        again = bench.store.mark_retried(
            first, time.time_ns(), ended_ns=time.time_ns(), reason="exit", result=b"",
            not_before_ns=later,
        )  # fmt: skip
        bench.queueing.waits(again)
        await bench.turn()
        assert bench.launched == [first, second]
        found = bench.queueing.explain(first)
        assert found is not None
        assert found.because[0].cause == "time"

    on_queue(tmp_path, test)


def test_a_job_that_never_ran_waits_in_its_old_place(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        first, second = bench.submit(), bench.submit()
        await bench.turn()
        bench.may_start = False
        bench.queueing.waits(bench.store.mark_requeued(first, time.time_ns()))
        await bench.turn()
        bench.may_start = True
        bench.queueing.soon()
        await bench.turn()
        assert bench.launched == [first, first]
        assert bench.job(second).state is State.QUEUED

    on_queue(tmp_path, test)


# Ends of many


def test_queued_jobs_end_in_batches_and_others_have_their_turn_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        monkeypatch.setattr(queueing, "BATCH", 20)
        bench.may_start = False
        jobs = [bench.submit() for _ in range(45)]
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        gone = await bench.queueing.stop(jobs, 1000)
        task.cancel()
        assert gone == set(jobs)
        assert turns >= 3
        assert stored.result(bench.job(jobs[0]).result or b"")["stopped_by_uid"] == 1000

    on_queue(tmp_path, test)


def test_one_that_does_not_wait_any_more_is_left_out(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        running, queued = bench.submit(), bench.submit()
        await bench.turn()
        assert await bench.queueing.stop([running, queued], 0) == {queued}
        assert bench.job(running).state is State.STARTING

    on_queue(tmp_path, test)


# Queues and promises


def test_what_an_admin_says_of_a_queue_holds_over_a_restart(tmp_path: Path) -> None:
    rules = rules_of(9, Queue("slow", max_running=3))

    async def before(bench: QueueBench) -> None:
        bench.store.set_queue_state("slow", paused=True, max_running=None)
        bench.queueing.set_queue("slow", QueueState(paused=True, max_running=None))
        bench.submit(queue="slow")

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == []
        assert bench.queueing.scheduler.queues["slow"] == Queue("slow", 0, 3, paused=True)
        bench.queueing.set_queue("slow", QueueState(paused=False, max_running=1))
        await bench.turn()
        assert len(bench.launched) == 1

    on_queue(tmp_path, before, rules)
    on_queue(tmp_path, after, rules)


def test_a_queue_that_is_not_configured_any_more_is_no_trouble(tmp_path: Path) -> None:
    async def before(bench: QueueBench) -> None:
        bench.store.set_queue_state("old", paused=True, max_running=None)
        bench.may_start = False
        bench.submit(queue="old")

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        (job,) = (job.id for job in bench.store.waiting())
        assert bench.queueing.cause(job) == "no-queue"

    on_queue(tmp_path, before, rules_of(1, Queue("old")))
    on_queue(tmp_path, after)


def test_a_promise_that_finds_no_room_is_refused_with_the_figures(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        one, two = (bench.submit(reserved_memory_bytes=size) for size in (600, 300))
        await bench.turn()
        with pytest.raises(Refusal) as caught:
            bench.queueing.promises.resize(bench.job(two), Needs(0, 401))
        error = caught.value.to_wire()
        assert (error["code"], error["field"]) == ("limit-unavailable", "limits.memory_max_bytes")
        assert "401 bytes" in error["detail"]
        assert "400 bytes of 1000 bytes" in error["detail"]
        bench.queueing.promises.resize(bench.job(two), Needs(0, 400))
        assert bench.queueing.scheduler.promised() == Needs(0, 1000)
        assert bench.job(one).state is State.STARTING

    on_queue(tmp_path, test, rules_of(9))


def test_a_users_quota_holds_for_what_runs_as_well(tmp_path: Path) -> None:
    quota = UserQuota(Quota(max_memory_bytes=700))

    async def test(bench: QueueBench) -> None:
        one, _ = (bench.submit(reserved_memory_bytes=300) for _ in range(2))
        await bench.turn()
        with pytest.raises(Refusal) as caught:
            bench.queueing.promises.resize(bench.job(one), Needs(0, 500))
        error = caught.value.to_wire()
        assert (error["code"], error["field"]) == ("quota-exceeded", "limits.memory_max_bytes")
        assert error["allowed"] == "700 bytes in all"
        assert bench.queueing.promises.most_memory(1000) == 700
        assert bench.queueing.promises.most_memory(0) == 1000

    on_queue(tmp_path, test, rules_of(9, quota=quota))


def test_nothing_is_decided_once_it_is_closed(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.submit()
        bench.queueing.close()
        bench.queueing.soon()
        await bench.turn()
        assert bench.launched == []

    on_queue(tmp_path, test)


# Groups


def unmet_of(bench: QueueBench, job_id: str) -> list[bool]:
    return [known.met for known in bench.store.dependencies(job_id)]


def test_an_array_runs_in_its_order_and_never_more_of_it_than_may(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(5, cap=2)
        jobs = bench.of(group)
        other = bench.submit()
        await bench.turn()
        assert bench.launched == [*jobs[:2], other]
        assert bench.queueing.cause(jobs[2]) == "group-cap"
        await bench.through(jobs[1])
        assert bench.launched[3:] == [jobs[2]]

    on_queue(tmp_path, test, rules_of(9))


def test_who_comes_after_a_group_starts_when_all_of_it_has_ended(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(2)
        after = {kind: bench.submit(after=((group.id, kind),)) for kind in ("ok", "any", "fail")}
        first, second = bench.of(group)
        waiting = asyncio.ensure_future(bench.changes.next(group.id))
        await bench.through(first)
        assert bench.launched == [first, second]
        assert not waiting.done()
        await bench.through(second)
        assert waiting.done()
        assert bench.launched[2:] == [after["ok"], after["any"]]
        assert unmet_of(bench, after["ok"]) == [True]
        result = stored.result(bench.job(after["fail"]).result or b"")
        assert result["detail"] == (
            f"it was to come after group {group.id[:8]} (fail), of which none failed"
        )
        # One that comes later is told at once.
        late = bench.submit(after=((group.id, "any"),))
        await bench.turn()
        assert bench.launched[-1] == late

    on_queue(tmp_path, test, rules_of(9))


def test_a_group_of_which_a_job_failed_has_failed(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(2)
        good = bench.submit(after=((group.id, "ok"),))
        bad = bench.submit(after=((group.id, "fail"),))
        for job, status in zip(bench.of(group), (3, 0), strict=True):
            await bench.through(job, status)
        assert bench.launched[-1] == bad
        assert "of which some failed" in str(stored.result(bench.job(good).result or b""))

    on_queue(tmp_path, test, rules_of(9))


def test_a_group_that_was_stopped_in_the_queue_has_ended_for_who_comes_after_it(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(3)
        after = bench.submit(after=((group.id, "any"),))
        await bench.queueing.stop(bench.of(group), 1000)
        assert unmet_of(bench, after) == [True]
        assert bench.group_now(group).failed == 3

    on_queue(tmp_path, test)


def test_what_ended_while_nobody_looked_has_ended_at_the_start(tmp_path: Path) -> None:
    found: dict[str, str] = {}

    async def before(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(2)
        found["ok"] = bench.submit(after=((group.id, "ok"),))
        found["fail"] = bench.submit(after=((group.id, "fail"),))
        for job in bench.of(group):
            bench.store.mark_ended(job, 5, "exit", b"", is_ok=True)

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == [found["ok"]]
        assert bench.job(found["fail"]).reason == "dependency"

    on_queue(tmp_path, before)
    on_queue(tmp_path, after)


def test_what_goes_of_a_group_counts_for_its_cap_after_a_restart(tmp_path: Path) -> None:
    jobs: list[str] = []

    async def before(bench: QueueBench) -> None:
        # Without a cap as yet.
        group = await bench.array(4)
        jobs.extend(bench.of(group))
        bench.run(jobs[0])
        assert bench.launched == jobs[:2]
        bench.store.set_group_max_running(group.id, 2, 9, 0)

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == []
        assert bench.queueing.cause(jobs[2]) == "group-cap"
        bench.end(jobs[0])
        await bench.turn()
        assert bench.launched == [jobs[2]]

    on_queue(tmp_path, before, rules_of(2))
    on_queue(tmp_path, after, rules_of(9))


def test_another_cap_of_a_group_counts_at_once_also_where_there_was_none(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(9)
        jobs = bench.of(group)
        for cap, count in ((2, 2), (3, 3), (1, 3), (None, 9)):
            bench.queueing.cap_group(group.id, cap)
            bench.may_start = True
            await bench.turn()
            assert bench.launched == jobs[:count]
            place = bench.queueing.ranks.get(jobs[8])
            assert place is None or place.group_cap == cap

    on_queue(tmp_path, test, rules_of(20))


def test_a_flow_ends_from_what_failed_down_and_tells_that_it_was_skipped(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        chain = [[(0, "ok")], [(1, "ok")], [(0, "fail")], [(2, "any")]]
        group = await bench.flow([], *chain)
        first, second, third, cleanup, report = bench.of(group)
        await bench.through(first, 3)
        assert bench.launched == [first, cleanup, report]
        assert [bench.job(job).fate for job in (second, third)] == ["skipped", "skipped"]
        for job in (cleanup, report):
            await bench.through(job)
        now = bench.group_now(group)
        assert (now.ended_ns is not None, now.is_ok, now.failed) == (True, False, 1)

    on_queue(tmp_path, test, rules_of(9))


# Many at once


def test_many_come_in_some_at_a_time_in_their_order_and_whoever_comes_meanwhile_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 10)
    seen: list[int] = []

    async def test(bench: QueueBench) -> None:
        enter = bench.queueing.after.enter

        def counted(jobs: Any) -> None:
            seen.append(len(jobs))
            enter(jobs)

        monkeypatch.setattr(bench.queueing.after, "enter", counted)
        made = asyncio.ensure_future(bench.array(45))
        await asyncio.sleep(0)
        later = bench.submit()
        group = await made
        while bench.queueing.arrivals:
            await asyncio.sleep(0)
        await bench.turn()
        assert seen == [10, 10, 10, 10, 5, 1]
        assert bench.launched == [*bench.of(group), later]

    on_queue(tmp_path, test, rules_of(99))


def test_who_is_stopped_or_changed_on_the_way_in_is_not_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 2)

    async def test(bench: QueueBench) -> None:
        made = asyncio.ensure_future(bench.array(8))
        await asyncio.sleep(0)
        (group,) = bench.store.find_groups("00000000", None)
        jobs = bench.of(group)
        assert bench.queueing.arrivals
        assert await bench.queueing.stop(jobs[6:], 1000) == set(jobs[6:])
        bench.requests.hold(bench.job(jobs[5]), 1000)
        await made
        while bench.queueing.arrivals:
            await asyncio.sleep(0)
        await bench.turn()
        assert bench.launched == jobs[:5]
        assert bench.queueing.cause(jobs[5]) == "held"
        assert bench.queueing.scheduler.waiting_count() == 1

    on_queue(tmp_path, test, rules_of(99))


def test_a_group_that_is_stopped_on_its_way_in_has_ended_for_who_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 1)

    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        made = asyncio.ensure_future(bench.array(4))
        await asyncio.sleep(0)
        (group,) = bench.store.find_groups("00000000", None)
        after = bench.submit(after=((group.id, "any"),))
        bench.queueing.arrivals.hurry()
        await bench.queueing.stop(bench.of(group), 1000)
        await made
        assert unmet_of(bench, after) == [True]

    on_queue(tmp_path, test)


def test_a_move_waits_for_nobody_on_the_way_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 1)

    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        made = asyncio.ensure_future(bench.array(4))
        await asyncio.sleep(0)
        (group,) = bench.store.find_groups("00000000", None)
        last = bench.job(bench.of(group)[-1])
        bench.requests.move(last, ALICE, top=True, before=None, queue=None)
        bench.may_start = True
        await made
        await bench.turn()
        assert bench.launched[0] == last.id

    on_queue(tmp_path, test)
