"""What is asked of groups: all of what is meant, nothing else, and nothing of what is refused."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from runner import group_requests, stored
from runner.message_groups import UpdateGroup
from runner.policy import Members
from runner.queues import UserQuota
from runner.refusal import Refusal
from runner.scheduling.kinds import Queue
from tests.unit.runner.queue_bench import ALICE, ROOT, QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from runner.group_rows import Group


async def refused(asked: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.to_wire()


def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs of the bench are rubbish."""
    monkeypatch.setattr(stored, "spec", lambda _job: {})


def states(bench: QueueBench, group: Group) -> list[str]:
    return [state.value for _, state in bench.store.member_states(group.id)]


async def all_through(bench: QueueBench, group: Group, *failing: int) -> None:
    """Every job that starts runs and ends, those with such a number badly."""
    while jobs := [each for each in bench.store.launched() if each.group_id == group.id]:
        for job in jobs:
            await bench.through(job.id, int(job.member in failing))


# Retry


def test_what_failed_of_an_array_is_queued_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        group = await bench.array(4)
        jobs = bench.of(group)
        await all_through(bench, group, 1, 3)
        bench.may_start = False
        waiting = [asyncio.ensure_future(bench.changes.next(job)) for job in (jobs[1], jobs[0])]
        assert await bench.groups.retry(group, ALICE) == 2
        assert states(bench, group) == ["ended", "queued", "ended", "queued"]
        assert [future.done() for future in waiting] == [True, False]
        now = bench.group_now(group)
        assert (now.ended_ns, now.unended, now.failed) == (None, 2, 0)
        bench.may_start = True
        bench.queueing.soon()
        await bench.turn()
        assert bench.launched[4:] == [jobs[1], jobs[3]]

    on_queue(tmp_path, test, rules_of(9))


def test_a_flow_goes_on_from_what_failed_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        needs = [[(0, "ok")], [(1, "ok")], [(2, "ok"), (0, "ok")], [(1, "fail")]]
        group = await bench.flow([], *needs)
        first, second, third, last, cleanup = bench.of(group)
        await all_through(bench, group, 1)
        assert bench.launched == [first, second, cleanup]
        assert await bench.groups.retry(group, ALICE) == 3
        await bench.turn()
        assert bench.launched[3:] == [second]
        for following in (third, last):
            await bench.through(bench.launched[-1])
            assert bench.launched[-1] == following
        await bench.through(last)
        assert bench.group_now(group).is_ok

    on_queue(tmp_path, test, rules_of(9))


