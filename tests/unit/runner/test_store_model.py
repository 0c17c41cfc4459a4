"""Any walk of events over the store, against a model in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.lifecycle import TRANSITIONS, Event, ImpossibleTransition, State
from runner.store import Job, JobActiveError, NewJob, NoSuchJobError, Store

if TYPE_CHECKING:
    import pytest


def pages(kept: Store, uid: int | None, *, include_ended: bool, limit: int) -> list[list[int]]:
    found = []
    before: int | None = None
    while True:
        jobs, before = kept.list_jobs(
            submitted_by_uid=uid, include_ended=include_ended, limit=limit, before=before
        )
        found.append([job.seq for job in jobs])
        if before is None:
            return found


class Model:
    """What the store should hold, as plain Python."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.submitted = 0
        self.events: list[tuple[str, str]] = []

    def insert(self, new: NewJob) -> None:
        self.submitted += 1
        self.jobs[new.id] = Job(
            seq=self.submitted,
            state=State.QUEUED,
            started_ns=None,
            ended_ns=None,
            boot_id=None,
            monitor_pid=None,
            limits=None,
            reason=None,
            result=None,
            **msgspec.structs.asdict(new),
        )
        self.events.append((new.id, "submit"))

    def advance(self, job_id: str, event: Event, now: int) -> bool:
        """Apply the event; False when it is not possible."""
        job = self.jobs.get(job_id)
        if job is None or (job.state, event) not in TRANSITIONS:
            return False
        changes: dict[str, object] = {"state": TRANSITIONS[job.state, event]}
        if event is Event.LAUNCH:
            changes |= {"boot_id": "boot"}
        if event is Event.STARTED:
            changes |= {"monitor_pid": now, "started_ns": now, "limits": b"limits"}
        if event is Event.PAUSE:
            changes |= {"paused_since_ns": now}
        if event in {Event.RESUME, Event.FINISH} and job.paused_since_ns is not None:
            paused = job.paused_ns + now - job.paused_since_ns
            changes |= {"paused_since_ns": None, "paused_ns": paused}
        if event is Event.FINISH:
            changes |= {"monitor_pid": None, "ended_ns": now, "reason": "exit", "result": b"r"}
        self.jobs[job_id] = msgspec.structs.replace(job, **changes)
        self.events.append((job_id, event.value))
        return True

    def remove(self, job_id: str) -> bool:
        if job_id not in self.jobs or self.jobs[job_id].state is not State.ENDED:
            return False
        del self.jobs[job_id]
        self.events.append((job_id, "remove"))
        return True


def apply(kept: Store, job_id: str, event: Event | None, now: int) -> bool:
    """The same to the store."""
    try:
        match event:
            case Event.LAUNCH:
                kept.mark_starting(job_id, now, "boot")
            case Event.STARTED:
                kept.mark_running(job_id, now, now, b"limits")
            case Event.REQUEUE:
                kept.mark_requeued(job_id, now)
            case Event.PAUSE:
                kept.mark_paused(job_id, now, 0)
            case Event.RESUME:
                kept.mark_resumed(job_id, now, 0)
            case Event.FINISH:
                kept.mark_ended(job_id, now, "exit", b"r")
            case None:
                kept.delete(job_id, now, 0)
    except (ImpossibleTransition, NoSuchJobError, JobActiveError):
        return False
    return True


def assert_equal(kept: Store, model: Model) -> None:
    newest_first = sorted(model.jobs.values(), key=lambda job: -job.seq)
    active = [job for job in reversed(newest_first) if job.state is not State.ENDED]
    assert kept.queued() == [job for job in active if job.state is State.QUEUED]
    assert kept.launched() == [job for job in active if job.state is not State.QUEUED]
    assert kept.counts() == {
        state: sum(job.state is state for job in newest_first) for state in State
    }
    for uid in (None, 0, 1, 2):
        own = [job for job in newest_first if uid in {None, job.submitted_by_uid}]
        going = [job for job in own if job.state is not State.ENDED]
        for expected, include_ended in ((own, True), (going, False)):
            assert pages(kept, uid, include_ended=include_ended, limit=2) == [
                [job.seq for job in expected[at : at + 2]]
                for at in range(0, max(len(expected), 1), 2)
            ]
        by_name = [job for job in own if job.name == "n"]
        assert kept.find("n", uid) == by_name[:1]
    assert [(event.job_id, event.kind) for event in kept.events_since(0, 1000)] == model.events


IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(6)]
steps = st.lists(
    st.tuples(st.sampled_from(["insert", "reopen", None, *Event, *Event]), st.sampled_from(IDS)),
    max_size=40,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps)
def test_any_walk_over_the_store_ends_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str | None, str]]
) -> None:
    path = str(tmp_path_factory.mktemp("walk") / "db")
    kept, model = Store.open(path), Model()
    seen: set[str] = set()
    for now, (what, job_id) in enumerate(steps, start=1):
        if what == "insert":
            if job_id not in seen:
                seen.add(job_id)
                name = "n" if now % 2 else None
                new = NewJob(
                    id=job_id,
                    submitted_by_uid=now % 3,
                    uid=now,
                    gid=now,
                    name=name,
                    spec=bytes(now),
                    submitted_ns=now,
                )
                kept.insert(new)
                model.insert(new)
        elif what == "reopen":
            kept.close()
            kept = Store.open(path)
        else:
            event = None if what is None else Event(what)
            expected = model.advance(job_id, event, now) if event else model.remove(job_id)
            assert apply(kept, job_id, event, now) == expected
    assert_equal(kept, model)
    kept.close()
    kept = Store.open(path)
    assert_equal(kept, model)
    kept.close()
