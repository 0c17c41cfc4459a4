"""What the store keeps of queued jobs: keys, dependencies, labels, attempts, queues, changes."""

from __future__ import annotations

import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from runner.lifecycle import ImpossibleTransition, State
from runner.rows import RANK_STEP, Attempt, Fate, NewJob, QueueState, StoredDependency, Total
from runner.scheduling.kinds import Dependency, Needs, Waiting
from runner.store import Job, NoSuchJobError, NotUpdatableError, Store, StoreError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Container, Iterator


def new_job(job_id: str | None = None, *, by: int = 1000, **more: Any) -> NewJob:
    return NewJob(
        id=job_id or str(uuid.uuid4()), submitted_by_uid=by, uid=by, gid=by, name=None,
        spec=b"spec", submitted_ns=1, **more,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "runnerd.sqlite3")


@pytest.fixture
def kept(path: str) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def insert(kept: Store, *, met: Container[str] = (), **more: Any) -> Job:
    return kept.insert(new_job(**more), met)


def running(kept: Store, **more: Any) -> Job:
    job = insert(kept, **more)
    kept.mark_starting(job.id, 2, "boot")
    return kept.mark_running(job.id, 77, 3, b"limits")


def test_a_job_keeps_what_the_queue_needs_to_know_of_it(kept: Store, path: str) -> None:
    new = new_job(
        queue="night", priority=-5, not_before_ns=10, deadline_ns=20, held_by_uid=0,
        reserved_millicpus=1500, reserved_memory_bytes=2**33, time_limit_ms=60_000,
        idempotency_key="k", labels={"team": "a", "empty": ""},
        after=(("x", "ok"), ("y", "started")),
    )  # fmt: skip
    job = kept.insert(new)
    kept.close()
    again = Store.open(path)
    assert again.get(new.id) == job
    for name in ("queue", "priority", "not_before_ns", "deadline_ns", "held_by_uid",
                 "reserved_millicpus", "reserved_memory_bytes", "time_limit_ms",
                 "idempotency_key"):  # fmt: skip
        assert getattr(job, name) == getattr(new, name)
    assert (job.rank, job.attempt, job.first_attempt) == (None, 1, 1)
    assert again.labels([new.id, "nobody"]) == {new.id: new.labels, "nobody": {}}
    assert again.dependencies(new.id) == [
        StoredDependency("x", "ok", met=False), StoredDependency("y", "started", met=False),
    ]  # fmt: skip
    after = (Dependency("x", "ok"), Dependency("y", "started"))
    expected = Waiting(
        new.id, 1000, "night", -5, RANK_STEP, Needs(1500, 2**33), 10, 20, True, after, 60_000,  # noqa: FBT003
    )  # fmt: skip
    assert again.waiting() == [expected]
    assert again.waiting_of([job.id]) == [expected]
    again.close()


def test_a_key_means_the_job_that_has_it_until_that_is_removed(kept: Store) -> None:
    job = insert(kept, idempotency_key="once")
    insert(kept)
    assert kept.keyed(1000, "once") == job
    assert kept.keyed(1001, "once") is None
    assert kept.keyed(1000, "other") is None
    another = insert(kept, by=1001, idempotency_key="once")
    assert kept.keyed(1001, "once") == another
    with pytest.raises(StoreError, match="UNIQUE"):
        insert(kept, idempotency_key="once")
    assert kept.queued_of(1000) == 2
    kept.mark_ended(job.id, 9, "exit", b"", is_ok=True)
    assert kept.keyed(1000, "once") == kept.get(job.id)
    kept.delete(job.id, 10, 0)
    assert kept.keyed(1000, "once") is None
    assert insert(kept, idempotency_key="once").idempotency_key == "once"


