"""Requests that outlive who made them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from runner import outcome
from runner.config import Config, RetentionConfig
from runner.draining import Draining, Pulse
from runner.supervisor import Supervisor
from tests.unit.runner.removal import Bench, on_bench, until

if TYPE_CHECKING:
    from pathlib import Path


def supervisor_of(bench: Bench, base: Path, pool: ThreadPoolExecutor) -> Supervisor:
    nothing: Any = None
    return Supervisor(
        config=Config(retention=RetentionConfig(max_jobs=0)), store=bench.store,
        directories=bench.directories, tree=nothing, launching=nothing, pool=pool,
        draining=Draining(str(base)), pulse=Pulse(), problems=bench.problems,
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
            supervisor._ending.end(bench.queued(), outcome.stopped_in_queue(0), {})
            assert told == ["pulse", "soon"]
            await supervisor.close()

    on_bench(tmp_path, test)
