"""Requests that outlive who made them, what is taken, and who hears of an end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from runner import outcome, submission_queue
from runner.changes import Changes
from runner.config import Config, JobsConfig, RetentionConfig
from runner.draining import Draining, Pulse
from runner.launching import CannotLaunchError, HostShortError
from runner.lifecycle import State
from runner.outside import Outside
from runner.queues import Rules, UserQuota
from runner.realm import Realm
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.scheduling.kinds import Capacity, Needs
from runner.supervisor import Supervisor
from runner.work import Work
from tests.unit.runner.promising import Ground
from tests.unit.runner.removal import Bench, on_bench, until

if TYPE_CHECKING:
    from pathlib import Path


def supervisor_of(
    bench: Bench, base: Path, pool: ThreadPoolExecutor, rules: Rules | None = None, **config: Any
) -> Supervisor:
    """One that has no room to start a job."""
    nothing: Any = None
    return Supervisor(
        config=Config(retention=RetentionConfig(max_jobs=0), **config),
        rules=rules or Rules(Capacity(0, Needs())), launching=nothing,
        realm=Realm(
            bench.store, bench.directories, nothing, Changes(), Work(pool), Outside(),
            bench.problems, Ground().settling,
        ),
        draining=Draining(str(base)), pulse=Pulse(),
    )  # fmt: skip


def test_a_removal_goes_on_when_who_asked_has_gone_away(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool)
            free = threading.Event()
            pool.submit(free.wait, 10)
            job = bench.store.get(bench.ended())
            assert job is not None
            asked = asyncio.ensure_future(supervisor.remove(job, 0))
            await until(lambda: bench.store.get(job.id) is None)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            free.set()
            await supervisor.close()
            assert bench.left() == set()

    on_bench(tmp_path, test)


def test_each_end_is_one_that_retention_and_who_waits_hear_of(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool)
            told: list[str] = []
            supervisor.pulse.beat = lambda: told.append("pulse")  # type: ignore[method-assign]
            supervisor.pruning.soon = lambda: told.append("soon")  # type: ignore[method-assign]
            supervisor._launched.ending.end(bench.queued(), outcome.stopped_in_queue(0), {})
            assert told == ["pulse", "soon"]
            await supervisor.close()

    on_bench(tmp_path, test)


def new_job(number: int, uid: int = 1) -> NewJob:
    return NewJob(
        id=f"{number:08x}-0000-4000-9000-000000000000", submitted_by_uid=uid, uid=uid, gid=uid,
        name=None, spec=b"s", submitted_ns=1,
    )  # fmt: skip


def code_of(supervisor: Supervisor, new: NewJob) -> str:
    with pytest.raises(Refusal) as caught:
        supervisor.submit(new)
    return caught.value.code


def test_a_job_is_refused_when_the_queue_is_full_of_all_or_of_one_user(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        rules = Rules(Capacity(0, Needs()), quota=UserQuota(max_queued=1))
        with ThreadPoolExecutor(1) as pool:
            jobs = JobsConfig(max_queued=3)
            supervisor = supervisor_of(bench, tmp_path, pool, rules, jobs=jobs)
            supervisor.submit(new_job(1))
            assert code_of(supervisor, new_job(2)) == "quota-exceeded"
            supervisor.submit(new_job(2, uid=0))
            supervisor.submit(new_job(3, uid=0))
            assert code_of(supervisor, new_job(4, uid=0)) == "too-many-jobs"
            assert supervisor.queued_of(0) == 2
            await supervisor.close()

    on_bench(tmp_path, test)


def test_a_job_is_tried_again_by_hand_where_it_could_be_submitted(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        rules = Rules(Capacity(0, Needs()), quota=UserQuota(max_queued=1))
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool, rules)
            job = bench.store.get(bench.ended())
            assert job is not None
            asked: list[Any] = []
            supervisor._launched.ending.again = lambda *about: asked.append(about)  # type: ignore[method-assign,assignment]
            await supervisor.retry(job, 7)
            assert asked == [(job, 7)]
            supervisor.submit(new_job(1))
            with pytest.raises(Refusal, match="quota-exceeded"):
                await supervisor.retry(job, 7)
            supervisor.drain(0)
            with pytest.raises(Refusal, match="draining"):
                await supervisor.retry(job, 7)
            assert len(asked) == 1
            await supervisor.close()

    on_bench(tmp_path, test)


def test_what_waits_for_too_many_is_refused_new_and_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        monkeypatch.setattr(submission_queue, "MOST_UNMET_OF", 2)
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool, Rules(Capacity(0, Needs())))
            target, done = supervisor.submit(new_job(1)).id, bench.ended()
            after = ((target, "any"), (done, "any"))
            jobs = [
                supervisor.submit(msgspec.structs.replace(new_job(number), after=after))
                for number in (2, 3)
            ]
            stored = bench.store.dependencies(jobs[0].id)
            assert {known.on_id: known.met for known in stored} == {target: False, done: True}
            new = msgspec.structs.replace(new_job(4), after=after)
            assert code_of(supervisor, new) == "quota-exceeded"
            ended = bench.store.mark_ended(jobs[0].id, 5, "dependency", b"", is_ok=False)
            supervisor.queueing.ended(ended)
            supervisor.submit(new)
            with pytest.raises(Refusal, match="quota-exceeded"):
                await supervisor.retry(ended, 7)
            await supervisor.close()

    on_bench(tmp_path, test)


def test_of_many_the_queued_ones_end_at_once_and_the_others_are_asked(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool)
            asked: list[tuple[str, int, float]] = []
            supervisor._launched.stopping.ask = lambda *about: asked.append(about)  # type: ignore[method-assign]
            jobs = [supervisor.submit(new_job(number)).id for number in range(3)]
            bench.store.mark_starting(jobs[2], 1, "boot")
            bench.store.mark_running(jobs[2], 7, 1, None)
            found = [(jobs[0], State.QUEUED), (jobs[1], State.QUEUED), (jobs[2], State.RUNNING)]
            assert await supervisor.stop_many(lambda: found, 5, 2.0) == found
            await until(lambda: bool(asked))
            assert asked == [(jobs[2], 5, 2.0)]
            states = [job and (job.state, job.reason) for job in map(bench.store.get, jobs)]
            assert states == [*[(State.ENDED, "stopped")] * 2, (State.RUNNING, None)]
            await supervisor.close()

    on_bench(tmp_path, test)


def test_one_that_has_begun_since_it_was_counted_is_asked_as_well(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool)
            asked: list[Any] = []
            supervisor._launched.stopping.ask = lambda *about: asked.append(about)  # type: ignore[method-assign]
            job = supervisor.submit(new_job(1)).id
            bench.store.mark_starting(job, 1, "boot")
            bench.store.mark_running(job, 7, 1, None)
            await supervisor.stop_many(lambda: [(job, State.QUEUED)], 5, 2.0)
            await until(lambda: bool(asked))
            assert asked == [(job, 5, 2.0)]
            await supervisor.close()

    on_bench(tmp_path, test)


def test_a_drain_that_stops_leaves_those_that_wait_alone(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(bench, tmp_path, pool)
            job = supervisor.submit(new_job(1)).id
            bench.store.mark_starting(job, 1, "boot")
            supervisor.stop_all(0)
            bench.store.mark_requeued(job, 1)
            bench.changes.announce(job)
            supervisor.changes.announce(job)
            await supervisor.close()
            assert bench.store.get(job).state is State.QUEUED  # type: ignore[union-attr]

    on_bench(tmp_path, test)


def test_a_launch_that_the_host_had_no_room_for_puts_the_job_back_and_waits(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        errors = [HostShortError("no room"), CannotLaunchError("no such directory")]

        class Launching:
            def begin(self, *_about: Any) -> bool:
                return False

            async def launch(self, *_about: Any) -> Any:
                raise errors.pop(0)

        with ThreadPoolExecutor(1) as pool:
            supervisor = supervisor_of(
                bench, tmp_path, pool, Rules(Capacity(1, Needs())), state_dir=str(tmp_path)
            )
            launching: Any = Launching()
            supervisor._launched.launches._launching = launching
            supervisor._reconciling = False
            job = supervisor.submit(new_job(1))
            await until(lambda: bench.problems.all() != [])
            await until(lambda: bench.store.get(job.id).state is State.QUEUED)  # type: ignore[union-attr]
            waiting = supervisor.queueing.scheduler.get(job.id)
            assert waiting is not None
            assert waiting.rank == bench.store.waiting_of([job.id])[0].rank
            assert supervisor.cause_of(job.id) == "draining"
            assert "no room" in bench.problems.all()[0].text
            assert len(errors) == 1
            # The next try, after a while; its own fault ends it as ever.
            ended = await asyncio.wait_for(supervisor.wait_ended(job.id), 10)
            assert ended is not None
            assert (ended.reason, ended.attempt) == ("launch-error", 1)
            await supervisor.close()

    on_bench(tmp_path, test)
