"""Any walk of events over the store, against a model in plain Python."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import store_commits
from runner.group_rows import GroupCounts, NewGroup
from runner.lifecycle import TRANSITIONS, Event, ImpossibleTransition, State
from runner.rows import RANK_STEP, Launch, NewHook
from runner.scheduling.kinds import Dependency, Waiting
from runner.store import Job, JobActiveError, NewJob, NoSuchJobError, NotUpdatableError, Store
from runner.store_base import LAUNCHED


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


COMMON = set(NewJob.__struct_fields__) & set(Job.__struct_fields__)


class Counted(NamedTuple):
    """What the store should count of a group."""

    unended: int
    failed: int
    ended_ns: int | None


class Model:
    """What the store should hold, as plain Python."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.submitted = 0
        self.events: list[tuple[str, str]] = []
        self.submitters: dict[str, int] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.after: dict[str, list[tuple[str, str]]] = {}
        self.attempts: dict[str, list[tuple[int, str]]] = {}
        self.needs: dict[str, list[tuple[str, str]]] = {}
        self.groups: dict[str, Counted] = {}

    def insert_group(self, new: NewGroup, jobs: list[NewJob]) -> None:
        for job in jobs:
            # What it reads as its own is the group's.
            self.insert(msgspec.structs.replace(job, spec=job.spec or new.spec or b""))
        self.groups[new.id] = Counted(len(jobs), 0, None)
        self.submitters[new.id] = new.submitted_by_uid
        self.events.append((new.id, "group-submit"))

    def members(self, group_id: str | None) -> list[Job]:
        return [job for job in self.jobs.values() if group_id and job.group_id == group_id]

    def moved(self, job: Job, now: int) -> None:
        """Count a job of a group that has just ended."""
        if job.group_id is None:
            return
        old = self.groups[job.group_id]
        left = old.unended - 1
        failed = old.failed + (job.fate == "failed")
        self.groups[job.group_id] = Counted(left, failed, None if left else now)
        if not left:
            self.events.append((job.group_id, "group-ended"))

    def insert(self, new: NewJob, launch: Launch | None = None) -> None:
        self.submitted += 1
        self.jobs[new.id] = Job(
            seq=self.submitted,
            state=State.QUEUED if launch is None else State.STARTING,
            at_once=0 if launch is None else 1,
            started_ns=None,
            ended_ns=None,
            boot_id=None if launch is None else launch.boot_id,
            monitor_pid=None,
            limits=None,
            reason=None,
            result=None,
            **{name: getattr(new, name) for name in COMMON},
        )
        self.labels[new.id], self.after[new.id] = new.labels, list(new.after)
        self.needs[new.id] = list(new.after)
        self.attempts[new.id], self.submitters[new.id] = [], new.submitted_by_uid
        self.events.append((new.id, "submit"))
        if launch is not None:
            self.events.append((new.id, "launch"))

    def advance(self, job_id: str, event: Event, now: int) -> bool:
        """Apply the event; False when it is not possible."""
        job = self.jobs.get(job_id)
        if job is None or (job.state, event) not in TRANSITIONS:
            return False
        if event is Event.RETRY:
            return job.state is not State.ENDED and self.retry(job, by_hand=False)
        changes: dict[str, object] = {"state": TRANSITIONS[job.state, event]}
        if event is Event.LAUNCH:
            changes |= {"boot_id": "boot", "at_once": 0}
        if event is Event.STARTED:
            changes |= {"monitor_pid": now, "started_ns": now, "limits": b"limits"}
        if event is Event.PAUSE:
            changes |= {"paused_since_ns": now}
        if event in {Event.RESUME, Event.FINISH} and job.paused_since_ns is not None:
            paused = job.paused_ns + now - job.paused_since_ns
            changes |= {"paused_since_ns": None, "paused_ns": paused}
        if event is Event.FINISH:
            changes |= {"monitor_pid": None, "ended_ns": now, "reason": "exit", "result": b"r"}
            changes |= {"fate": "ok" if is_ok(now) else "failed"}
        self.jobs[job_id] = msgspec.structs.replace(job, **changes)
        self.events.append((job_id, event.value))
        if event is Event.FINISH:
            self.moved(self.jobs[job_id], now)
        return True

    def retry(self, job: Job, *, by_hand: bool) -> bool:
        self.attempts[job.id].append((job.attempt, job.reason or "oom"))
        self.jobs[job.id] = msgspec.structs.replace(
            job, state=State.QUEUED, attempt=job.attempt + 1,
            first_attempt=job.attempt + 1 if by_hand else job.first_attempt,
            held_by_uid=None if job.held_by_uid == job.submitted_by_uid else job.held_by_uid,
            started_ns=None, limits=None, monitor_pid=None, paused_ns=0, paused_since_ns=None,
            ended_ns=None, reason=None, result=None, disk_bytes=0, not_before_ns=None, fate=None,
        )  # fmt: skip
        if by_hand and job.group_id is not None:
            old = self.groups[job.group_id]
            failed = old.failed - (job.fate == "failed")
            self.groups[job.group_id] = Counted(old.unended + 1, failed, None)
        self.events.append((job.id, "retry"))
        return True

    def change(self, job_id: str, what: str, now: int) -> bool:
        """Hold, release, move, run again by hand, stop in the queue, meet."""
        job = self.jobs.get(job_id)
        if what == "by hand":
            is_over = job is not None and job.state is State.ENDED
            return is_over and job is not None and self.retry(job, by_hand=True)
        if what == "retry group":
            jobs = self.members(job.group_id if job else None) or ([job] if job else [])
            again = [other for other in jobs if other.state is State.ENDED]
            ids = {other.id for other in again}
            for other in again:
                self.retry(other, by_hand=True)
                unmet = self.after[other.id]
                unmet += [n for n in self.needs[other.id] if n[0] in ids and n not in unmet]
            return bool(again)
        if what == "meet":
            for after in self.after.values():
                after[:] = [
                    (on_id, kind) for on_id, kind in after if (on_id, kind) != (job_id, "ok")
                ]
            return True
        if job is None or job.state is not State.QUEUED:
            return False
        changes: dict[str, dict[str, object]] = {
            "hold": {"held_by_uid": now},
            "release": {"held_by_uid": None},
            "move": {"queue": "other", "rank": -now, "priority": now % 3},
            "finish": {"state": State.ENDED, "ended_ns": now, "reason": "stopped", "result": b"q",
                       "fate": "failed"},
            "skip": {"state": State.ENDED, "ended_ns": now, "reason": "dependency", "result": b"q",
                     "fate": self.fate(job)},
            "update": {"spec": b"own"},
        }  # fmt: skip
        self.jobs[job_id] = msgspec.structs.replace(job, **changes[what])
        self.events.append((job_id, "finish" if what == "skip" else what))
        if what in {"finish", "skip"}:
            self.moved(self.jobs[job_id], now)
        return True

    def fate(self, job: Job) -> str:
        """Of a job that never starts, because of what it was to come after."""
        others = {other.id: other for other in self.members(job.group_id)}
        unmet = [others[on_id] for on_id, _ in self.after[job.id] if on_id in others]
        is_why = any(other.state is State.ENDED and other.fate != "ok" for other in unmet)
        return "skipped" if is_why else "failed"

    def counts(self, group_id: str) -> GroupCounts:
        jobs = self.members(group_id)
        found = [job.state.value if job.fate is None else job.fate for job in jobs]
        return GroupCounts(*(found.count(name) for name in GroupCounts._fields))

    def waiting(self) -> list[Waiting]:
        return [
            Waiting(
                job.id, job.submitted_by_uid, job.queue, job.priority,
                job.seq * RANK_STEP if job.rank is None else job.rank,
                is_held=job.held_by_uid is not None, group=job.group_id,
                group_cap=None if job.group_id is None else 2,
                after=tuple(Dependency(*after) for after in sorted(self.after[job.id])),  # type: ignore[arg-type]
            )
            for job in sorted(self.jobs.values(), key=lambda job: job.seq)
            if job.state is State.QUEUED
        ]  # fmt: skip

    def remove(self, job_id: str) -> bool:
        if job_id not in self.jobs or self.jobs[job_id].state is not State.ENDED:
            return False
        job = self.jobs.pop(job_id)
        self.events.append((job_id, "remove"))
        if job.group_id is not None and not self.members(job.group_id):
            del self.groups[job.group_id]
        return True