def test_a_retry_waits_until_what_is_skipped_for_the_failure_has_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be skipped for a job that is tried again, and stay behind."""
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        chain = [[(number, "ok")] for number in range(5)]
        group = await bench.flow([], *chain)
        first = bench.launched[0]
        bench.run(first)
        bench.end(first, 3)
        # Nothing was decided since.
        assert states(bench, group) == ["ended", *["queued"] * 5]
        assert await bench.groups.retry(group, ALICE) == 6
        await bench.turn()
        await all_through(bench, group)
        assert bench.group_now(group).is_ok

    on_queue(tmp_path, test, rules_of(9))


def test_with_a_step_that_failed_goes_what_was_skipped_for_it_and_no_other_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        group = await bench.flow([], [(0, "ok")], [], [(2, "ok")], [(1, "ok"), (3, "ok")])
        left, after_left, right, after_right, last = bench.of(group)
        await all_through(bench, group, 0, 2)
        assert await bench.groups.retry_step(group, bench.job(left), ALICE) == 3
        await bench.turn()
        await all_through(bench, group)
        assert bench.launched == [left, right, left, after_left]
        # Which still waits for what failed otherwise.
        assert [bench.job(job).fate for job in (right, after_right, last)] == [
            "failed", "skipped", "skipped"
        ]  # fmt: skip
        assert not bench.group_now(group).is_ok
        await bench.groups.retry(group, ALICE)
        await bench.turn()
        await all_through(bench, group)
        assert bench.group_now(group).is_ok

    on_queue(tmp_path, test, rules_of(9))


def test_where_nothing_failed_nothing_is_tried_again(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(2)
        for _ in range(2):
            error = await refused(bench.groups.retry(group, ALICE))
            assert (error["code"], error["field"]) == ("not-now", "group")
            await all_through(bench, group)

    on_queue(tmp_path, test, rules_of(9))


def test_a_retry_is_refused_as_a_submission_is_and_then_nothing_of_it_is_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)
    nobody = Members(frozenset(), frozenset())
    rules = rules_of(9, Queue("closed"), members={"closed": nobody}, quota=UserQuota(max_queued=3))

    async def test(bench: QueueBench) -> None:
        group = await bench.array(3)
        await all_through(bench, group, 0, 1, 2)

        async def code(peer: Any = ALICE) -> str:
            error = await refused(bench.groups.retry(group, peer))
            assert states(bench, group) == ["ended"] * 3
            found: str = error["code"]
            return found

        bench.closed = Refusal("draining")
        assert await code() == "draining"
        bench.closed = None
        bench.may_start = False
        bench.submit()
        assert await code() == "quota-exceeded"
        bench.may_start = True
        bench.queueing.soon()
        await bench.turn()
        last = bench.of(group)[2]
        for column, value in (("priority", 500), ("queue", "'closed'"), ("queue", "'none'")):
            bench.sql(f"UPDATE jobs SET {column} = {value} WHERE id = '{last}'")
            assert await code() == {"'none'": "no-such-queue"}.get(str(value), "not-permitted")
        bench.sql("UPDATE jobs SET queue = 'default', priority = 0, attempt = 1000")
        error = await refused(bench.groups.retry(group, ROOT))
        assert (error["code"], error["field"]) == ("job-state", "group")
        assert "1000 attempts" in error["detail"]

    on_queue(tmp_path, test, rules)


def test_a_damaged_record_refuses_the_retry_of_the_whole(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(2, name="a")
        await all_through(bench, group, 1)
        error = await refused(bench.groups.retry(group, ALICE))
        assert (error["code"], error["given"]) == ("job-state", "ended")
        assert "a.1 is damaged" in error["detail"]

    on_queue(tmp_path, test, rules_of(9))


def test_a_deadline_that_has_passed_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        past = time.time_ns() - 1
        group = await bench.array(2, deadline_ns=past)
        while bench.group_now(group).ended_ns is None:
            await bench.turn()
        assert {bench.job(job).reason for job in bench.of(group)} == {"deadline"}
        assert await bench.groups.retry(group, ALICE) == 2
        await bench.turn()
        assert bench.launched == bench.of(group)
        for job in map(bench.job, bench.of(group)):
            assert (job.deadline_ns, job.spec) == (None, b"s")
        # Not one for each of them: there may be 10,000, of a MiB.
        assert bench.store._db.execute("SELECT count(*) FROM specs").fetchone() == (0,)

    on_queue(tmp_path, test, rules_of(9))


def test_what_the_jobs_of_an_array_have_in_common_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str | None] = []
    monkeypatch.setattr(stored, "spec", lambda job: looked.append(job.name))

    async def test(bench: QueueBench) -> None:
        array = await bench.array(5, name="a")
        await all_through(bench, array, *range(5))
        assert await bench.groups.retry(array, ALICE) == 5
        assert looked == ["a.0"]
        flow = await bench.flow([], [], name="f")
        await all_through(bench, array)
        await all_through(bench, flow, 0, 1)
        # Python has but one of each that is a byte long.
        bench.sql("UPDATE specs SET spec = CAST('own' AS BLOB)")
        looked.clear()
        assert await bench.groups.retry(flow, ALICE) == 2
        assert looked == ["f.s0", "f.s1"]

    on_queue(tmp_path, test, rules_of(9))


def test_a_retry_that_nobody_waits_for_any_more_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)
    monkeypatch.setattr(group_requests, "BATCH", 1)

    async def test(bench: QueueBench) -> None:
        group = await bench.array(4)
        await all_through(bench, group, *range(4))
        bench.may_start = False
        asked = asyncio.ensure_future(bench.groups.retry(group, ALICE))
        await asyncio.sleep(0)
        asked.cancel()
        await bench.groups.close()
        assert states(bench, group) == ["queued"] * 4

    on_queue(tmp_path, test, rules_of(9))


# Hold, release, update


def test_what_waits_of_a_group_is_held_and_released_and_what_goes_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_requests, "BATCH", 2)

    async def test(bench: QueueBench) -> None:
        group = await bench.array(6)
        jobs = bench.of(group)
        assert await bench.groups.hold(group, ALICE.uid) == 5
        assert await bench.groups.hold(group, ALICE.uid) == 0
        assert {bench.queueing.cause(job) for job in jobs[1:]} == {"held"}
        assert bench.job(jobs[0]).held_by_uid is None
        assert await bench.groups.release(group, ALICE.uid, is_admin=False) == 5
        await bench.through(jobs[0])
        assert bench.launched == jobs[:2]

    on_queue(tmp_path, test)


def test_what_an_admin_holds_of_a_group_stays_held(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(3)
        bench.requests.hold(bench.job(bench.of(group)[0]), ALICE.uid)
        # The first is the owner's already, and becomes the admin's too.
        assert await bench.groups.hold(group, ROOT.uid) == 3
        assert await bench.groups.hold(group, ALICE.uid) == 0
        error = await refused(bench.groups.release(group, ALICE.uid, is_admin=False))
        assert (error["code"], error["field"]) == ("not-permitted", "group")
        assert await bench.groups.release(group, 77, is_admin=True) == 3

    on_queue(tmp_path, test)


def test_of_what_several_hold_each_releases_its_own(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(3)
        first, second, _ = bench.of(group)
        bench.requests.hold(bench.job(first), ROOT.uid)
        bench.requests.hold(bench.job(second), ALICE.uid)
        assert await bench.groups.release(group, ALICE.uid, is_admin=False) == 1
        assert [bench.job(job).held_by_uid for job in (first, second)] == [ROOT.uid, None]

    on_queue(tmp_path, test)


def changes(**what: Any) -> UpdateGroup:
    return UpdateGroup(**{"group": "g", "max_running": UNSET, "priority": UNSET, **what})


def test_another_cap_and_another_priority_count_at_once(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(6, cap=1)
        now, jobs = await bench.groups.update(group, ALICE, changes(max_running=3))
        assert (now.max_running, jobs) == (3, 0)
        await bench.turn()
        assert bench.launched == bench.of(group)[:3]
        now, jobs = await bench.groups.update(group, ALICE, changes(priority=-5))
        assert (now.max_running, jobs) == (3, 3)
        now, jobs = await bench.groups.update(group, ROOT, changes(max_running=None, priority=-5))
        assert (now.max_running, jobs) == (None, 0)
        await bench.turn()
        assert len(bench.launched) == 6
        assert bench.job(bench.launched[-1]).priority == -5

    on_queue(tmp_path, test, rules_of(9))


def test_a_priority_that_the_peer_may_not_give_changes_nothing(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(2, cap=1)
        error = await refused(
            bench.groups.update(group, ALICE, changes(max_running=2, priority=500))
        )
        assert (error["code"], error["field"]) == ("not-permitted", "priority")
        assert bench.group_now(group).max_running == 1
        _, jobs = await bench.groups.update(group, ROOT, changes(priority=500))
        assert jobs == 2

    on_queue(tmp_path, test)


def test_a_job_that_is_moved_meanwhile_keeps_a_priority_that_it_may_have_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_requests, "BATCH", 1)
    queues = Queue("fast"), Queue("slow"), Queue("other")
    rules = rules_of(1, *queues, max_priorities={"fast": 1000, "other": 1000})

    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        group = await bench.array(3, queue="fast")
        _, second, third = map(bench.job, bench.of(group))
        asked = asyncio.ensure_future(bench.groups.update(group, ALICE, changes(priority=900)))
        # All were looked at, and none is changed.
        for _ in range(4):
            await asyncio.sleep(0)
        assert [bench.job(job).priority for job in bench.of(group)] == [0] * 3
        for job, queue in ((second, "slow"), (third, "other")):
            bench.store.change_queued(job.id, 9, "move", ALICE.uid, queue=queue)
        _, jobs = await asked
        assert jobs == 2
        assert [(bench.job(job).queue, bench.job(job).priority) for job in bench.of(group)] == [
            ("fast", 900), ("slow", 0), ("other", 900)
        ]  # fmt: skip

    on_queue(tmp_path, test, rules)


def test_a_cap_that_is_the_same_already_is_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(3, cap=2)
        capped: list[Any] = []
        monkeypatch.setattr(bench.queueing, "cap_group", lambda *about: capped.append(about))
        for most in (2, 1, 1, None, None):
            await bench.groups.update(group, ALICE, changes(max_running=most))
        assert capped == [(group.id, 1), (group.id, None)]
        told = [event.kind for event in bench.store.events_since(0, 100, None)]
        assert told.count("group-update") == 2

    on_queue(tmp_path, test)


# Remove, wait


def test_only_a_group_that_has_ended_is_removed_and_then_all_of_it(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        group = await bench.array(3)
        jobs = bench.of(group)
        for job in jobs:
            error = await refused(bench.groups.remove(group, ALICE.uid))
            assert (error["code"], error["field"], bench.removed) == ("not-now", "group", [])
            await bench.through(job)
        assert await bench.groups.remove(group, ALICE.uid) == 3
        assert bench.removed == [jobs]
        assert bench.store.group(group.id) is None
        assert (await refused(bench.groups.remove(group, ALICE.uid)))["code"] == "not-now"

    on_queue(tmp_path, test)


def test_who_waits_for_a_group_is_told_when_the_last_of_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable(monkeypatch)

    async def test(bench: QueueBench) -> None:
        group = await bench.array(2)
        waiting = asyncio.ensure_future(bench.groups.wait_ended(group.id))
        first, second = bench.of(group)
        await bench.through(first, 1)
        assert not waiting.done()
        # It is not over: what failed is tried again.
        await bench.groups.retry(group, ALICE)
        await bench.through(second)
        assert not waiting.done()
        assert states(bench, group) == ["starting", "ended"]
        await bench.through(first)
        ended = await waiting
        assert ended is not None
        assert ended.is_ok
        assert await bench.groups.wait_ended(group.id) == ended
        assert await bench.groups.wait_ended("none") is None

    on_queue(tmp_path, test)
