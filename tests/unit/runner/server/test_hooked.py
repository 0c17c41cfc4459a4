"""The hooks of a job or a group as they are shown: each with the newest job that it was run as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.hook_template import keys_of
from runner.queues import HOOKS
from runner.rows import NewHook
from runner.server import hooked
from tests.unit.runner.queue_bench import ALICE, BOB, QueueBench, on_queue

if TYPE_CHECKING:
    from pathlib import Path

    from runner.rows import Job

TWO = (NewHook(("started", "ok"), b"garbled"), NewHook(("fail",), b"garbled"))


def shown(bench: QueueBench, job: Job) -> list[Any]:
    return [(each["number"], each["on"], each["last"]) for each in hooked.shown(bench.store, job)]


def test_of_each_hook_the_newest_run_of_it_is_shown(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        owner, other = (bench.job(bench.submit(hooks=TWO)) for _ in range(2))
        assert shown(bench, owner) == [(0, ["started", "ok"], None), (1, ["fail"], None)]
        keys = [f"{keys_of(owner.id, 0)}{seq:012d}" for seq in (2, 10)]
        _, run = (bench.submit(queue=HOOKS, idempotency_key=key) for key in keys)
        bench.submit(uid=BOB.uid, queue=HOOKS, idempotency_key=f"{keys_of(owner.id, 1)}0")
        assert shown(bench, other)[0][2] is None
        (_, _, last), (_, _, none) = shown(bench, owner)
        assert last == {"job": run, "state": "queued", "result": None}
        assert none is None
        await bench.queueing.stop([run], ALICE.uid)
        last = shown(bench, owner)[0][2]
        assert (last["state"], last["result"]["reason"]) == ("ended", "stopped")

    on_queue(tmp_path, test)


def test_a_job_with_such_a_key_that_no_hook_is_run_as_is_not_shown(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        owner = bench.job(bench.submit(hooks=TWO))
        bench.submit(idempotency_key=f"{keys_of(owner.id, 0)}9")
        assert shown(bench, owner)[0][2] is None

    on_queue(tmp_path, test)
