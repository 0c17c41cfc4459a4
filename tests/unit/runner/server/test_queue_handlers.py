"""The verbs of the queue: who may, and what is answered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.config import Config
from runner.lifecycle import State
from runner.refusal import Refusal
from runner.scheduling.kinds import Queue
from runner.server.service import Service
from tests.unit.runner.queue_bench import ALICE, BOB, ROOT, QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from pathlib import Path

    from runner.policy import Peer

NOTHING: Any = None


class Supervisor(SimpleNamespace):
    """The parts of one that these handlers use."""

    def cause_of(self, job_id: str) -> str | None:
        return self.queueing.cause(job_id)  # type: ignore[no-any-return]

    async def stop_many(self, jobs: Any, uid: int, grace: float) -> None:
        self.stopped.append((jobs, uid, grace))

    async def retry(self, job: Any, uid: int) -> Any:
        self.retried.append((job.id, uid))
        return job


class Desk:
    """A service over a bench, and what its supervisor was asked."""

    def __init__(self, bench: QueueBench) -> None:
        self.bench = bench
        self.supervisor = Supervisor(
            store=bench.store, queue=bench.requests, queueing=bench.queueing, stopped=[], retried=[]
        )
        found: Any = self.supervisor
        self._service = Service(
            Config(), found, NOTHING, NOTHING, NOTHING, NOTHING, None, problems=NOTHING,
            pruning=NOTHING, searches=NOTHING, bell=NOTHING,
        )  # fmt: skip

    async def ask(self, peer: Peer, op: str, **args: Any) -> dict[str, Any]:
        return await self._service.handle(peer, op, args, NOTHING)

    async def error(self, peer: Peer, op: str, **args: Any) -> dict[str, Any]:
        with pytest.raises(Refusal) as caught:
            await self.ask(peer, op, **args)
        return caught.value.to_wire()


def test_a_job_is_held_released_and_moved_by_who_may_stop_it(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        bench.may_start = False
        job = bench.submit()
        assert await desk.ask(ALICE, "hold", job=job) == {"job": job, "state": "queued"}
        assert await desk.ask(ROOT, "hold", job=job) == {"job": job, "state": "queued"}
        assert (await desk.error(ALICE, "release", job=job))["code"] == "not-permitted"
        assert await desk.ask(ROOT, "release", job=job) == {"job": job, "state": "queued"}
        moved = await desk.ask(ALICE, "move", job=job, queue="slow")
        assert moved == {"job": job, "queue": "slow", "priority": 0}
        for op, args in (("hold", {}), ("release", {}), ("move", {"top": True}), ("retry", {})):
            assert (await desk.error(BOB, op, job=job, **args))["code"] == "no-such-job"

    on_queue(tmp_path, test, rules_of(1, Queue("slow")))


def test_the_job_to_be_before_is_looked_for_as_the_other_is(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        bench.may_start = False
        mine, other = bench.submit(), bench.submit(uid=BOB.uid)
        error = await desk.error(ALICE, "move", job=mine, before=other)
        assert (error["code"], error["field"]) == ("no-such-job", "before")
        before = bench.submit()
        moved = await desk.ask(ALICE, "move", job=before, before=mine)
        assert moved["job"] == before

    on_queue(tmp_path, test)


def test_another_attempt_is_answered_with_its_number(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        job = bench.submit()
        answer = await desk.ask(ALICE, "retry", job=job)
        assert answer == {"job": job, "state": "queued", "attempt": 1}
        assert desk.supervisor.retried == [(job, ALICE.uid)]

    on_queue(tmp_path, test)


def test_why_hides_ids_of_others_from_members_and_not_from_admins(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        other = bench.submit(uid=BOB.uid, reserved_memory_bytes=900)
        await bench.turn()
        mine = bench.submit(reserved_memory_bytes=500)
        await bench.turn()
        told = await desk.ask(ROOT, "why", job=mine)
        assert (told["job"], told["state"], told["result"]) == (mine, "queued", None)
        assert told["because"][0]["on"] == [other]
        assert (await desk.ask(ALICE, "why", job=mine))["because"][0]["on"] == []
        assert (await desk.error(ALICE, "why", job=other))["code"] == "no-such-job"

    on_queue(tmp_path, test, rules_of(9))


def test_why_tells_of_an_ended_job_how_it_ended(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        job = bench.submit()
        await bench.turn()
        bench.run(job)
        assert (await desk.ask(ALICE, "why", job=job))["because"] == []
        bench.end(job, 3)
        told = await desk.ask(ALICE, "why", job=job)
        assert (told["state"], told["because"]) == ("ended", [])
        assert told["result"]["exit_status"] == 3

    on_queue(tmp_path, test)


def test_only_admins_change_a_queue_and_everybody_sees_them(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        assert (await desk.error(ALICE, "queue", name="slow", paused=True))["code"] == (
            "not-permitted"
        )
        changed = await desk.ask(ROOT, "queue", name="slow", paused=True)
        assert changed == {"name": "slow", "paused": True, "max_running": None}
        shown = await desk.ask(ALICE, "queues")
        assert [queue["paused"] for queue in shown["queues"]] == [False, True]

    on_queue(tmp_path, test, rules_of(1, Queue("slow")))


# Stopping many


def test_a_member_stops_its_own_jobs_and_an_admin_everybodys(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        running = bench.submit()
        await bench.turn()
        queued, other = bench.submit(), bench.submit(uid=BOB.uid)
        answer = await desk.ask(ALICE, "stop_many", select={})
        assert answer == {"jobs": 2, "queued": 1, "running": 1, "ids": [running, queued]}
        assert (await desk.ask(ROOT, "stop_many", select={}, kill=True))["jobs"] == 3
        assert (await desk.ask(ROOT, "stop_many", select={"user": BOB.uid}))["ids"] == [other]
        found = [(running, State.STARTING), (queued, State.QUEUED)]
        assert desk.supervisor.stopped == [
            (found, ALICE.uid, 10),
            ([*found, (other, State.QUEUED)], 0, 0.0),
            ([(other, State.QUEUED)], 0, 10),
        ]
        error = await desk.error(ALICE, "stop_many", select={"user": BOB.uid})
        assert (error["code"], error["field"]) == ("not-permitted", "select.user")

    on_queue(tmp_path, test)


def test_a_dry_run_counts_and_another_number_than_expected_stops_nothing(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        bench.may_start = False
        for _ in range(3):
            bench.submit()
        assert (await desk.ask(ALICE, "stop_many", select={}, dry_run=True))["queued"] == 3
        error = await desk.error(ALICE, "stop_many", select={}, expect=2)
        assert (error["field"], error["given"], error["allowed"]) == ("expect", "2", "3")
        assert desk.supervisor.stopped == []
        assert (await desk.ask(ALICE, "stop_many", select={}, expect=3))["jobs"] == 3
        assert len(desk.supervisor.stopped) == 1

    on_queue(tmp_path, test)


def test_a_wait_for_the_queue_is_no_wait_of_the_loop(tmp_path: Path) -> None:
    """A job that is stopped in the queue has ended before the answer is there."""

    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        job = bench.submit()
        waiting = asyncio.ensure_future(bench.changes.next(job))
        await bench.queueing.stop([job], ALICE.uid)
        await waiting
        assert bench.job(job).reason == "stopped"

    on_queue(tmp_path, test)