def is_ok(now: int) -> bool:
    """How the job ends that ends at that time."""
    return bool(now % 3)


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
                kept.mark_ended(job_id, now, "exit", b"r", is_ok=is_ok(now))
            case Event.RETRY:
                kept.mark_retried(job_id, now, ended_ns=now, reason="oom", result=b"r")
            case None:
                kept.delete(job_id, now, 0)
    except (ImpossibleTransition, NoSuchJobError, JobActiveError):
        return False
    return True


def with_its_group(kept: Store, job_id: str) -> list[str]:
    job = kept.get(job_id)
    states = kept.member_states(job.group_id) if job is not None and job.group_id else []
    return [each for each, _ in states] or [job_id]


def apply_change(kept: Store, job_id: str, what: str, now: int) -> bool:  # noqa: C901 - one of each
    try:
        match what:
            case "hold":
                kept.change_queued(job_id, now, "hold", 0, held_by_uid=now)
            case "release":
                kept.change_queued(job_id, now, "release", 0, held_by_uid=None)
            case "move":
                kept.change_queued(
                    job_id, now, "move", 0, queue="other", rank=-now, priority=now % 3
                )
            case "finish":
                return kept.end_queued([(job_id, "stopped", b"q")], now) == [job_id]
            case "skip":
                return kept.end_queued([(job_id, "dependency", b"q")], now) == [job_id]
            case "update":
                kept.update(job_id, now, b"own", None, {})
            case "retry group":
                return bool(kept.mark_retried_many(with_its_group(kept, job_id), now, 0))
            case "meet":
                kept.meet_many([(job_id, "ok")])
            case "by hand":
                kept.mark_retried(job_id, now, by_uid=0)
    except (ImpossibleTransition, NoSuchJobError, NotUpdatableError):
        return False
    return True


