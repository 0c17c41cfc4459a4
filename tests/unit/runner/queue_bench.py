"""A store and a queue of their own: what is launched is written down instead."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from runner import fates, outcome
from runner.changes import Changes
from runner.hooks import Hooks
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
    from collections.abc import Awaitable, Callable
    from pathlib import Path

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
        realm = Realm(self.store, nothing, nothing, self.changes, self.work, Hooks(), Problems())
        self.queueing = Queueing(
            realm, rules, launch=self._launch, may_start=lambda: self.may_start, on_end=self._on_end
        )
        self.requests = QueueRequests(realm, self.queueing, rules)
        self._made = len(self.store.waiting()) + len(self.store.launched())

    def _launch(self, job: Job) -> None:
        self.launched.append(job.id)

    def _on_end(self) -> None:
        self.ends += 1

    def submit(self, uid: int = 1000, **fields: Any) -> str:
        job_id = f"{self._made:08x}-0000-4000-8000-000000000000"
        self._made += 1
        new = NewJob(
            id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, spec=b"s",
            submitted_ns=time.time_ns(), **{"name": None, **fields},
        )  # fmt: skip
        self.queueing.waits(self.store.insert(new, self.queueing.after.by_now(new)))
        return job_id

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
        self.queueing.ended(self.store.mark_ended(job_id, time.time_ns(), "exit", result))

    async def turn(self) -> None:
        """Let what is decided soon be decided, and carried out."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.queueing.close()
        await self.work.close()
        self.store.close()


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
