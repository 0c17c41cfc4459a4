"""Pausing: what the monitor is told, what the kernel must say, and what is then committed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.tree import CgroupTree
from runner import pausing, records
from runner.changes import Changes
from runner.lifecycle import State
from runner.pausing import Pausing
from runner.queues import HOOKS
from runner.refusal import Refusal
from runner.rows import DEFAULT_QUEUE, Job, NewJob
from runner.store import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"
KINDS = {records.CONTROL_PAUSE: "pause", records.CONTROL_RESUME: "resume"}


class Host:
    """A store, ordinary files for a job's cgroups, and a monitor that does what it is told."""

    def __init__(self, path: Path, queue: str = DEFAULT_QUEUE) -> None:
        self.store = Store.open(str(path / "db"))
        self.root = path / "cgroup"
        self.payload = self.root / f"job-{JOB}" / "payload"
        self.payload.mkdir(parents=True)
        self.told: list[str] = []
        self.freezes = True
        self.answers = True
        self.asked: set[str] = set()
        self.on_tell: Callable[[], None] = lambda: None
        self.shows(frozen=False)
        self._start(queue)

    def _start(self, queue: str) -> None:
        new = NewJob(
            id=JOB, submitted_by_uid=1, uid=1, gid=1, name=None, spec=b"", submitted_ns=1,
            queue=queue,
        )  # fmt: skip
        self.store.insert(new)
        self.store.mark_starting(JOB, 1, "boot")
        self.store.mark_running(JOB, 77, 1, None)

    def shows(self, *, frozen: bool) -> None:
        (self.payload / "cgroup.events").write_text(f"populated 1\nfrozen {int(frozen)}\n")
        (self.payload / "cgroup.freeze").write_text(f"{int(frozen)}\n")

    def send(self, _job_id: str, kind: int) -> None:
        if not self.answers:
            raise FileNotFoundError(2, "No such file or directory")
        self.told.append(KINDS[kind])
        self.on_tell()
        if self.freezes:
            self.shows(frozen=kind == records.CONTROL_PAUSE)

    def is_asked(self, job_id: str) -> bool:
        return job_id in self.asked

    @property
    def job(self) -> Job:
        job = self.store.get(JOB)
        assert job is not None
        return job

    def pausing(self) -> Pausing:
        here: Any = self
        tree = CgroupTree(str(self.root))
        realm: Any = SimpleNamespace(
            store=self.store, directories=here, tree=tree, changes=Changes()
        )
        return Pausing(realm, here)

    def run(self, ask: Callable[[Pausing], Coroutine[Any, Any, State]]) -> State:
        async def scenario() -> State:
            return await ask(self.pausing())

        return asyncio.run(scenario())

    def pause(self) -> State:
        return self.run(lambda paused: paused.pause(JOB, 7))

    def resume(self) -> State:
        return self.run(lambda paused: paused.resume(JOB, 7))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(pausing, "FREEZE_SECONDS", 0.05)
    made = Host(tmp_path)
    yield made
    made.store.close()


def refused(ask: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        ask()
    assert caught.value.code == "job-state"
    return caught.value.to_wire()


def test_a_pause_and_its_end_are_committed_once_the_kernel_says_so(host: Host) -> None:
    assert host.pause() is State.PAUSED
    assert host.job.state is State.PAUSED
    assert host.pause() is State.PAUSED
    assert host.resume() is State.RUNNING
    assert host.resume() is State.RUNNING
    assert host.job.state is State.RUNNING
    assert host.told == ["pause", "resume"]


def test_what_does_not_freeze_in_time_runs_on_and_is_not_frozen_later(host: Host) -> None:
    host.freezes = False
    error = refused(host.pause)
    assert error["given"] == "running"
    assert "did not stand still" in error["detail"]
    assert host.told == ["pause", "resume"]
    assert host.job.state is State.RUNNING


def test_what_does_not_go_on_stays_paused(host: Host) -> None:
    host.pause()
    host.freezes = False
    assert refused(host.resume)["given"] == "paused"
    assert host.job.state is State.PAUSED


def test_a_monitor_that_cannot_be_told_is_said(host: Host) -> None:
    host.answers = False
    assert "cannot be told" in refused(host.pause)["detail"]
    assert host.job.state is State.RUNNING


def test_a_job_that_is_stopped_before_or_meanwhile_is_not_paused(host: Host) -> None:
    host.asked.add(JOB)
    refused(host.pause)
    assert host.told == []
    host.asked.clear()
    host.on_tell = lambda: host.asked.add(JOB)
    assert "stopped" in refused(host.pause)["detail"]
    assert host.told == ["pause", "resume"]
    assert host.job.state is State.RUNNING


def test_the_job_of_a_hook_is_not_paused_whoever_asks(tmp_path: Path) -> None:
    host = Host(tmp_path, HOOKS)
    error = refused(host.pause)
    assert (error["field"], error["given"]) == ("job", "running")
    assert "job of a hook" in error["detail"]
    assert "stop it instead" in error["detail"]
    assert (host.told, host.job.state) == ([], State.RUNNING)
    host.store.close()


def test_a_job_that_ends_meanwhile_is_refused_as_ended(host: Host) -> None:
    host.freezes = False
    host.on_tell = lambda: (
        (
            None
            if host.job.state is State.ENDED
            else host.store.mark_ended(JOB, 2, "exit", b"", is_ok=True)
        )
        and None
    )
    assert refused(host.pause)["given"] == "ended"
    assert refused(host.resume)["given"] == "ended"


def test_a_pause_that_cannot_be_committed_is_taken_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(host.store, "mark_paused", full)
    with pytest.raises(StoreError):
        host.pause()
    assert host.told == ["pause", "resume"]


def test_a_stop_lets_the_store_know_that_a_paused_job_goes_on(host: Host) -> None:
    host.pausing().resumed(JOB, 7)
    host.pause()
    host.pausing().resumed(JOB, 7)
    host.pausing().resumed("nobody", 7)
    assert host.job.state is State.RUNNING


@pytest.mark.parametrize("was_paused", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_after_a_restart_the_kernel_is_right(host: Host, *, was_paused: bool, frozen: bool) -> None:
    if was_paused:
        host.pause()
    host.told.clear()
    host.pausing().settle(host.job, frozen=frozen)
    assert host.job.state is (State.PAUSED if frozen else State.RUNNING)
    assert host.told == ["pause" if frozen else "resume"]


def test_a_job_that_has_ended_since_is_not_settled(host: Host) -> None:
    before = host.job
    host.store.mark_ended(JOB, 2, "exit", b"", is_ok=True)
    host.pausing().settle(before, frozen=True)
    assert host.told == []
    host.answers = False
    host.pausing().settle(before, frozen=False)