def assert_remembered(kept: Store) -> None:
    """What the store has in memory of jobs is what it would read."""
    going = []
    for job_id in IDS:
        read = kept._read(job_id)
        assert kept._recent.get(job_id) in {None, read}
        assert kept.get(job_id) == read
        if read is not None and read.state in LAUNCHED:
            going.append(read)
    for uid in range(3):
        own = [job.id for job in going if job.submitted_by_uid == uid]
        assert sorted(kept.launched_of(uid)) == own


def assert_equal(kept: Store, model: Model) -> None:
    newest_first = sorted(model.jobs.values(), key=lambda job: -job.seq)
    active = [job for job in reversed(newest_first) if job.state is not State.ENDED]
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
        events = [(event.job_id, event.kind) for event in kept.events_since(0, 1000, uid)]
        # Also of those that were removed.
        assert events == [e for e in model.events if uid in {None, model.submitters[e[0]]}]
    assert kept.waiting() == model.waiting()
    for group_id, members in GROUPS.items():
        group = kept.group(group_id)
        counted = group and Counted(group.unended, group.failed, group.ended_ns)
        assert counted == model.groups.get(group_id)
        assert kept.group_counts(group_id) == model.counts(group_id)
        there = [job_id for job_id in members if job_id in model.jobs]
        assert [job.id for job in kept.members(group_id, -1, 10)[0]] == there
        hooks = "SELECT count(*) FROM hooks WHERE owner_id = ?"
        assert kept._db.execute(hooks, (group_id,)).fetchone() == (int(group is not None),)
    assert kept.labels(model.jobs) == {job_id: model.labels[job_id] for job_id in model.jobs}
    for job in newest_first:
        assert [kept.queued_of(job.submitted_by_uid), job] == [
            sum(waiting.uid == job.submitted_by_uid for waiting in model.waiting()),
            kept.keyed(job.submitted_by_uid, job.idempotency_key or ""),
        ]
        earlier = [(attempt.attempt, attempt.reason) for attempt in kept.attempts(job.id)]
        assert earlier == model.attempts[job.id]
        assert kept.ended.total(job.submitted_by_uid).jobs == sum(
            other.state is State.ENDED and other.submitted_by_uid == job.submitted_by_uid
            for other in newest_first
        )


IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(9)]
# The others are jobs by themselves.
GROUPS = {"aaaaaaaa-0000-4000-8000-000000000000": IDS[4:7],
          "bbbbbbbb-0000-4000-8000-000000000000": IDS[7:]}  # fmt: skip
CHANGES = [
    "hold", "release", "move", "finish", "skip", "update", "meet", "by hand", "retry group",
]  # fmt: skip
WHATS = ["insert", "insert", "reopen", None, *Event, *Event, *(f"!{what}" for what in CHANGES)]
steps = st.lists(
    st.tuples(st.sampled_from(WHATS), st.sampled_from(IDS)),
    max_size=40,
)


def a_group(group_id: str, ids: list[str], now: int) -> tuple[NewGroup, list[NewJob]]:
    """Each of its jobs comes after the one before; the first has a spec of its own."""
    new = NewGroup(
        id=group_id, submitted_by_uid=now % 3, kind="flow", name=None, submitted_ns=now,
        max_running=2, idempotency_key=None, digest=b"d", about=b"a", spec=b"shared",
        hooks=(NewHook(("ended",), b"t"),),
    )  # fmt: skip
    jobs = [
        NewJob(
            id=job_id, submitted_by_uid=now % 3, uid=now, gid=now, name=None, submitted_ns=now,
            spec=b"" if number else b"own", group_id=group_id, member=number,
            after=((ids[number - 1], "ok"),) if number else (), idempotency_key=f"key-{job_id}",
        )
        for number, job_id in enumerate(ids)
    ]  # fmt: skip
    return new, jobs


def opened(path: str) -> Store:
    kept = Store.open(path)
    # Whoever would see to it that what waits for a commit gets one never does.
    kept.on_deferred = lambda: None
    return kept


@pytest.fixture(autouse=True)
def _never_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        store_commits, "_SYNCHRONOUS", dict.fromkeys((False, True), "PRAGMA synchronous = OFF")
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_any_walk_over_the_store_ends_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str | None, str]]
) -> None:
    path = str(tmp_path_factory.mktemp("walk") / "db")
    kept, model = opened(path), Model()
    seen: set[str] = set()
    for now, (what, job_id) in enumerate(steps, start=1):
        if what == "insert":
            group_id = next((g for g, ids in GROUPS.items() if job_id in ids), None)
            if group_id is not None and job_id not in seen:
                seen.update(GROUPS[group_id])
                parts = a_group(group_id, GROUPS[group_id], now)
                kept.insert_group(*parts)
                model.insert_group(*parts)
            elif job_id not in seen:
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
                    idempotency_key=f"key-{job_id}",
                    labels={"a": str(now % 2)} if now % 3 else {},
                    after=tuple((other, "ok") for other in sorted(seen - {job_id})[:2]),
                )
                is_alone = not (new.labels or new.after)
                launch = Launch(now, "boot") if is_alone and now % 2 else None
                kept.insert(new, launch=launch)
                model.insert(new, launch)
        elif what == "reopen":
            kept.close()
            kept = opened(path)
        elif what is not None and what.startswith("!"):
            expected = model.change(job_id, what[1:], now)
            assert apply_change(kept, job_id, what[1:], now) == expected
        else:
            event = None if what is None else Event(what)
            expected = model.advance(job_id, event, now) if event else model.remove(job_id)
            assert apply(kept, job_id, event, now) == expected
        if what is not Event.STARTED:
            assert_remembered(kept)
    assert_equal(kept, model)
    kept.close()
    kept = opened(path)
    assert_equal(kept, model)
    kept.close()
