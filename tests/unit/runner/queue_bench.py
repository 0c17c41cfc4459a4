"""A store and a queue of their own: what is launched is written down instead."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from runner import fates, outcome
from runner.changes import Changes
from runner.group_requests import GroupRequests
from runner.group_rows import About, NewGroup, StepAbout
from runner.intake import Intake
from runner.outside import Outside
from runner.policy import Peer
from runner.problems import Problems
from runner.queue_requests import QueueRequests
from runner.queueing import Queueing
from runner.queues import Rules
from runner.realm import Realm
from runner.rows import NewJob
from runner.scheduling.kinds import Capacity, Needs, Queue
from runner.store import Store
from runner.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from runner.group_rows import Group
    from runner.refusal import Refusal
    from runner.rows import Job

ALICE = Peer(uid=1000, gid=1000, groups=frozenset(), pid=os.getpid())
BOB = Peer(uid=1001, gid=1001, groups=frozenset(), pid=os.getpid())
ROOT = Peer(uid=0, gid=0, groups=frozenset(), pid=os.getpid())
SECOND = 10**9


def rules_of(slots: int = 1, *queues: Queue, **more: Any) -> Rules:
    """So many slots, 4 CPUs, 1000 bytes."""
    return Rules(Capacity(slots, Needs(4000, 1000)), queues, **more)


class QueueBench:
    """One queue over a store. Made within a loop."""

    def __init__(self, path: str, pool: ThreadPoolExecutor, rules: Rules) -> None:
        self.store = Store.open(path)
        self.rules = rules
        self.changes = Changes()
        self.launched: list[str] = []
        # How often somebody was told that queued jobs have ended.
        self.ends = 0
        self.may_start = True
        nothing: Any = None
        self.work = Work(pool)
        realm = Realm(
            self.store, nothing, nothing, self.changes, self.work, Outside(), Problems(), nothing
        )
        self.queueing = Queueing(
            realm, rules, launch=self._launch, may_start=lambda: self.may_start, on_end=self._on_end
        )
        self.requests = QueueRequests(realm, self.queueing, rules)
        # What is refused while nothing is taken, and ended jobs that are to be removed.
        self.closed: Refusal | None = None
        self.removed: list[list[str]] = []
        self.intake = Intake(self.store, self.queueing, nothing, rules, 1000, self._open)
        removing: Any = _Removing(self)
        self.groups = GroupRequests(realm, self.queueing, rules, self.intake, removing)
        self._made = len(self.store.waiting()) + len(self.store.launched())

    def _launch(self, job: Job) -> None:
        self.launched.append(job.id)

    def _on_end(self) -> None:
        self.ends += 1

    def new(self, uid: int = 1000, **fields: Any) -> NewJob:
        job_id = f"{self._made:08x}-0000-4000-8000-000000000000"
        self._made += 1
        return NewJob(
            id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, spec=b"s",
            submitted_ns=time.time_ns(), **{"name": None, **fields},
        )  # fmt: skip

    def submit(self, uid: int = 1000, **fields: Any) -> str:
        """A job that waits, if only for the next decision."""
        new = self.new(uid, **fields)
        self.queueing.waits(self.store.insert(new, self.queueing.after.by_now(new)))
        return new.id

    def _open(self) -> None:
        if self.closed is not None:
            raise self.closed

    async def array(self, size: int, uid: int = 1000, **fields: Any) -> Group:
        """An array, and its jobs in the queue. `cap`: so many of it run at once."""
        return await self.group("array", [()] * size, uid, **fields)

    async def flow(
        self, *needs: Sequence[tuple[int, str]], uid: int = 1000, **fields: Any
    ) -> Group:
        """A flow of steps that need others, by their numbers; "s0" and so on are their names."""
        return await self.group("flow", needs, uid, **fields)

    async def group(
        self, kind: Any, needs: Sequence[Sequence[tuple[int, str]]], uid: int, **fields: Any
    ) -> Group:
        """A group whose jobs have these ids: `of`."""
        group_id = f"{self._made:08x}-0000-4000-8000-00000000000a"
        name, cap = fields.pop("name", None), fields.pop("cap", None)
        after, hooks = fields.pop("after", ()), fields.pop("group_hooks", ())
        # A flow always has a name, and its jobs are called after their steps.
        name = f"flow{self._made}" if name is None and kind == "flow" else name
        start = self._made + 1
        self._made += 1 + len(needs)
        ids = [f"{start + number:08x}-0000-4000-8000-000000000000" for number in range(len(needs))]
        about = About(ranges=[(0, len(needs) - 1, 1)])
        if kind == "flow":
            steps = [
                StepAbout(name=f"s{number}", needs=[(f"s{on}", on_kind) for on, on_kind in each])
                for number, each in enumerate(needs)
            ]
            about = About(steps=steps)
        new = NewGroup(
            id=group_id, submitted_by_uid=uid, kind=kind, name=name, submitted_ns=time.time_ns(),
            max_running=cap, idempotency_key=None, digest=b"d",
            about=msgspec.msgpack.encode(about), spec=b"s" if kind == "array" else None,
            hooks=hooks,
        )  # fmt: skip
        jobs = [
            NewJob(
                id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, submitted_ns=time.time_ns(),
                spec=b"" if kind == "array" else b"s", group_id=group_id, member=number,
                name=None if name is None else f"{name}.{'s' * (kind == 'flow')}{number}",
                after=(*after, *((ids[on], on_kind) for on, on_kind in needs[number])), **fields,
            )
            for number, job_id in enumerate(ids)
        ]  # fmt: skip
        group = self.intake.submit_group(new, jobs)
        await self.turn()
        return group

    def sql(self, statement: str) -> None:
        """Change what the store holds behind its back: in its file, and in its memory."""
        self.store._db.execute(statement)
        self.store._recent.clear()

    def of(self, group: Group) -> list[str]:
        """The ids of its jobs."""
        return [job_id for job_id, _ in self.store.member_states(group.id)]

    def group_now(self, group: Group) -> Group:
        found = self.store.group(group.id)
        assert found is not None
        return found

    async def through(self, job_id: str, status: int = 0) -> None:
        """It was launched: it runs and ends, and what comes of that is carried out."""
        self.run(job_id)
        self.end(job_id, status)
        await self.turn()

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    def run(self, job_id: str) -> None:
        """Its monitor is there."""
        self.store.mark_running(job_id, 7, time.time_ns(), None)
        self.queueing.began(job_id)

    def end(self, job_id: str, status: int = 0) -> None:
        """It has ended by itself."""
        result = fates.result_of(outcome.Outcome("exit", status, None, status))
        self.queueing.ended(
            self.store.mark_ended(job_id, time.time_ns(), "exit", result, is_ok=status == 0)
        )

    async def turn(self) -> None:
        """Let what is decided soon be decided, and carried out."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.queueing.close()
        await self.work.close()
        self.store.close()


class _Removing:
    """Removes from the store alone."""

    def __init__(self, bench: QueueBench) -> None:
        self._bench = bench

    async def remove(self, ids: Sequence[str], by_uid: int) -> int:
        self._bench.removed.append(list(ids))
        return len(self._bench.store.delete_ended(ids, 9, by_uid))


def on_queue(
    base: Path,
    test: Callable[[QueueBench], Awaitable[None]],
    rules: Rules | None = None,
) -> None:
    """Run a coroutine on a queue, loaded from what is in `base` already, and take it apart."""

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            bench = QueueBench(str(base / "db"), pool, rules or rules_of())
            bench.queueing.load()
            try:
                async with asyncio.timeout(20):
                    await test(bench)
            finally:
                await bench.close()

    asyncio.run(run())
