"""Retention at work: rounds, requests, and what neither may touch or wait for."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from runner import outcome, pruning
from runner.config import RetentionConfig
from runner.disk_usage import tree_bytes
from runner.pruning import BATCH, MOST_NAMED
from runner.retention import Selection
from runner.rows import NewJob, Total
from runner.store import StoreError
from tests.unit.runner.removal import Bench, on_bench, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MANY = 2 * BATCH + 3


def test_a_round_removes_what_is_beyond_the_bounds_and_nothing_that_has_not_ended(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        waiting = bench.queued()
        ended = [bench.ended(age=1000 - number) for number in range(MANY)]
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total().jobs == 2)
        await bench.pruning.close()
        assert bench.left() == {waiting, *ended[-2:]}
        removals = [each for each in bench.store.events_since(0, 1000) if each.kind == "remove"]
        assert {each.data["removed_by_uid"] for each in removals} == {0}
        assert [each.job_id for each in removals] == ended[:-2]

    on_bench(tmp_path, test, RetentionConfig(max_jobs=2))


def test_each_bound_of_a_user_counts_for_that_user_alone(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        few = [bench.ended(uid=1, age=5000, size=60)]
        many = [bench.ended(uid=2, age=1000 - number, size=30) for number in range(MANY)]
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total(2).jobs <= 3)
        await bench.pruning.close()
        assert bench.left() == {*few, *many[-3:]}

    on_bench(tmp_path, test, RetentionConfig(max_jobs_per_user=4, max_bytes_per_user=90))


def test_a_job_that_ends_is_looked_at_once_it_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_SOON_SECONDS", 0.05)
    monkeypatch.setattr("runner.retention.GRACE_SECONDS", 0.04)

    async def test(bench: Bench) -> None:
        bench.pruning.begin()
        for _ in range(3):
            job_id = bench.queued()
            bench.ending.end(job_id, outcome.stopped_in_queue(0), {"disk_bytes": 5})
            await asyncio.sleep(0.03)
        await until(lambda: bench.store.ended.total().jobs == 0)

    on_bench(tmp_path, test, RetentionConfig(max_jobs=0))


def test_a_job_that_cannot_be_removed_neither_stops_a_round_nor_makes_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        stuck = bench.ended(age=9000, size=1000)
        others = [bench.ended(age=900 - number, size=10) for number in range(MANY)]
        real = bench.directories.doom

        def failing(job_id: str) -> None:
            if job_id == stuck:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(job_id)

        monkeypatch.setattr(bench.directories, "doom", failing)
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total().bytes <= 1000 + 50)
        await bench.pruning.close()
        assert bench.left() == {stuck, *others[-5:]}
        assert [problem.job for problem in bench.problems.all()] == [stuck]

    on_bench(tmp_path, test, RetentionConfig(max_bytes=50))


def test_the_first_removal_of_a_daemon_says_which_bounds_are_passed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def test(bench: Bench) -> None:
        for _ in range(MANY):
            bench.ended(uid=7)
        bench.pruning.begin()
        await until(lambda: "by the bounds" in caplog.text)
        for _ in range(2):
            bench.ended()
        bench.pruning._look()
        await until(lambda: caplog.text.count("by the bounds") == 2)

    on_bench(tmp_path, test, RetentionConfig(max_jobs=3))
    (text,) = [each.message for each in caplog.records if "from now on" in each.message]
    assert text.endswith(f"there are {MANY} jobs, max_jobs is 3")
    assert f"removed {MANY - 3} ended jobs" in caplog.text


def test_nothing_is_said_where_nothing_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: Bench) -> None:
        bench.ended()
        bench.pruning.begin()
        await asyncio.sleep(0.05)

    on_bench(tmp_path, test)
    assert "from now on" not in caplog.text


def test_a_round_that_fails_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pruning, "INTERVAL_SECONDS", 0.01)

    async def test(bench: Bench) -> None:
        bench.ended()
        real, failures = bench.store.trim_events, [ValueError("odd"), StoreError("full")]

        def failing(most: int, at_once: int, before_ns: int | None) -> bool:
            if failures:
                raise failures.pop()
            return real(most, at_once, before_ns)

        monkeypatch.setattr(bench.store, "trim_events", failing)
        bench.pruning.begin()
        await until(lambda: not failures)
        bench.ended()
        await until(lambda: bench.store.ended.total().jobs == 0)

    on_bench(tmp_path, test, RetentionConfig(max_jobs=0))
    assert "ended jobs cannot be removed: full" in caplog.text
    assert "a defect in the removal" in caplog.text


def test_events_beyond_the_most_are_removed_oldest_first(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(600):
            bench.store.insert(_without_directory())
        newest = bench.store.events_since(0, 10_000)[-1].seq
        bench.pruning.begin()
        await until(lambda: len(bench.store.events_since(0, 10_000)) <= 100)
        await bench.pruning.close()
        assert [each.seq for each in bench.store.events_since(0, 10_000)] == list(
            range(newest - 99, newest + 1)
        )

    on_bench(tmp_path, test, RetentionConfig(max_events=100))


def test_events_that_are_too_old_are_removed_and_the_young_stay(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        # Submitted in 1970.
        for _ in range(300):
            bench.store.insert(_without_directory())
        young = bench.ended(age=20)
        bench.pruning.begin()
        await until(lambda: len(bench.store.events_since(0, 10_000)) < 300)
        await until(lambda: bench.store.events_since(0, 10)[0].kind == "finish")
        await bench.pruning.close()
        (left,) = bench.store.events_since(0, 10_000)
        assert left.job_id == young

    on_bench(tmp_path, test, RetentionConfig(max_event_age_seconds=3600.0))


def _without_directory() -> NewJob:
    return NewJob(
        id=os.urandom(16).hex(), submitted_by_uid=1, uid=1, gid=1, name=None, spec=b"",
        submitted_ns=1,
    )  # fmt: skip


def test_jobs_of_an_older_database_are_measured_at_the_start(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        old = [bench.ended(size=0) for _ in range(MANY)]
        never_begun = bench.ended(size=0)
        bench.directories.doom(never_begun)
        bench.directories.remove_doomed(never_begun)
        bench.pruning.begin()
        each = tree_bytes(f"{bench.directories.path}/{old[0]}")
        await until(lambda: bench.store.ended.total() == Total(MANY + 1, MANY * each))
        assert [job for _, job in bench.store.ended.unmeasured(0, 9)] == [never_begun]

    on_bench(tmp_path, test)


# --- what somebody asks for ---


def test_sizes_that_cannot_be_found_out_or_stored_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pruning, "INTERVAL_SECONDS", 0.01)

    async def test(bench: Bench) -> None:
        bench.ended(size=0)
        real = bench.ending.disk_bytes
        failures = [RuntimeError("can't start new thread"), KeyError("odd"), StoreError("full")]

        def failing(job_id: str) -> int:
            if failures:
                raise failures.pop()
            return real(job_id)

        monkeypatch.setattr(bench.ending, "disk_bytes", failing)
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total().bytes > 0)

    on_bench(tmp_path, test)
    assert "cannot be stored yet: full" in caplog.text
    assert "a defect in the measuring" in caplog.text


def test_a_request_is_for_the_users_it_names(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        waiting = bench.queued()
        own = [bench.ended(uid=1, age=100 - number, size=7) for number in range(MANY)]
        other = bench.ended(uid=2)
        counted = await bench.pruning.prune([1], Selection(), 1, dry_run=True)
        assert (counted.jobs, counted.bytes, counted.removed) == (MANY, 7 * MANY, own)
        assert len(bench.left()) == MANY + 2
        found = await bench.pruning.prune([1], Selection(), 1, dry_run=False)
        assert (found.jobs, found.bytes, found.removed) == (MANY, 7 * MANY, own)
        assert bench.left() == {waiting, other}
        events = bench.store.events_since(0, 1000)
        assert events[-1].data == {"removed_by_uid": 1}
        assert (await bench.pruning.prune([1], Selection(), 1, dry_run=False)).jobs == 0
        assert (await bench.pruning.prune([3], Selection(), 3, dry_run=False)).jobs == 0

    on_bench(tmp_path, test)


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_newest_of_each_user_stay_and_so_does_what_is_not_old_enough(
    tmp_path: Path,
    dry_run: bool,  # noqa: FBT001
) -> None:
    async def test(bench: Bench) -> None:
        old = {uid: [bench.ended(uid=uid, age=500 - n) for n in range(MANY)] for uid in (1, 2)}
        new = {uid: [bench.ended(uid=uid, age=50)] for uid in (1, 2)}
        asked = Selection(older_than_seconds=100, keep=3)
        found = await bench.pruning.prune(None, asked, 0, dry_run=dry_run)
        gone = {*old[1][:-2], *old[2][:-2]}
        assert set(found.removed) == gone
        every = {*old[1], *old[2], *new[1], *new[2]}
        assert bench.left() == (every if dry_run else every - gone)

    on_bench(tmp_path, test)


def test_a_job_that_ends_meanwhile_stays(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        before = {bench.ended(age=100 - number) for number in range(MANY)}
        task = asyncio.ensure_future(bench.pruning.prune([1], Selection(), 1, dry_run=False))
        await asyncio.sleep(0)
        late = {bench.ended(age=-number) for number in range(3)}
        assert set((await task).removed) == before
        assert bench.left() == late

    on_bench(tmp_path, test)


def test_who_goes_away_leaves_no_half_removed_job(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(MANY):
            bench.ended()
        task = asyncio.ensure_future(bench.pruning.prune([1], Selection(), 1, dry_run=False))
        await until(lambda: bench.store.ended.total().jobs < MANY)
        task.cancel()
        await bench.pruning.close()
        assert len(bench.left()) == bench.store.ended.total().jobs > 0

    on_bench(tmp_path, test)


def test_requests_and_rounds_at_once_count_each_job_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for number in range(2 * MANY):
            bench.ended(age=100 - number / 10)
        asked = [bench.pruning.prune([1], Selection(keep=keep), 1, dry_run=False)
                 for keep in (0, 5, 0)]  # fmt: skip
        found = await asyncio.gather(*asked)
        assert sum(each.jobs for each in found) == 2 * MANY
        assert bench.left() == set()

    on_bench(tmp_path, test)


def test_an_answer_names_no_more_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_NAMED", 4)
    assert MOST_NAMED == 1000

    async def test(bench: Bench) -> None:
        ids = [bench.ended(age=100 - number) for number in range(MANY)]
        found = await bench.pruning.prune([1], Selection(), 1, dry_run=False)
        assert (found.jobs, found.removed) == (MANY, ids[:4])

    on_bench(tmp_path, test)


def test_many_removals_keep_nobody_waiting(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for number in range(300):
            bench.ended(age=100 - number / 10)
        task = asyncio.ensure_future(bench.pruning.prune([1], Selection(), 1, dry_run=False))
        waited = []
        while not task.done():
            begin = time.perf_counter()
            await asyncio.sleep(0)
            waited.append(time.perf_counter() - begin)
        assert task.result().jobs == 300
        # The machine may be busy: what is looked at is that the loop came round again and again.
        assert len(waited) > 300 / BATCH
        assert sorted(waited)[len(waited) // 2] < 0.05

    on_bench(tmp_path, test)


# Groups


def test_what_has_ended_of_an_array_that_goes_on_stays_and_makes_nothing_else_go(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        _, ids = bench.array(MANY)
        bench.finish(*ids[1:], age=9000)
        others = [bench.ended(age=100 - number) for number in range(4)]
        gone = bench.ended(age=8000)
        bench.pruning.begin()
        await until(lambda: bench.store.get(gone) is None)
        await bench.pruning._round()
        await bench.pruning.close()
        assert bench.left() == {*ids, *others}

    on_bench(tmp_path, test, RetentionConfig(max_jobs=4, max_age_seconds=5000, max_bytes=4096))


def test_an_array_goes_as_a_whole_when_its_end_is_too_long_ago(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        (_, old), (_, young) = bench.array(MANY), bench.array(MANY)
        bench.finish(*old[1:], *young[1:], age=9000)
        bench.finish(old[0], age=5001)
        bench.finish(young[0], age=4000)
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total().jobs == MANY)
        await bench.pruning.close()
        assert bench.left() == set(young)
        assert bench.store.find_groups(old[0][:8], None) == []

    on_bench(tmp_path, test, RetentionConfig(max_age_seconds=5000))


def test_beyond_a_number_jobs_of_an_ended_array_go_one_by_one_and_its_end_stays_known(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        group_id, ids = bench.array(MANY)
        bench.finish(*ids)
        bench.pruning.begin()
        await until(lambda: bench.store.ended.total().jobs == 5)
        await bench.pruning.close()
        assert bench.left() == set(ids[-5:])
        group = bench.store.group(group_id)
        assert group is not None
        assert (group.size, group.failed, group.is_ok) == (MANY, MANY, False)

    on_bench(tmp_path, test, RetentionConfig(max_jobs=5))


def test_who_asks_removes_nothing_of_an_array_that_goes_on(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        _, ids = bench.array(MANY)
        bench.finish(*ids[1:], age=9000)
        alone = bench.ended(age=50)
        for dry_run in (True, False):
            found = await bench.pruning.prune([1], Selection(), 1, dry_run=dry_run)
            assert (found.jobs, found.removed) == (1, [alone])
        bench.finish(ids[0], age=10)
        kept = [bench.ended(age=5)]
        assert (await bench.pruning.prune([1], Selection(20), 1, dry_run=False)).jobs == 0
        assert (await bench.pruning.prune([1], Selection(keep=1), 1, dry_run=False)).jobs == MANY
        assert bench.left() == set(kept)

    on_bench(tmp_path, test)


def test_an_array_that_goes_on_again_while_it_is_removed_keeps_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        group_id, ids = bench.array(MANY)
        bench.finish(*ids)
        real = bench.removing.remove_ended

        async def and_tried_again(chosen: Iterable[str], uid: int) -> list[str]:
            gone = await real(chosen, uid)
            bench.store.mark_retried_many(ids[-1:], 9, 1)
            return gone

        monkeypatch.setattr(bench.removing, "remove_ended", and_tried_again)
        assert await bench.pruning.remove(ids, 1) == BATCH
        assert bench.left() == set(ids[BATCH:])
        assert bench.store.ended.goes_on(group_id)

    on_bench(tmp_path, test)