def test_waiting_is_what_is_queued_in_the_order_of_submission_without_its_spec(kept: Store) -> None:
    first, gone, moved, held = (insert(kept, by=by) for by in (1, 2, 3, 4))
    running(kept)
    kept.mark_ended(gone.id, 5, "stopped", b"", is_ok=False)
    kept.change_queued(moved.id, 6, "move", 3, rank=-7, queue="other")
    kept.change_queued(held.id, 6, "hold", 4, held_by_uid=4)
    kept._db.execute("UPDATE specs SET spec = 7")
    assert kept.waiting() == [
        Waiting(first.id, 1, "default", 0, RANK_STEP),
        Waiting(moved.id, 3, "other", 0, -7),
        Waiting(held.id, 4, "default", 0, 4 * RANK_STEP, is_held=True),
    ]


def test_what_was_met_is_never_waited_for_again(kept: Store, path: str) -> None:
    one = insert(kept, after=(("x", "ok"), ("y", "any"), ("z", "fail")))
    two = insert(kept, after=(("x", "any"),))
    three = insert(kept, after=(("x", "started"),))
    assert kept.dependents("x") == [(one.id, "ok"), (two.id, "any"), (three.id, "started")]
    kept.meet_many([("y", "any"), ("y", "ok"), ("x", "started"), ("x", "any"), ("nobody", "ok")])
    kept.close()
    again = Store.open(path)
    assert [job.after for job in again.waiting()] == [
        (Dependency("x", "ok"), Dependency("z", "fail")), (), (),
    ]  # fmt: skip
    assert again.dependents("x") == [(one.id, "ok")]
    assert [known.met for known in again.dependencies(one.id)] == [False, True, False]
    again.close()


def transactions(kept: Store) -> list[str]:
    """Every one that is begun from now on."""
    begun: list[str] = []
    kept._db.set_trace_callback(
        lambda statement: begun.append(statement) if statement.startswith("BEGIN") else None
    )
    return begun


def test_what_many_have_become_is_one_transaction_and_none_where_nobody_waits(kept: Store) -> None:
    insert(kept, after=tuple((f"on{number}", "ok") for number in range(50)))
    begun = transactions(kept)
    kept.meet_many([(f"on{number}", "ok") for number in range(40)])
    assert len(begun) == 1
    kept.meet_many([("on3", "ok"), ("on45", "fail"), ("nobody", "any")])
    assert len(begun) == 1
    assert len(kept.waiting()[0].after) == 10


def test_what_is_met_when_a_job_is_submitted_is_kept_as_met_with_it(kept: Store) -> None:
    begun = transactions(kept)
    job = insert(kept, met={"x", "nobody"}, after=(("x", "ok"), ("y", "any")))
    assert len(begun) == 1
    assert [known.met for known in kept.dependencies(job.id)] == [True, False]
    assert kept.waiting()[0].after == (Dependency("y", "any"),)


def test_jobs_that_come_after_the_same_share_what_is_known_of_it(kept: Store) -> None:
    insert(kept, after=(("x", "ok"),))
    insert(kept, after=(("x", "ok"),))
    one, two = kept.waiting()
    assert one.after[0] is two.after[0]


def test_jobs_make_room_for_one_that_is_moved_in_its_transaction_and_event(kept: Store) -> None:
    one, two, gone, moved = (insert(kept) for _ in range(4))
    kept.mark_starting(gone.id, 5, "boot")
    begun = transactions(kept)
    others = {one.id: 5, two.id: 6, gone.id: 7, "nobody": 8}
    kept.change_queued(moved.id, 9, "move", 1, others=others, rank=7)
    assert len(begun) == 1
    assert [job.rank for job in kept.waiting()] == [5, 6, 7]
    launched = kept.get(gone.id)
    assert launched is not None
    assert launched.rank is None
    assert [event.job_id for event in kept.events_since(0, 99) if event.kind == "move"] == [
        moved.id
    ]
    kept.mark_ended(moved.id, 9, "stopped", b"", is_ok=False)
    with pytest.raises(NotUpdatableError):
        kept.change_queued(moved.id, 9, "move", 1, others={one.id: 1}, rank=7)
    assert kept.waiting()[0].rank == 5


def test_who_has_ended_depends_on_nothing_any_more(kept: Store) -> None:
    job = insert(kept, after=(("x", "ok"),))
    kept.mark_ended(job.id, 5, "dependency", b"", is_ok=False)
    assert kept.dependents("x") == []
    assert kept.waiting() == []
    assert len(kept.dependencies(job.id)) == 1


