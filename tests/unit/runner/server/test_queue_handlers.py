"""The verbs of the queue: who may, and what is answered."""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner.config import Config
from runner.lifecycle import State
from runner.policy import Members
from runner.queues import HOOKS, UserQuota
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

    async def stop_many(self, listed: Any, uid: int, grace: float) -> Any:
        jobs = listed()
        self.stopped.append((jobs, uid, grace))
        return jobs

    async def stop_group(self, group: Any, uid: int, grace: float) -> Any:
        states = self.store.member_states(group.id)
        return await self.stop_many(
            lambda: [each for each in states if each[1] is not State.ENDED], uid, grace
        )

    async def retry(self, job: Any, uid: int) -> Any:
        self.retried.append((job.id, uid))
        return job


class Desk:
    """A service over a bench, and what its supervisor was asked."""

    def __init__(self, bench: QueueBench, state_dir: str = "/") -> None:
        self.bench = bench
        self.supervisor = Supervisor(
            store=bench.store, queue=bench.requests, queueing=bench.queueing, stopped=[], retried=[]
        )
        found: Any = self.supervisor
        submissions: Any = SimpleNamespace(rules=bench.rules)
        self._service = Service(
            Config(state_dir=state_dir), found, submissions, NOTHING, NOTHING, NOTHING, None,
            problems=NOTHING, pruning=NOTHING, searches=NOTHING, bell=NOTHING,
        )  # fmt: skip

    async def ask(self, peer: Peer, op: str, **args: Any) -> dict[str, Any]:
        work = self._service.handle(peer, op, self._service.read(op, args), NOTHING)
        answer = work() if callable(work) else work
        return answer if isinstance(answer, dict) else await answer

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


def test_a_member_gets_another_attempt_only_where_it_could_submit_the_job_so_now(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        raised = bench.submit(priority=500)
        error = await desk.error(ALICE, "retry", job=raised)
        assert (error["code"], error["field"], error["given"]) == (
            "not-permitted", "priority", "500"
        )  # fmt: skip
        assert "queues.default.max_priority" in error["detail"]
        closed, gone = bench.submit(queue="closed"), bench.submit(queue="gone")
        error = await desk.error(ALICE, "retry", job=closed)
        assert (error["code"], error["field"]) == ("not-permitted", "queue")
        assert "queues.closed.allow" in error["detail"]
        assert (await desk.error(ALICE, "retry", job=gone))["code"] == "no-such-queue"
        assert desk.supervisor.retried == []
        # An admin gives again what an admin may give.
        await desk.ask(ROOT, "retry", job=raised)
        await desk.ask(ROOT, "retry", job=closed)
        assert desk.supervisor.retried == [(raised, 0), (closed, 0)]

    nobody = Members(frozenset(), frozenset())
    on_queue(tmp_path, test, rules_of(1, Queue("closed"), members={"closed": nobody}))


def test_a_job_of_a_hook_gets_another_attempt_though_nobody_may_put_one_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        desk.supervisor.queued_of = bench.queueing.queued_of
        hook = bench.submit(queue=HOOKS)
        answer = await desk.ask(ALICE, "retry", job=hook)
        assert (answer["job"], desk.supervisor.retried) == (hook, [(hook, ALICE.uid)])
        assert (await desk.error(BOB, "retry", job=hook))["code"] == "no-such-job"
        # They count for no other bound.
        bench.may_start = False
        # The package has the function under this name.
        module = importlib.import_module("runner.server.handlers.retry")
        monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
        for _ in range(2):
            bench.submit(queue=HOOKS)
        await bench.turn()
        error = await desk.error(ALICE, "retry", job=hook)
        assert (error["code"], error["allowed"]) == ("quota-exceeded", "at most 2")

    on_queue(tmp_path, test, rules_of(1, Queue(HOOKS, apart=True)))


def test_another_attempt_is_refused_as_a_submission_is_when_output_takes_too_much(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        job, other = bench.submit(), bench.submit()
        await bench.turn()
        bench.store.mark_ended(job, 2, "exit", b"r", disk_bytes=4095, is_ok=True)
        running = SimpleNamespace(of=sizes)
        desk.supervisor.sizes = running
        assert (await desk.ask(ALICE, "retry", job=job))["job"] == job
        bench.store.mark_starting(other, 3, "boot")
        # Whoever asks: it is the submitter's share.
        for peer in (ALICE, ROOT):
            error = await desk.error(peer, "retry", job=job)
            assert (error["code"], error["given"]) == ("quota-exceeded", "4096 bytes of output")
            assert error["allowed"] == "less than 4096 bytes"
        assert len(desk.supervisor.retried) == 1

    async def sizes(ids: list[str]) -> dict[str, int]:
        return dict.fromkeys(ids, 1)

    on_queue(tmp_path, test, rules_of(1, quota=UserQuota(max_log_bytes=4096)))


def test_another_attempt_is_refused_where_its_directory_cannot_be_made(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench, str(tmp_path / "gone"))
        error = await desk.error(ALICE, "retry", job=bench.submit())
        assert (error["code"], desk.supervisor.retried) == ("store-error", [])

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


def test_why_says_what_another_users_job_needs_for_which_room_is_kept(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        bench.submit(uid=ROOT.uid, reserved_memory_bytes=600, time_limit_ms=60_000)
        await bench.turn()
        large = bench.submit(uid=BOB.uid, reserved_memory_bytes=900, priority=1)
        small = bench.submit(reserved_memory_bytes=300)
        await bench.turn()
        (member,) = (await desk.ask(ALICE, "why", job=small))["because"]
        assert (member["cause"], member["on"]) == ("reserved", [])
        assert member["kept"] == {"millicpus": 0, "memory_bytes": 900}
        (admin,) = (await desk.ask(ROOT, "why", job=small))["because"]
        assert (admin["on"], admin["kept"]) == ([large], member["kept"])
        assert (await desk.ask(BOB, "why", job=large))["because"][0]["kept"] is None

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
        assert [queue["paused"] for queue in shown["queues"]] == [False, True, False]

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
        assert (error["field"], error["given"]) == ("expect", "2")
        assert error["allowed"] == "3, for so many match now"
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


def test_what_is_stopped_is_what_is_there_when_it_is_the_turn_of_the_stop(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench)
        bench.may_start = False
        first, second = bench.submit(), bench.submit()
        stop_many = desk.supervisor.stop_many

        async def later(listed: Any, uid: int, grace: float) -> Any:
            await bench.queueing.stop([first], uid)
            return await stop_many(listed, uid, grace)

        desk.supervisor.stop_many = later  # type: ignore[method-assign]
        error = await desk.error(ALICE, "stop_many", select={}, expect=2)
        assert (error["field"], error["allowed"]) == ("expect", "1, for so many match now")
        assert desk.supervisor.stopped == []
        assert (await desk.ask(ALICE, "stop_many", select={}))["ids"] == [second]

    on_queue(tmp_path, test)
