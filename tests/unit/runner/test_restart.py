"""After a restart: each verdict carried out, and one job's trouble kept from the others."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.tree import CgroupTree
from runner import reconcile, records, restart, stored
from runner.changes import Changes
from runner.ending import Ending
from runner.jobdirs import JobDirectories
from runner.lifecycle import State
from runner.outside import Outside
from runner.pausing import Pausing
from runner.problems import Problems
from runner.realm import Realm
from runner.reconcile import boot_id
from runner.removing import Removing
from runner.restart import Restart
from runner.running import Running
from runner.stopping import Stopping
from runner.store import Store, StoreError
from runner.updating import Updating
from runner.work import Work
from tests.unit.runner.test_attempts import retrying_job
from tests.unit.runner.test_taking_up import IDS, new_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.rows import Job


class Cgroups(CgroupTree):
    """Ordinary directories, which cannot be removed as cgroups are."""

    def jobs(self) -> list[str]:
        return [job_id for job_id in super().jobs() if self.job(job_id) is not None]


class Host:
    """Everything that a restart settles jobs with."""

    def __init__(self, base: Path) -> None:
        self.directories = JobDirectories(str(base / "state"))
        (base / "cgroup").mkdir()
        self.tree = Cgroups(str(base / "cgroup"))
        self.store = Store.open(str(base / "db"))
        self.problems = Problems()
        self.again: list[Job] = []
        self.removed: list[str] = []

    async def reconcile(self, act: Callable[[Restart], Any] | None = None) -> None:
        with ThreadPoolExecutor(1) as pool:
            work = Work(pool)
            nothing: Any = None
            realm = Realm(
                self.store, self.directories, self.tree, Changes(), work, Outside(), self.problems,
                nothing,
            )  # fmt: skip
            running = Running(realm, lambda _job_id: None, lambda _job_id: None)
            stopping = Stopping(work.loop, self.directories, self.tree, running)
            ending = Ending(realm, lambda _job: None, self.again.append)
            ending._remove_cgroup = self.removed.append  # type: ignore[assignment, method-assign]
            # Nothing that is asked of the queue is asked here.
            queueing: Any = None
            made = Restart(
                realm,
                ending=ending,
                removing=Removing(realm),
                pausing=Pausing(realm, stopping),
                updating=Updating(realm, queueing),
                running=running,
                on_again=self.again.append,
            )
            try:
                await (made.reconcile() if act is None else act(made))
                self.watched = {job_id for job_id in IDS if job_id in running}
            finally:
                running.close()
                await work.close()

    def add(self, job_id: str, state: State = State.RUNNING, boot: str | None = None) -> Job:
        self.store.insert(new_job(job_id))
        job = self.store.mark_starting(job_id, 1, boot or boot_id())
        if state is State.RUNNING:
            job = self.store.mark_running(job_id, 4321, 2, None)
        self.directories.create(job_id, job.spec, job.attempt).close()
        return job

    def retry(self, job_id: str, state: State = State.RUNNING) -> Job:
        """Its first attempt has ended, and the second is under way."""
        self.path(job_id, "exit").write_bytes(exit_record(job_id))
        (self.path(job_id, "log") / f"{0:020}.log").touch()
        self.store.mark_retried(
            job_id, 3, ended_ns=9, reason="exit", result=b"r", started_ns=2, not_before_ns=None
        )
        job = self.store.mark_starting(job_id, 10, boot_id())
        if state is State.RUNNING:
            job = self.store.mark_running(job_id, 4321, 11, None)
        return job

    def path(self, job_id: str, name: str) -> Path:
        return Path(self.directories.path) / job_id / name

    def put_in_cgroup(self, job_id: str, *pids: int, frozen: bool = False) -> None:
        for name in ("monitor", "payload"):
            os.makedirs(f"{self.tree.root}/job-{job_id}/{name}")
        monitor = Path(self.tree.root) / f"job-{job_id}" / "monitor" / "cgroup.procs"
        monitor.write_text("".join(f"{pid}\n" for pid in pids))
        freeze = Path(self.tree.root) / f"job-{job_id}" / "payload" / "cgroup.freeze"
        freeze.write_text(f"{int(frozen)}\n")

    def state(self, job_id: str) -> State:
        job = self.store.get(job_id)
        assert job is not None
        return job.state

    def result(self, job_id: str) -> dict[str, Any]:
        job = self.store.get(job_id)
        assert job is not None
        assert job.result is not None
        return stored.result(job.result)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    before = set(os.listdir("/proc/self/fd"))
    made = Host(tmp_path)
    yield made
    made.store.close()
    made.directories.close()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def monitor() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def exit_record(job_id: str, **more: Any) -> bytes:
    fields = dict.fromkeys(stored.RESULT_FIELDS)
    return records.pack({**fields, "job": job_id, "reason": "exit", "exit_status": 3,
                         "exit_code": 3, "started_ns": 5, "ended_ns": 9, **more})  # fmt: skip


def test_a_job_with_a_record_has_ended_as_it_says(host: Host) -> None:
    for job_id, state in zip(IDS, (State.RUNNING, State.STARTING), strict=False):
        host.add(job_id, state)
        host.path(job_id, "exit").write_bytes(exit_record(job_id))
    asyncio.run(host.reconcile())
    for job_id in IDS[:2]:
        assert host.result(job_id)["exit_code"] == 3
    assert host.problems.all() == []


def test_a_job_whose_monitor_lives_is_watched(host: Host, monitor: int) -> None:
    host.add(IDS[0])
    host.add(IDS[1], State.STARTING, "unknown")
    for job_id in IDS[:2]:
        host.put_in_cgroup(job_id, monitor)
    asyncio.run(host.reconcile())
    assert host.watched == set(IDS[:2])
    job = host.store.get(IDS[1])
    assert job is not None
    assert (job.state, job.monitor_pid) == (State.RUNNING, monitor)
    assert job.started_ns is not None
    # When its monitor began, not now; the boot and the clock of the day are set apart.
    assert 0 <= time.time_ns() - job.started_ns < 60 * 10**9


def test_a_job_that_is_taken_up_while_it_is_frozen_is_paused(host: Host, monitor: int) -> None:
    host.add(IDS[0], State.STARTING, "unknown")
    host.put_in_cgroup(IDS[0], monitor, frozen=True)
    asyncio.run(host.reconcile())
    assert host.state(IDS[0]) is State.PAUSED


def test_a_job_without_a_trace_is_lost_or_queued_again(host: Host) -> None:
    host.add(IDS[0])
    host.add(IDS[1], State.STARTING)
    host.add(IDS[2], State.STARTING, "unknown")
    asyncio.run(host.reconcile())
    assert [host.state(job_id) for job_id in IDS[:3]] == [
        State.ENDED, State.QUEUED, State.ENDED,
    ]  # fmt: skip
    assert host.result(IDS[0])["reason"] == host.result(IDS[2])["reason"] == "lost"
    assert [job.id for job in host.again] == [IDS[1]]


def test_no_trace_of_an_earlier_attempt_counts_for_the_one_that_is_under_way(host: Host) -> None:
    for job_id, state in zip(IDS, (State.RUNNING, State.STARTING, State.STARTING), strict=False):
        host.add(job_id)
        job = host.retry(job_id, state)
        if job_id != IDS[1]:
            # The second was not even made.
            host.directories.create(job_id, job.spec, 2).close()
    (host.path(IDS[2], "attempt-2/log") / f"{0:020}.log").touch()
    asyncio.run(host.reconcile())
    assert [host.state(job_id) for job_id in IDS[:3]] == [
        State.ENDED, State.QUEUED, State.ENDED,
    ]  # fmt: skip
    assert host.result(IDS[0])["reason"] == host.result(IDS[2])["reason"] == "lost"


def test_the_record_of_the_attempt_that_is_under_way_counts(host: Host) -> None:
    host.add(IDS[0])
    job = host.retry(IDS[0])
    host.directories.create(IDS[0], job.spec, 2).close()
    host.path(IDS[0], "attempt-2/exit").write_bytes(exit_record(IDS[0], exit_code=4, exit_status=4))
    asyncio.run(host.reconcile())
    assert host.result(IDS[0])["exit_code"] == 4


def test_a_lost_attempt_is_queued_for_another_when_that_was_asked(host: Host) -> None:
    host.store.insert(retrying_job(IDS[0], retry={"limit": 1, "on": ["lost", "exit"]}))
    job = host.store.mark_starting(IDS[0], 1, boot_id())
    host.directories.create(IDS[0], job.spec).close()
    host.store.mark_running(IDS[0], 4321, 2, None)
    asyncio.run(host.reconcile())
    assert [(job.id, job.attempt, job.state) for job in host.again] == [(IDS[0], 2, State.QUEUED)]


def test_a_job_is_not_queued_again_where_that_may_be_our_own_fault(host: Host) -> None:
    job = host.add(IDS[0], State.STARTING)
    asyncio.run(host.reconcile(lambda made: made.settle(job, may_requeue=False)))
    assert host.result(job.id)["reason"] == "lost"


def test_a_record_that_is_garbled_while_the_monitor_lives_is_a_problem_and_no_end(
    host: Host, monitor: int
) -> None:
    host.add(IDS[0])
    host.put_in_cgroup(IDS[0], monitor)
    host.path(IDS[0], "exit").write_bytes(b"garbled")
    asyncio.run(host.reconcile())
    assert host.state(IDS[0]) is State.RUNNING
    (problem,) = host.problems.all()
    assert problem.job == IDS[0]
    assert "its exit record cannot be read" in problem.text


def test_a_monitor_that_cannot_be_told_is_a_problem(host: Host, monitor: int) -> None:
    host.add(IDS[0])
    host.put_in_cgroup(IDS[0], monitor)
    host.path(IDS[0], "control").unlink()
    host.path(IDS[0], "control").write_bytes(b"")
    asyncio.run(host.reconcile())
    assert host.watched == {IDS[0]}
    (problem,) = host.problems.all()
    assert problem.text == "its monitor cannot be told anything, a stop kills it: not a FIFO"
    assert host.path(IDS[0], "control").read_bytes() == b""


def test_what_cannot_be_found_out_of_one_job_is_said_and_the_others_are_settled(
    host: Host, monitor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in IDS[:3]:
        host.add(job_id)
        host.put_in_cgroup(job_id, monitor)
    real = reconcile.examine

    def examine(job: Job, *args: Any) -> Any:
        if job.id == IDS[1]:
            raise OSError(errno.EIO, "Input/output error")
        return real(job, *args)

    monkeypatch.setattr(restart, "examine", examine)
    asyncio.run(host.reconcile())
    assert host.watched == {IDS[0], IDS[2]}
    assert [problem.job for problem in host.problems.all()] == [IDS[1]]
    # It may run: nobody took its cgroup away.
    assert host.removed == []
    assert host.state(IDS[1]) is State.RUNNING


def test_a_strangers_cgroup_with_processes_is_left_alone_and_said(host: Host) -> None:
    host.put_in_cgroup(IDS[0])
    (Path(host.tree.root) / f"job-{IDS[0]}" / "cgroup.events").write_text("populated 1\n")
    host.put_in_cgroup(IDS[1])
    (Path(host.tree.root) / f"job-{IDS[1]}" / "cgroup.events").write_text("populated 0\n")
    asyncio.run(host.reconcile())
    assert [problem.job for problem in host.problems.all()] == [IDS[0]]
    assert host.removed == [IDS[1]]


@pytest.mark.parametrize("error", [StoreError("it is locked"), OSError(5, "Input/output error")])
def test_a_removal_that_cannot_be_finished_keeps_nobody_from_the_daemon(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    host.add(IDS[0])
    host.path(IDS[0], "exit").write_bytes(exit_record(IDS[0]))

    async def fail(_removing: Removing) -> None:
        raise error

    monkeypatch.setattr(Removing, "finish_removals", fail)
    asyncio.run(host.reconcile())
    assert host.state(IDS[0]) is State.ENDED
    (problem,) = host.problems.all()
    assert "finished at the next start" in problem.text