def test_what_became_of_jobs_is_told_of_those_that_are_there(kept: Store) -> None:
    queued, going = insert(kept), running(kept)
    ended = kept.mark_ended(running(kept).id, 9, "exit", b"result", is_ok=True)
    assert kept.became([queued.id, going.id, ended.id, "removed"]) == {
        queued.id: Fate(State.QUEUED, None, None, None),
        going.id: Fate(State.RUNNING, 3, None, None),
        ended.id: Fate(State.ENDED, 3, "exit", b"result", "ok"),
    }


def test_changes_of_a_queued_job_are_kept_with_who_made_them(kept: Store) -> None:
    job = insert(kept)
    kept.change_queued(job.id, 5, "hold", 7, held_by_uid=7)
    assert kept.change_queued(job.id, 6, "release", 0, held_by_uid=None) == job
    kept.change_queued(job.id, 7, "priority", 7, priority=-3)
    last = kept.change_queued(job.id, 8, "move", 7, queue="night", rank=5, priority=2)
    assert last == msgspec.structs.replace(job, queue="night", rank=5, priority=2)
    events = kept.events_since(1, 10)
    assert [(event.kind, event.time_ns, event.data) for event in events] == [
        ("hold", 5, {"by_uid": 7}),
        ("release", 6, {"by_uid": 0}),
        ("priority", 7, {"by_uid": 7, "priority": -3}),
        ("move", 8, {"by_uid": 7, "queue": "night", "priority": 2}),
    ]


def test_only_a_queued_job_is_held_or_moved_and_only_by_columns_that_are_its_place(
    kept: Store,
) -> None:
    job = running(kept)
    before = len(kept.events_since(0, 10))
    with pytest.raises(NotUpdatableError, match="running"):
        kept.change_queued(job.id, 5, "hold", 7, held_by_uid=7)
    with pytest.raises(NoSuchJobError):
        kept.change_queued("nobody", 5, "hold", 7, held_by_uid=7)
    queued = insert(kept)
    with pytest.raises(ValueError, match="no columns to be set: uid"):
        kept.change_queued(queued.id, 5, "hold", 7, uid=0)  # type: ignore[call-arg]
    assert kept.get(queued.id) == queued
    assert len(kept.events_since(0, 10)) == before + 1


def test_other_limits_come_with_what_is_promised(kept: Store) -> None:
    queued = insert(kept, time_limit_ms=5)
    changed = kept.update(
        queued.id, 5, b"other", None, {}, reserved_millicpus=10, reserved_memory_bytes=20,
        time_limit_ms=None, priority=-1,
    )  # fmt: skip
    assert changed == msgspec.structs.replace(
        queued, spec=b"other", reserved_millicpus=10, reserved_memory_bytes=20,
        time_limit_ms=None, priority=-1,
    )  # fmt: skip
    job = running(kept, time_limit_ms=5)
    assert kept.update(job.id, 6, b"x", b"read", {}, time_limit_ms=9).time_limit_ms == 9
    assert kept.update(job.id, 6, b"y", b"read", {}).time_limit_ms == 9


def retried(kept: Store, job_id: str, at: int = 10, **more: Any) -> Job:
    values = {"ended_ns": at - 1, "reason": "oom", "result": b"why", **more}
    return kept.mark_retried(job_id, at, **values)


def test_another_attempt_waits_as_a_new_job_would_and_the_one_before_is_kept(kept: Store) -> None:
    job = running(kept, deadline_ns=99, labels={"a": "b"}, held_by_uid=None)
    again = retried(
        kept, job.id, not_before_ns=50, spec=b"more memory", reserved_memory_bytes=7,
        time_limit_ms=None,
    )  # fmt: skip
    assert again == msgspec.structs.replace(
        job, state=State.QUEUED, started_ns=None, limits=None, monitor_pid=None, attempt=2,
        not_before_ns=50, spec=b"more memory", reserved_memory_bytes=7,
    )  # fmt: skip
    assert kept.attempts(job.id) == [Attempt(1, 3, 9, "oom", b"why", b"limits")]
    assert [waiting.id for waiting in kept.waiting()] == [job.id]
    assert (kept.queued_of(1000), kept.counts()[State.RUNNING]) == (1, 0)
    event = kept.events_since(3, 10)[0]
    assert (event.kind, event.time_ns, event.data) == ("retry", 10, {"attempt": 2, "reason": "oom"})
    kept.mark_starting(job.id, 60, "boot")
    third = retried(kept, job.id, 70, started_ns=65, reason="lost")
    assert (third.attempt, third.first_attempt, third.not_before_ns) == (3, 1, None)
    assert kept.attempts(job.id)[1] == Attempt(2, 65, 69, "lost", b"why", None)


