"""What people ask of the queue: who may, what comes of it, what is refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from runner import ranks
from runner.message_queue import SetQueue
from runner.policy import Members
from runner.queues import UserQuota
from runner.refusal import Refusal
from runner.rows import RANK_STEP
from runner.scheduling.kinds import Needs, Queue, Quota
from tests.unit.runner.queue_bench import ALICE, BOB, ROOT, QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from pathlib import Path


def refused(*args: Any, **named: Any) -> dict[str, Any]:
    call, *rest = args
    with pytest.raises(Refusal) as caught:
        call(*rest, **named)
    return caught.value.to_wire()


def kinds_of(bench: QueueBench, job_id: str) -> list[str]:
    return [event.kind for event in bench.store.events_since(0, 100) if event.job_id == job_id]


def held_back(bench: QueueBench, count: int = 3, **fields: Any) -> list[str]:
    """Jobs that nothing starts."""
    bench.may_start = False
    return [bench.submit(**fields) for _ in range(count)]


async def started(bench: QueueBench) -> list[str]:
    """All of them, in their order."""
    bench.may_start = True
    bench.queueing.soon()
    await bench.turn()
    return bench.launched


# Hold and release


def test_a_held_job_does_not_start_until_it_is_released(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        held = bench.requests.hold(bench.job(job), ALICE.uid)
        assert held.held_by_uid == ALICE.uid
        assert await started(bench) == []
        assert bench.queueing.cause(job) == "held"
        bench.requests.release(bench.job(job), ALICE.uid, is_admin=False)
        await bench.turn()
        assert bench.launched == [job]
        assert kinds_of(bench, job) == ["submit", "hold", "release", "launch"]

    on_queue(tmp_path, test)


def test_what_an_admin_holds_only_an_admin_releases(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        bench.requests.hold(bench.job(job), ROOT.uid)
        # Its owner does not get it by holding it once more.
        bench.requests.hold(bench.job(job), ALICE.uid)
        error = refused(bench.requests.release, bench.job(job), ALICE.uid, is_admin=False)
        assert error["code"] == "not-permitted"
        assert bench.job(job).held_by_uid == 0
        bench.requests.release(bench.job(job), 77, is_admin=True)
        assert bench.job(job).held_by_uid is None

    on_queue(tmp_path, test)


def test_an_admin_takes_over_what_its_owner_holds(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        bench.requests.hold(bench.job(job), ALICE.uid)
        bench.requests.hold(bench.job(job), ROOT.uid)
        assert bench.job(job).held_by_uid == 0

    on_queue(tmp_path, test)


def test_holding_and_releasing_twice_is_harmless_and_no_event(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        for _ in range(2):
            bench.requests.hold(bench.job(job), ALICE.uid)
        for _ in range(2):
            bench.requests.release(bench.job(job), ALICE.uid, is_admin=False)
        assert kinds_of(bench, job) == ["submit", "hold", "release"]

    on_queue(tmp_path, test)


def test_a_job_that_does_not_wait_cannot_be_held_released_or_moved(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        job = bench.submit()
        found = bench.job(job)
        await bench.turn()
        assert refused(bench.requests.hold, found, 1000)["code"] == "job-state"
        assert refused(bench.requests.release, found, 1000, is_admin=True)["given"] == "starting"
        error = refused(bench.requests.move, found, ALICE, top=True, before=None, queue=None)
        assert (error["code"], error["field"]) == ("job-state", "job")

    on_queue(tmp_path, test)


# Move


def test_a_job_is_moved_to_the_top_and_before_another(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        one, two, three = held_back(bench)
        bench.requests.move(bench.job(three), ALICE, top=True, before=None, queue=None)
        bench.requests.move(bench.job(two), ALICE, top=False, before=bench.job(one), queue=None)
        assert await started(bench) == [three, two, one]
        assert kinds_of(bench, one) == ["submit", "launch"]

    on_queue(tmp_path, test, rules_of(9))


def test_moves_outlive_the_daemon(tmp_path: Path) -> None:
    jobs: list[str] = []

    async def before(bench: QueueBench) -> None:
        jobs.extend(held_back(bench))
        last = bench.job(jobs[2])
        bench.requests.move(last, ALICE, top=False, before=bench.job(jobs[1]), queue=None)

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == [jobs[0], jobs[2], jobs[1]]

    on_queue(tmp_path, before, rules_of(9))
    on_queue(tmp_path, after, rules_of(9))


def test_where_there_is_no_room_between_two_jobs_it_is_made(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        one, two, *others = held_back(bench, 30)
        for job in others:
            bench.requests.move(bench.job(job), ALICE, top=False, before=bench.job(two), queue=None)
        assert await started(bench) == [one, *others, two]

    on_queue(tmp_path, test, rules_of(99))


def test_room_is_made_in_one_transaction_with_one_event_and_outlives_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_PART", 2)
    order: list[str] = []

    async def before(bench: QueueBench) -> None:
        one, two, *others = held_back(bench, 60)
        order.extend([one, *others, two])
        begun: list[str] = []
        bench.store._db.set_trace_callback(
            lambda statement: begun.append(statement) if statement == "BEGIN IMMEDIATE" else None
        )
        for job in others:
            bench.requests.move(bench.job(job), ALICE, top=False, before=bench.job(two), queue=None)
        assert len(begun) == len(others)
        moves = [event for event in bench.store.events_since(0, 999) if event.kind == "move"]
        assert [event.job_id for event in moves] == others
        stored = {job.id: job.rank for job in bench.store.waiting()}
        assert {job: one_rank(bench, job) for job in order} == stored

    async def after(bench: QueueBench) -> None:
        await bench.turn()
        assert bench.launched == order

    on_queue(tmp_path, before, rules_of(99))
    on_queue(tmp_path, after, rules_of(99))


def test_a_job_takes_queue_and_priority_of_the_one_before_which_it_comes(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (one,) = held_back(bench, 1, queue="slow", priority=-5)
        (two,) = held_back(bench, 1)
        before = bench.job(one)
        moved = bench.requests.move(bench.job(two), ALICE, top=False, before=before, queue=None)
        assert (moved.queue, moved.priority) == ("slow", -5)
        assert moved.rank == one_rank(bench, one) - RANK_STEP

    on_queue(tmp_path, test, rules_of(1, Queue("slow")))


def one_rank(bench: QueueBench, job_id: str) -> int:
    waiting = bench.queueing.scheduler.get(job_id)
    assert waiting is not None
    return waiting.rank


def test_another_queue_keeps_the_order_of_submission(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        one, two = held_back(bench, 2)
        for job in (two, one):
            bench.requests.move(bench.job(job), ALICE, top=False, before=None, queue="slow")
        assert {bench.job(job).queue for job in (one, two)} == {"slow"}
        assert await started(bench) == [one, two]

    on_queue(tmp_path, test, rules_of(9, Queue("slow")))


def test_another_queue_and_its_top_is_one_move(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        held_back(bench, 1, queue="slow")
        (job,) = held_back(bench, 1)
        moved = bench.requests.move(bench.job(job), ALICE, top=True, before=None, queue="slow")
        assert (moved.queue, moved.rank) == ("slow", 0)
        assert kinds_of(bench, job) == ["submit", "move"]

    on_queue(tmp_path, test, rules_of(1, Queue("slow")))


def test_the_queue_where_it_is_is_no_move(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        bench.requests.move(bench.job(job), ALICE, top=False, before=None, queue="default")
        assert kinds_of(bench, job) == ["submit"]

    on_queue(tmp_path, test)


def test_a_move_is_refused_where_the_peer_may_not_be(tmp_path: Path) -> None:
    rules = rules_of(
        1, Queue("slow"), Queue("fast"),
        members={"fast": Members(frozenset({1}), frozenset())}, max_priorities={"slow": -1},
    )  # fmt: skip

    async def test(bench: QueueBench) -> None:
        (job,) = held_back(bench, 1)
        mine = bench.job(job)

        def error(**how: Any) -> tuple[str, str]:
            how = {"top": False, "before": None, "queue": None, **how}
            answer = refused(bench.requests.move, mine, ALICE, **how)
            return answer["code"], answer["field"]

        assert error(queue="none") == ("no-such-queue", "queue")
        assert error(queue="fast") == ("not-permitted", "queue")
        assert error(queue="slow") == ("not-permitted", "queue")
        (raised,) = held_back(bench, 1, priority=9)
        assert error(before=bench.job(raised)) == ("not-permitted", "before")
        (fast,) = held_back(bench, 1, queue="fast")
        assert error(before=bench.job(fast)) == ("not-permitted", "before")
        assert (bench.job(job).queue, bench.job(job).rank) == ("default", None)

    on_queue(tmp_path, test, rules)


def test_a_move_is_between_jobs_of_one_submitter_that_wait(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        running = bench.submit()
        await bench.turn()
        (mine,), (other,) = held_back(bench, 1), held_back(bench, 1, uid=BOB.uid)

        def error(before: str) -> dict[str, Any]:
            move, target = bench.requests.move, bench.job(before)
            return refused(move, bench.job(mine), ROOT, top=False, before=target, queue=None)

        assert error(other)["code"] == "invalid-argument"
        assert error(mine)["code"] == "invalid-argument"
        assert error(running)["code"] == "job-state"
        assert {error(job)["field"] for job in (other, mine, running)} == {"before"}

    on_queue(tmp_path, test)


# Why


def test_why_names_only_jobs_that_the_peer_may_see(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        other = bench.submit(uid=BOB.uid, reserved_memory_bytes=900, time_limit_ms=10_000)
        await bench.turn()
        bench.run(other)
        mine = bench.submit(reserved_memory_bytes=500)
        await bench.turn()
        told = bench.requests.why(bench.job(mine), lambda _job: True)
        kept = bench.requests.why(bench.job(mine), lambda job: job != other)
        assert told["because"][0]["cause"] == "memory"
        assert (told["because"][0]["needs"], told["because"][0]["free"]) == (500, 100)
        assert told["because"][0]["on"] == [other]
        assert kept["because"] == [{**told["because"][0], "on": [], "kinds": []}]
        assert told["start_ns"] > time.time_ns()

    on_queue(tmp_path, test, rules_of(9))


def test_a_dependency_is_named_with_what_has_to_become_of_it(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (one,) = held_back(bench, 1)
        (two,) = held_back(bench, 1, after=((one, "any"),))
        because = bench.requests.why(bench.job(two), lambda _job: True)["because"]
        first = because[0]
        assert (first["cause"], first["on"], first["kinds"]) == ("dependency", [one], ["any"])
        assert because[-1]["cause"] == "draining"

    on_queue(tmp_path, test)


def test_there_is_nothing_to_say_of_a_job_that_does_not_wait(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        job = bench.submit()
        await bench.turn()
        told = bench.requests.why(bench.job(job), lambda _job: True)
        assert told == {"because": [], "ahead": 0, "start_ns": None}

    on_queue(tmp_path, test)


# Queues


def test_the_queues_are_shown_with_what_is_there_and_what_the_peer_may(tmp_path: Path) -> None:
    rules = rules_of(
        1, Queue("fast", 5, 2), members={"fast": Members(frozenset({1}), frozenset())},
        max_priorities={"fast": 7}, quota=UserQuota(Quota(3, 1000, 500), 10, 99),
    )  # fmt: skip

    async def test(bench: QueueBench) -> None:
        bench.submit(queue="fast", reserved_millicpus=500)
        bench.submit(uid=BOB.uid)
        await bench.turn()
        shown = bench.requests.show(ALICE)
        assert shown["queues"] == [
            {"name": "default", "priority": 0, "max_running": None, "paused": False,
             "allowed": True, "max_priority": 0, "queued": 1, "running": 0},
            {"name": "fast", "priority": 5, "max_running": 2, "paused": False,
             "allowed": False, "max_priority": 7, "queued": 0, "running": 1},
            {"name": "hooks", "priority": 1_000_000, "max_running": None, "paused": False,
             "allowed": False, "max_priority": 0, "queued": 0, "running": 0},
        ]  # fmt: skip
        assert shown["capacity"] == {"slots": 1, "millicpus": 4000, "memory_bytes": 1000}
        assert shown["promised"] == {"jobs": 1, "millicpus": 500, "memory_bytes": 0}
        assert shown["own"] == {"queued": 0, "running": 1, "millicpus": 500, "memory_bytes": 0}
        assert shown["quota"] == {
            "max_queued": 10, "max_running": 3, "max_millicpus": 1000, "max_memory_bytes": 500,
            "max_log_bytes": 99,
        }  # fmt: skip
        assert bench.requests.show(ROOT)["quota"]["max_queued"] is None
        assert bench.requests.show(BOB)["own"]["queued"] == 1

    on_queue(tmp_path, test, rules)


def test_a_queue_is_paused_and_capped_and_the_rest_of_it_stays(tmp_path: Path) -> None:
    rules = rules_of(9, Queue("slow", 1, 3))

    async def test(bench: QueueBench) -> None:
        def change(**what: Any) -> dict[str, Any]:
            request = SetQueue(**{"name": "slow", "paused": UNSET, "max_running": UNSET, **what})
            return bench.requests.set_queue(request, 0)

        assert change(paused=True) == {"name": "slow", "paused": True, "max_running": 3}
        assert change(max_running=1) == {"name": "slow", "paused": True, "max_running": 1}
        assert change(paused=False) == {"name": "slow", "paused": False, "max_running": 1}
        assert change(max_running=None) == {"name": "slow", "paused": False, "max_running": 3}
        error = refused(change, name="none")
        assert (error["code"], error["field"]) == ("no-such-queue", "name")
        assert error["allowed"] == "default, slow, hooks"

    on_queue(tmp_path, test, rules)


def test_a_promise_follows_the_limits_that_it_came_from(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        (derived,) = held_back(bench, 1, reserved_memory_bytes=300)
        with_ = bench.queueing.promises.needs_with
        old = {"memory_max_bytes": 300}
        assert with_(bench.job(derived), old, {"memory_max_bytes": 500}) == Needs(0, 500)
        assert with_(bench.job(derived), old, {"memory_max_bytes": 5000}) == Needs(0, 1000)
        assert with_(bench.job(derived), old, {}) == Needs(0, 0)
        # What was reserved on its own stays.
        assert with_(bench.job(derived), {}, {"memory_max_bytes": 500}) == Needs(0, 300)

    on_queue(tmp_path, test)
