"""A store, directories and an ending of their own, for tests of what removes jobs."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from isolation.cgroups.tree import CgroupTree
from runner.changes import Changes
from runner.config import RetentionConfig
from runner.ending import Ending
from runner.group_rows import NewGroup
from runner.jobdirs import JobDirectories
from runner.outside import Outside
from runner.problems import Problems
from runner.pruning import Pruning
from runner.realm import Realm
from runner.removing import Removing
from runner.rows import NewJob
from runner.store import Store
from runner.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from runner.rows import Job

SECOND = 10**9


class Bench:
    """The parts of a daemon that ended jobs know. Made within a loop."""

    def __init__(self, base: Path, pool: ThreadPoolExecutor, config: RetentionConfig) -> None:
        self.store = Store.open(str(base / "db"))
        self.directories = JobDirectories(str(base))
        self.changes = Changes()
        self.problems = Problems()
        self.work = Work(pool)
        # Of ordinary directories.
        self.tree = CgroupTree(str(base / "cgroups"))
        os.makedirs(self.tree.root, exist_ok=True)
        # What of a job is held elsewhere, and which were released.
        self.held: set[str] = set()
        self.released: list[str] = []
        nothing: Any = None
        outside = Outside(release=self._release, holds=self.held.__contains__)
        realm = Realm(
            self.store, self.directories, self.tree, self.changes, self.work, outside,
            self.problems, nothing,
        )  # fmt: skip
        # How many have ended, and the attempts that were asked for.
        self.ends = 0
        self.again: list[Job] = []
        self.ending = Ending(
            realm, self._on_end, self.again.append, lambda _uid: self.most_memory,
            lambda _uid: self.most_log_bytes,
        )  # fmt: skip
        self.most_memory: int | None = None
        self.most_log_bytes: int | None = None
        self.removing = Removing(realm)
        self.pruning = Pruning(realm, self.ending, self.removing, config)
        self._made = 0

    async def _release(self, job_id: str) -> None:
        self.released.append(job_id)
        self.held.discard(job_id)

    def _on_end(self, _job: Job) -> None:
        self.ends += 1
        self.pruning.soon()

    def queued(self, uid: int = 1) -> str:
        """A job that has a directory all the same."""
        job_id = f"{self._made:08x}-0000-4000-8000-000000000000"
        self._made += 1
        new = NewJob(
            id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=None, spec=b"s", submitted_ns=1
        )
        self.store.insert(new)
        self.directories.create(job_id, b"spec").close()
        return job_id

    def array(self, size: int, uid: int = 1) -> tuple[str, list[str]]:
        """An array of queued jobs, each with its directory: its id and theirs."""
        ids = [f"{self._made + member:08x}-0000-4000-8000-000000000000" for member in range(size)]
        group_id = f"{self._made:08x}-aaaa-4000-8000-000000000000"
        self._made += size
        new = NewGroup(
            id=group_id, submitted_by_uid=uid, kind="array", name=None, submitted_ns=1,
            max_running=None, idempotency_key=None, digest=b"", about=b"", spec=b"s",
        )  # fmt: skip
        jobs = [
            NewJob(
                id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=None, spec=b"",
                submitted_ns=1, group_id=group_id, member=member,
            )
            for member, job_id in enumerate(ids)
        ]  # fmt: skip
        self.store.insert_group(new, jobs)
        for job_id in ids:
            self.directories.create(job_id, b"spec").close()
        return group_id, ids

    def finish(self, *ids: str, age: float = 100, size: int = 10) -> None:
        """End jobs that there are."""
        at = time.time_ns() - round(age * SECOND)
        for job_id in ids:
            self.store.mark_ended(job_id, at, "exit", b"r", disk_bytes=size, is_ok=False)

    def ended(self, *, uid: int = 1, age: float = 100, size: int = 10) -> str:
        job_id = self.queued(uid)
        at = time.time_ns() - round(age * SECOND)
        self.store.mark_ended(job_id, at, "exit", b"r", disk_bytes=size, is_ok=True)
        return job_id

    def left(self) -> set[str]:
        """The jobs that there are: each has its row and its directory, or neither."""
        jobs, _ = self.store.list_jobs(
            submitted_by_uid=None, include_ended=True, limit=1000, before=None
        )
        ids = {job.id for job in jobs}
        assert set(os.listdir(self.directories.path)) == ids
        return ids

    async def close(self) -> None:
        await self.pruning.close()
        await self.work.close()
        self.directories.close()
        self.store.close()


def on_bench(
    base: Path,
    test: Callable[[Bench], Awaitable[None]],
    config: RetentionConfig | None = None,
) -> None:
    """Run a coroutine on a bench and take it apart."""

    async def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            bench = Bench(base, pool, config or RetentionConfig())
            try:
                async with asyncio.timeout(20):
                    await test(bench)
            finally:
                await bench.close()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the bench ends a test that waits too long."""
    while not condition():
        await asyncio.sleep(0.005)


def job_of(bench: Bench, job_id: str) -> Job:
    job = bench.store.get(job_id)
    assert job is not None
    return job