def test_a_paused_job_that_is_tried_again_was_never_paused(kept: Store) -> None:
    job = running(kept)
    kept.mark_paused(job.id, 5, 0)
    again = retried(kept, job.id)
    assert (again.paused_ns, again.paused_since_ns, again.monitor_pid) == (0, None, None)


def test_what_another_than_its_submitter_holds_stays_held_when_it_is_run_again(kept: Store) -> None:
    job = insert(kept, by=5)
    kept.change_queued(job.id, 6, "hold", 0, held_by_uid=0)
    kept.mark_ended(job.id, 20, "stopped", b"result", is_ok=False)
    again = kept.mark_retried(job.id, 30, by_uid=5)
    assert again.held_by_uid == 0
    assert kept.waiting_of([again.id])[0].is_held


def test_a_job_that_has_ended_is_run_again_by_hand_and_its_retries_count_anew(kept: Store) -> None:
    job = running(kept, by=5, held_by_uid=5, deadline_ns=99)
    retried(kept, job.id)
    kept.mark_ended(job.id, 20, "stopped", b"result", disk_bytes=512, is_ok=False)
    assert (kept.ended.total(5), kept.ended.total()) == (Total(1, 512), Total(1, 512))
    again = kept.mark_retried(job.id, 30, by_uid=0, deadline_ns=None)
    assert (again.state, again.attempt, again.first_attempt) == (State.QUEUED, 3, 3)
    assert (again.ended_ns, again.reason, again.result) == (None, None, None)
    # What it takes is still there, and still its user's.
    assert (again.disk_bytes, kept.tried_bytes(5), kept.tried_bytes(6)) == (512, {job.id: 512}, {})
    assert (again.held_by_uid, again.deadline_ns) == (None, None)
    assert kept.attempts(job.id)[1] == Attempt(2, None, 20, "stopped", b"result", None)
    assert kept.ended.total(5) == Total(0, 0)
    assert (kept.queued_of(5), kept.counts()[State.ENDED]) == (1, 0)
    about = {"attempt": 3, "reason": "stopped", "by_uid": 0}
    assert kept.events_since(0, 20)[-1].data == about
    assert retried(kept, _started(kept, job.id)).first_attempt == 3


def _started(kept: Store, job_id: str) -> str:
    kept.mark_starting(job_id, 40, "boot")
    return job_id


def test_what_the_attempts_before_take_is_known_until_the_job_has_ended(kept: Store) -> None:
    job = running(kept, by=5)
    kept.mark_retried(job.id, 30, ended_ns=29, reason="exit", result=b"r", disk_bytes=4096)
    assert kept.tried_bytes(5) == {job.id: 4096}
    _started(kept, job.id)
    assert kept.tried_bytes(5) == {job.id: 4096}
    kept.mark_retried(job.id, 40, ended_ns=39, reason="exit", result=b"r", disk_bytes=8192)
    kept.end_queued([(job.id, "stopped", b"r")], 50)
    assert kept.tried_bytes(5) == {}
    assert kept.ended.total(5) == Total(1, 8192)


def test_what_goes_is_not_run_again_by_hand_nor_what_has_ended_of_itself(kept: Store) -> None:
    job = running(kept)
    for by_uid in (0, None):
        with pytest.raises(ImpossibleTransition):
            retried(kept, job.id, by_uid=by_uid)
        kept.mark_ended(job.id, 9, "exit", b"", is_ok=True) if by_uid == 0 else None
    queued = insert(kept)
    with pytest.raises(ImpossibleTransition):
        retried(kept, queued.id)
    with pytest.raises(NoSuchJobError):
        retried(kept, "nobody")
    assert kept.attempts(job.id) == []


def test_an_attempt_whose_end_is_not_given_is_not_begun(kept: Store) -> None:
    job = running(kept)
    with pytest.raises(StoreError, match="NOT NULL"):
        kept.mark_retried(job.id, 10)
    assert kept.get(job.id) == job


def test_many_queued_jobs_end_at_once_and_what_is_no_longer_queued_does_not(kept: Store) -> None:
    jobs = [insert(kept, by=by) for by in (1, 1, 2)]
    going = running(kept, by=1)
    ends = [(job.id, "stopped", b"r") for job in (*jobs, going, jobs[0])] + [("nobody", "x", b"")]
    assert kept.end_queued(ends, 50) == [job.id for job in jobs]
    for job in jobs:
        ended = kept.get(job.id)
        assert ended == msgspec.structs.replace(
            job, state=State.ENDED, ended_ns=50, reason="stopped", result=b"r", fate="failed"
        )
    assert kept.get(going.id) == going
    assert kept.counts() == {State.QUEUED: 0, State.STARTING: 0, State.RUNNING: 1,
                             State.PAUSED: 0, State.ENDED: 3}  # fmt: skip
    assert (kept.ended.total(1).jobs, kept.ended.total(2).jobs) == (2, 1)
    assert (kept.queued_of(1), kept.queued_of(2)) == (0, 0)
    events = kept.events_since(6, 10)
    assert [(e.job_id, e.kind, e.data) for e in events] == [
        (job.id, "finish", {"reason": "stopped"}) for job in jobs
    ]
    assert kept.end_queued(ends, 51) == []


def test_ends_that_cannot_be_written_end_nothing(kept: Store) -> None:
    jobs = [insert(kept) for _ in range(3)]
    with pytest.raises(StoreError):
        kept.end_queued([(jobs[0].id, "stopped", b""), (jobs[1].id, None, b"")], 5)  # type: ignore[list-item]
    assert [job.id for job in kept.waiting()] == [job.id for job in jobs]
    assert (kept.queued_of(1000), kept.ended.total().jobs) == (3, 0)
    assert len(kept.events_since(0, 10)) == 3


def test_what_is_set_of_a_queue_stays_set(kept: Store, path: str) -> None:
    assert kept.queue_states() == {}
    kept.set_queue_state("night", paused=True, max_running=None)
    kept.set_queue_state("default", paused=False, max_running=0)
    kept.set_queue_state("night", paused=True, max_running=5)
    kept.close()
    again = Store.open(path)
    states = {"default": QueueState(paused=False, max_running=0),
              "night": QueueState(paused=True, max_running=5)}  # fmt: skip
    assert again.queue_states() == states
    with pytest.raises(StoreError):
        again.set_queue_state("night", paused=True, max_running=-1)
    assert again.queue_states() == states
    again.close()


def test_queued_jobs_are_counted_by_who_submitted_them_also_after_a_restart(
    kept: Store, path: str
) -> None:
    jobs = [insert(kept, by=by) for by in (1, 1, 2)]
    running(kept, by=2)
    kept.mark_starting(jobs[0].id, 5, "boot")
    assert [kept.queued_of(uid) for uid in (1, 2, 3)] == [1, 1, 0]
    kept.mark_requeued(jobs[0].id, 6)
    kept.mark_ended(jobs[2].id, 7, "stopped", b"", is_ok=False)
    kept.close()
    again = Store.open(path)
    assert [again.queued_of(uid) for uid in (1, 2, 3)] == [2, 0, 0]
    again.close()


def test_the_database_refuses_a_dependency_of_no_kind(kept: Store, path: str) -> None:
    with pytest.raises(StoreError, match="CHECK"):
        insert(kept, after=(("x", "later"),))
    with pytest.raises(StoreError, match="UNIQUE"):
        insert(kept, after=(("x", "ok"), ("x", "any")))
    assert kept.waiting() == []
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    db.close()
