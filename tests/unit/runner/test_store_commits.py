"""What is on disk when: any walk over the store, cut off where a power cut may cut it off."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import reconcile, store_commits
from runner.lifecycle import State
from runner.rows import Launch, NewHook
from runner.store import Store
from runner.store_commits import MOST_UNSYNCED
from runner.store_file import StoreError
from runner.torn_log import damage_of_log
from tests.unit.runner.test_salvage import Host, new_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.rows import Job, StoredEvent

FRAME = 24 + 4096
RESULT = b"\x81\xa7version\x01"


class Commit(NamedTuple):
    """How long the log was after it, and whether it was on disk when it returned."""

    log_bytes: int
    is_synced: bool


class Life:
    """What a daemon commits and tells and its monitors leave, until the power is cut.

    `promised` is how each job is, `heard` how it was when somebody could hear of it last: all that
    is promised may have to be settled first, and nothing is launched before.
    """

    def __init__(self, base: Path, *, is_shared: bool) -> None:
        self.host = Host(base)
        self.store = self.host.open()
        self.store.on_deferred = lambda: None
        # The log alone grows, so that a commit is a length of it.
        self.store._db.execute("PRAGMA wal_autocheckpoint = 0")
        self.store._db.execute("PRAGMA synchronous = OFF")
        self.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.commits: list[Commit] = [Commit(0, is_synced=True)]
        self.promised: dict[str, Job | None] = {}
        self.heard: dict[str, Job | None] = {}
        self.begun: dict[str, int] = {}
        self.told: list[StoredEvent] = []
        self.now = 10
        self.store.on_events = self._on_commit
        if is_shared:
            self.store.share_syncs(lambda: None)

    @property
    def log(self) -> str:
        return f"{self.host.path}-wal"

    def _on_commit(self, _newest: object) -> None:
        self.commits.append(Commit(os.stat(self.log).st_size, self.store._unsynced == 0))

    def act(self, chance: random.Random) -> str:
        """Something that is possible now, with a new job or any other; what it was."""
        what = self._act(chance)
        if chance.random() < 0.1:
            self._settle()
        if self.store.is_settled:
            self.heard = dict(self.promised)
        return what

    def _settle(self) -> None:
        if not self.store.is_settled:
            self.store.settle()
            self._synced()

    def _synced(self) -> None:
        self.commits[-1] = self.commits[-1]._replace(is_synced=self.store._unsynced == 0)

    def _act(self, chance: random.Random) -> str:
        self.now += 1
        ids = [job_id for job_id, job in self.promised.items() if job is not None]
        number = chance.randrange(len(ids) + 1)
        if number == len(ids):
            launch = Launch(self.now, "boot") if chance.random() < 0.5 else None
            self._promise(self.store.insert(new_job(len(self.promised)), launch=launch))
            return "submit"
        what = chance.choice(POSSIBLE[self._now(ids[number]).state])
        getattr(self, f"_{what}")(ids[number])
        # To read is to commit what waits for it.
        if chance.random() < 0.5:
            for job_id in ids:
                assert self.store.get(job_id) == self.store._read(job_id)
        return what

    def _promise(self, job: Job) -> None:
        self.promised[job.id] = job

    def _launch(self, job_id: str) -> None:
        self._settle()
        job = self.store.mark_starting(job_id, self.now, "boot")
        self.host.directories.create(job_id, b"spec", job.attempt).close()

    def _begin(self, job_id: str) -> None:
        """As the monitor does: it has put its log on the disk before the command is executed.

        But not where the launch is there since the submission, if the directory is.
        """
        self._settle()
        attempt = self._attempt(job_id)
        self.begun[job_id] = attempt
        if self._now(job_id).at_once:
            return
        log = self.host.directories.log_path(job_id, attempt)
        with open(f"{log}/00000000000000000000.log", "ab"):
            pass

    def _started(self, job_id: str) -> None:
        self._begin(job_id)
        self.store.mark_running(job_id, 77, self.now, b"limits")

    def _requeue(self, job_id: str) -> None:
        if self.begun.get(job_id) != self._attempt(job_id):
            self.store.mark_requeued(job_id, self.now)

    def _pause(self, job_id: str) -> None:
        self.store.mark_paused(job_id, self.now, 0)

    def _resume(self, job_id: str) -> None:
        self.store.mark_resumed(job_id, self.now, 0)

    def _end(self, job_id: str) -> None:
        ended = self.store.mark_ended(
            job_id, self.now, "exit", RESULT, is_ok=True, started_ns=self.now - 1
        )
        self._promise(ended)

    def _stop(self, job_id: str) -> None:
        assert self.store.end_queued([(job_id, "stopped", RESULT)], self.now) == [job_id]
        self._promise(self._now(job_id))

    def _hold(self, job_id: str) -> None:
        self._promise(self.store.change_queued(job_id, self.now, "hold", 0, held_by_uid=self.now))

    def _move(self, job_id: str) -> None:
        others = {other: self.now for other in self.promised if other != job_id}
        self.store.change_queued(job_id, self.now, "move", 0, others=others, rank=-self.now)
        for other, job in self.promised.items():
            if job is not None and self._now(other).state is State.QUEUED:
                self._promise(self._now(other))

    def _retry(self, job_id: str) -> None:
        values: dict[str, Any] = {"ended_ns": self.now, "reason": "oom", "result": RESULT}
        self._promise(self.store.mark_retried(job_id, self.now, **values))

    def _again(self, job_id: str) -> None:
        self._promise(self.store.mark_retried(job_id, self.now, by_uid=0))

    def _measure(self, job_id: str) -> None:
        self.store.measure({job_id: self.now})

    def _remove(self, job_id: str) -> None:
        self.store.delete(job_id, self.now, 0)
        self.promised[job_id] = None

    def _follow(self, _: str) -> None:
        seen = self.told[-1].seq if self.told else 0
        self.told += self.store.events_since(seen, 1000)
        self._synced()

    def _attempt(self, job_id: str) -> int:
        return self._now(job_id).attempt

    def _now(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    def cut(self, chance: random.Random) -> Host:
        """The disk as a power cut leaves it, at any commit since the last that was synced."""
        last = max(n for n, commit in enumerate(self.commits) if commit.is_synced)
        size = chance.choice(self.commits[last:]).log_bytes
        with open(self.log, "rb") as file:
            log = file.read()
        self.store.on_events = None
        # As it would be without the checkpoint of an orderly end.
        shutil.copyfile(self.host.path, f"{self.host.path}.kept")
        self.store.close()
        os.rename(f"{self.host.path}.kept", self.host.path)
        # Later pages may have been written before earlier ones.
        is_torn = len(log) > size and chance.random() < 0.5
        rest = bytes(FRAME) + log[size + FRAME :] if is_torn else b""
        with open(self.log, "wb") as file:
            file.write(log[:size] + rest)
        return self.host


POSSIBLE = {
    State.QUEUED: ("launch", "launch", "launch", "follow", "hold", "move", "stop"),
    State.STARTING: ("begin", "started", "started", "requeue", "end", "retry", "follow"),
    State.RUNNING: ("end", "end", "retry", "pause", "follow"),
    State.PAUSED: ("resume", "end", "follow"),
    State.ENDED: ("measure", "again", "remove", "follow"),
}
# What somebody hears of.
TOLD = ("submit", "end", "stop", "hold", "move", "retry", "again", "remove", "follow")


@settings(max_examples=90, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    last=st.sampled_from((*TOLD, "begin", "started")),
    is_shared=st.booleans(),
)
def test_a_power_cut_takes_nothing_that_was_promised_and_runs_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int, last: str, *, is_shared: bool
) -> None:
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        # What is synced is counted; the disk is not waited for.
        off = dict.fromkeys((False, True), "PRAGMA synchronous = OFF")
        patch.setattr(store_commits, "_SYNCHRONOUS", off)
        life = Life(tmp_path_factory.mktemp("life"), is_shared=is_shared)
        for _ in range(chance.randrange(20)):
            life.act(chance)
        while life.act(chance) != last:
            pass
        host = life.cut(chance)
    assert damage_of_log(life.log, time.time_ns() + 10**12) is None
    with contextlib.closing(host.open()) as store:
        for job_id, heard in life.heard.items():
            check_promise(store.get(job_id), heard)
        told = {event.seq: event for event in life.told}
        stored = {event.seq: event for event in store.events_since(0, 10_000)}
        assert {seq: stored.get(seq) for seq in told} == told
        check_begun(life, host, store)
    host.directories.close()


def check_promise(job: Job | None, promised: Job | None) -> None:
    """Whether it is as somebody was told that it is, or went on from there."""
    if promised is None:
        assert job is None
        return
    assert job is not None
    assert (job.attempt, job.spec) == (promised.attempt, promised.spec)
    if State.ENDED is promised.state:
        assert job == msgspec.structs.replace(promised, disk_bytes=job.disk_bytes)
    elif job.state is State.QUEUED:
        at = {"boot_id": job.boot_id, "at_once": job.at_once, "state": State.QUEUED}
        assert job == msgspec.structs.replace(promised, **at)
    elif job.state is not State.ENDED:
        assert job.submitted_ns == promised.submitted_ns


def check_begun(life: Life, host: Host, store: Store) -> None:
    """Nothing that may have run is queued, or would be; what is known not to have is not lost."""
    queued = {waiting.id for waiting in store.waiting()}
    for job_id, attempt in life.begun.items():
        job = store.get(job_id)
        assert job_id not in queued or (job is not None and job.attempt > attempt)
        # Who has run something is known, unless it is removed.
        assert job is not None or life.promised[job_id] is None
    for job in store.launched():
        facts = reconcile.examine(job, host.tree, host.directories)
        verdict = reconcile.judge(job.state, facts)
        is_begun = life.begun.get(job.id) == job.attempt
        # Of one whose launch is part of its submission nobody knows.
        if is_begun or job.at_once:
            assert verdict is reconcile.Verdict.LOST
        elif job.state is State.STARTING:
            assert verdict is reconcile.Verdict.REQUEUE


# Which commits are synced, one by one


class Followed:
    """A store, and whether each of its commits was made in synchronous=FULL."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(str(path))
        self.full: list[bool] = []
        self._is_full = True
        self.store._db.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        if statement.startswith("PRAGMA synchronous"):
            self._is_full = statement.endswith("FULL")
        elif statement == "COMMIT":
            self.full.append(self._is_full)

    def made(self) -> list[bool]:
        (found,), self.full = [self.full], []
        return found


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    made = Followed(tmp_path / "db")
    yield made
    made.store.close()


def test_a_job_waits_for_the_disk_when_it_is_submitted_and_when_it_ends(followed: Followed) -> None:
    store = followed.store
    job = store.insert(new_job(0))
    assert followed.made() == [True]
    store.mark_starting(job.id, 1, "boot")
    store.mark_running(job.id, 7, 2, None)
    store.mark_paused(job.id, 3, 0)
    store.mark_resumed(job.id, 4, 0)
    assert followed.made() == [False] * 4
    (mode,) = store._db.execute("PRAGMA synchronous").fetchone()
    assert mode == 1
    store.mark_ended(job.id, 5, "exit", RESULT, is_ok=True)
    assert followed.made() == [True]
    (mode,) = store._db.execute("PRAGMA synchronous").fetchone()
    assert mode == 2
    store.measure({job.id: 5})
    assert followed.made() == [False]
    store.mark_retried(job.id, 6, by_uid=0)
    store.change_queued(job.id, 7, "hold", 0, held_by_uid=0)
    store.set_queue_state("q", paused=True, max_running=None)
    store.end_queued([(job.id, "stopped", RESULT)], 8)
    store.delete(job.id, 9, 0)
    assert followed.made() == [True] * 5


def test_a_job_that_starts_when_it_is_submitted_waits_for_the_disk_twice_in_all(
    followed: Followed,
) -> None:
    store = followed.store
    store.on_deferred = lambda: None
    job = store.insert(new_job(0), launch=Launch(1, "boot"))
    assert followed.made() == [True]
    running = store.mark_running(job.id, 7, 2, b"limits")
    assert (running.state, running.limits) == (State.RUNNING, b"limits")
    assert followed.made() == []
    ended = store.mark_ended(job.id, 5, "exit", RESULT, is_ok=True)
    assert followed.made() == [True]
    assert store._read(job.id) == ended
    assert (ended.started_ns, ended.limits, ended.at_once) == (2, b"limits", 1)
    kinds = [(event.kind, event.time_ns) for event in store.events_since(0, 9)]
    assert kinds == [("submit", job.submitted_ns), ("launch", 1), ("started", 2), ("finish", 5)]


def test_that_it_runs_is_committed_before_anything_is_read(followed: Followed) -> None:
    store = followed.store
    asked: list[bool] = []
    store.on_deferred = lambda: asked.append(True)
    for number in range(2):
        store.insert(new_job(number), launch=Launch(1, "boot"))
    followed.made()
    one, two = store.launched()
    store.mark_running(one.id, 7, 2, None)
    store.mark_running(two.id, 8, 2, None)
    # Once is enough until it is committed.
    assert (asked, store.has_deferred) == ([True], True)
    page, _ = store.list_jobs(submitted_by_uid=None, include_ended=False, limit=9, before=None)
    assert [job.state for job in page] == [State.RUNNING] * 2
    assert followed.made() == [False]
    assert not store.has_deferred
    store.mark_paused(one.id, 3, 0)
    assert followed.made() == [False]


def test_that_it_runs_is_committed_at_once_while_somebody_follows_or_has_a_hook(
    followed: Followed,
) -> None:
    store = followed.store
    store.on_deferred = lambda: None
    jobs = [new_job(0), msgspec.structs.replace(new_job(1), hooks=(NewHook(("ended",), b"t"),))]
    for job in jobs:
        store.insert(job, launch=Launch(1, "boot"))
    followed.made()
    store.mark_running(jobs[1].id, 7, 2, None)
    assert followed.made() == [False]
    store.is_followed = lambda: True
    store.mark_running(jobs[0].id, 7, 2, None)
    assert followed.made() == [False]


def test_what_cannot_be_committed_yet_is_so_in_memory_and_is_committed_later(
    followed: Followed,
) -> None:
    store = followed.store
    store.on_deferred = lambda: None
    job = store.insert(new_job(0), launch=Launch(1, "boot"))
    running = store.mark_running(job.id, 7, 2, b"limits")
    store._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        store.commit_deferred()
    with pytest.raises(StoreError):
        store.mark_ended(job.id, 3, "exit", RESULT, is_ok=True)
    store._recent.clear()
    assert store.get(job.id) == running
    store._connection.execute("PRAGMA query_only = 0")
    assert store.mark_ended(job.id, 3, "exit", RESULT, is_ok=True).limits == b"limits"
    assert not store.has_deferred


def test_a_kill_before_it_is_committed_that_a_job_runs_leaves_it_starting(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(Store.open(str(path))) as store:
        store.on_deferred = lambda: None
        job = store.insert(new_job(0), launch=Launch(1, "boot"))
        store.mark_running(job.id, 7, 2, None)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", tmp_path / f"killed{suffix}")
    with contextlib.closing(Store.open(str(path))) as store:
        assert [each.state for each in store.launched()] == [State.RUNNING]
    with contextlib.closing(Store.open(str(tmp_path / "killed"))) as store:
        assert store.launched() == [job]


def test_that_another_job_has_started_is_synced_and_that_it_has_ended_is_found_out_again(
    followed: Followed,
) -> None:
    store = followed.store
    first = store.insert(new_job(0))
    for number, kind in enumerate(("started", "ok"), start=1):
        job = new_job(number)
        store.insert(msgspec.structs.replace(job, after=((first.id, kind),)))
    followed.made()
    store.meet_many([(first.id, "started")])
    assert followed.made() == [True]
    store.meet_many([(first.id, "ok")])
    assert followed.made() == [False]


def test_no_more_than_some_commits_in_a_row_go_without_their_sync(followed: Followed) -> None:
    job = followed.store.insert(new_job(0))
    followed.made()
    for number in range(MOST_UNSYNCED):
        followed.store.mark_starting(job.id, number, "boot")
        followed.store.mark_requeued(job.id, number)
    made = followed.made()
    assert made == ([False] * (MOST_UNSYNCED - 1) + [True]) * 2


def test_a_commit_of_nothing_syncs_nothing_that_was_before(followed: Followed) -> None:
    store = followed.store
    job = store.insert(new_job(0))
    store.mark_starting(job.id, 1, "boot")
    assert store.delete_ended([job.id], 2, 0) == []
    assert store._unsynced == 1


def synced(monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> list[str]:
    """The files that are synced from now on, by name."""
    found: list[str] = []

    def note(fd: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        if error is not None:
            raise error

    monkeypatch.setattr(os, "fdatasync", note)
    return found


def test_no_event_is_told_before_it_is_on_the_disk(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    store = followed.store
    job = store.insert(new_job(0))
    store.events_since(0, 10)
    assert found == []
    store.mark_starting(job.id, 1, "boot")
    assert [event.kind for event in store.events_since(0, 10)] == ["submit", "launch"]
    assert found == [f"{store.path}-wal"]
    store.newest_event()
    assert len(found) == 1


def test_an_event_that_cannot_be_synced_is_not_told(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced(monkeypatch, OSError(5, "Input/output error"))
    job = followed.store.insert(new_job(0))
    followed.store.mark_starting(job.id, 1, "boot")
    for _ in range(2):
        with pytest.raises(StoreError, match="-wal: cannot be synced: Input/output error; look"):
            followed.store.events_since(0, 10)


# What is promised, and shares a sync


class Sharing:
    """A store whose promises are seen to, and when it was said that there are any."""

    def __init__(self, followed: Followed) -> None:
        self.store, self.made = followed.store, followed.made
        self.said = 0
        self.store.share_syncs(self._say)

    def _say(self) -> None:
        assert not self.store.is_settled
        self.said += 1

    def submit(self, number: int) -> Job:
        return self.store.insert(new_job(number))

    def end(self, job: Job) -> None:
        self.store.mark_ended(job.id, 5, "exit", RESULT, is_ok=True)


@pytest.fixture
def sharing(followed: Followed) -> Sharing:
    return Sharing(followed)


def test_submissions_and_ends_share_a_sync_where_somebody_sees_to_it(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    store = sharing.store
    one, two = sharing.submit(0), sharing.submit(1)
    store.mark_starting(one.id, 1, "boot")
    sharing.end(one)
    sharing.end(two)
    assert sharing.made() == [False] * 5
    assert (sharing.said, found) == (4, [])
    store.settle()
    assert (store.is_settled, found) == (True, [f"{store.path}-wal"])
    store.settle()
    store.sync()
    assert len(found) == 1
    sharing.submit(2)
    assert (store.is_settled, sharing.said) == (False, 5)


def test_nothing_but_submissions_and_ends_shares_it_and_any_other_settles_them(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    store = sharing.store
    job = sharing.submit(0)
    store.measure({job.id: 1})
    assert not store.is_settled
    # Nothing is written, so nothing is synced.
    assert store.delete_ended([job.id], 2, 0) == []
    assert not store.is_settled
    sharing.made()
    # With a sync of ours: it tells of what was written before, too.
    store.set_queue_state("q", paused=True, max_running=None)
    assert (store.is_settled, sharing.made(), len(found)) == (True, [False], 1)
    # Nothing was before: with SQLite's.
    store.set_queue_state("q", paused=False, max_running=None)
    assert (store.is_settled, sharing.made(), len(found)) == (True, [True], 1)
    sharing.end(job)
    assert not store.is_settled
    store.events_since(0, 9)
    assert store.is_settled


def test_nobody_is_told_to_see_to_what_was_never_promised(sharing: Sharing) -> None:
    store = sharing.store
    job = sharing.submit(0)
    store.settle()
    store.mark_starting(job.id, 1, "boot")
    store.mark_requeued(job.id, 1)
    assert (store.is_settled, sharing.said) == (True, 1)


def test_of_what_is_promised_no_more_in_a_row_go_without_their_sync_either(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    for number in range(MOST_UNSYNCED - 1):
        sharing.submit(number)
    assert not sharing.store.is_settled
    sharing.submit(MOST_UNSYNCED)
    assert sharing.store.is_settled
    assert found == [f"{sharing.store.path}-wal"]


def test_an_error_that_a_checkpoint_kept_to_itself_is_found_by_the_next_commit_in_full(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's descriptor was told, once, and says nothing any more; ours still does."""
    store = sharing.store
    sharing.submit(0)
    with monkeypatch.context() as failing:
        synced(failing, OSError(5, "Input/output error"))
        with pytest.raises(StoreError, match="cannot be synced"):
            store.set_queue_state("q", paused=True, max_running=None)
    assert not store.is_settled


def test_what_a_daemon_that_was_killed_has_promised_is_synced_before_anybody_hears_of_it(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    followed.store.share_syncs(lambda: None)
    assert found == [f"{followed.store.path}-wal"]


def test_when_nobody_sees_to_it_any_more_each_is_synced(sharing: Sharing) -> None:
    sharing.store.share_syncs(None)
    sharing.submit(0)
    assert (sharing.store.is_settled, sharing.made(), sharing.said) == (True, [True], 0)


def test_what_cannot_be_committed_is_promised_to_nobody(sharing: Sharing) -> None:
    sharing.store._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        sharing.submit(0)
    assert (sharing.store.is_settled, sharing.said) == (True, 0)


@pytest.mark.parametrize("how", ["settle", "events"])
def test_a_sync_that_failed_is_never_made_good(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The kernel may have dropped what it could not write: the next sync would tell nothing."""
    store = sharing.store
    job = sharing.submit(0)
    acts = {"settle": store.settle, "events": store.newest_event}
    if how == "events":
        store.settle()
        store.mark_starting(job.id, 1, "boot")
    with monkeypatch.context() as failing:
        synced(failing, OSError(5, "Input/output error"))
        with pytest.raises(StoreError, match="-wal: cannot be synced: Input/output error; look"):
            acts[how]()
    assert (store.is_settled, sharing.said) == (False, 2)
    # Not by a commit in FULL, and not by another sync.
    commit = partial(store.set_queue_state, "q", paused=True, max_running=None)
    for act in (commit, store.settle, store.sync):
        with pytest.raises(StoreError, match="cannot be synced"):
            act()
    assert not store.is_settled


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_sync_that_failed_in_sqlite_is_one_where_something_waited_for_it(
    sharing: Sharing, *, is_alone: bool
) -> None:
    store = sharing.store
    job = sharing.submit(0)
    if is_alone:
        store.settle()
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    with pytest.raises(StoreError, match="disk I/O error"), store._transaction():
        raise failed
    assert store.get(job.id) == job
    # Alone it was refused, and that is all.
    assert store.is_settled is is_alone
    if not is_alone:
        with pytest.raises(StoreError, match="disk I/O error"):
            store.settle()


def test_a_log_that_cannot_be_opened_is_found_out_before_anything_is_promised(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(os, "open", refuse)
        with pytest.raises(StoreError, match="-wal: cannot be opened: Too many open files"):
            followed.store.share_syncs(lambda: None)
    followed.store.insert(new_job(0))
    assert followed.made() == [True]


def test_the_log_that_is_synced_is_the_one_that_is_written_after_checkpoints_too(
    sharing: Sharing,
) -> None:
    store = sharing.store
    for number, mode in enumerate(("PASSIVE", "RESTART", "TRUNCATE")):
        sharing.submit(number)
        store.settle()
        store._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        # Another that opens it and goes away takes nothing with it.
        with contextlib.closing(sqlite3.connect(store.path)) as other:
            other.execute("SELECT count(*) FROM jobs").fetchall()
        assert os.fstat(store._log_fd) == os.stat(f"{store.path}-wal")


def test_a_sync_of_the_log_takes_no_lock_away_from_sqlite(followed: Followed) -> None:
    """A process that closes a file loses its locks on it (fcntl(2)): not on this one."""
    store = followed.store
    job = store.insert(new_job(0))
    store.mark_starting(job.id, 1, "boot")
    store.sync()
    reader = sqlite3.connect(store.path)
    reader.execute("SELECT count(*) FROM jobs").fetchall()
    reader.close()
    # The last to close removes the log: the other was not it.
    assert os.path.exists(f"{store.path}-wal")
    store.mark_running(job.id, 7, 2, None)
    values: dict[str, Any] = {"is_ok": True}
    assert store.mark_ended(job.id, 3, "exit", RESULT, **values).state is State.ENDED


def test_what_waits_for_a_commit_that_cannot_be_made_counts_all_the_same(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = followed.store
    store.on_deferred = lambda: None
    new = new_job(0)
    store.insert(new, launch=Launch(2, "boot"))
    store.mark_running(new.id, 10, 3, None)
    store._recent.clear()
    commit = store.commit_deferred

    def fail() -> None:
        monkeypatch.setattr(store, "commit_deferred", commit)
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "commit_deferred", fail)
    store.mark_ended(new.id, 5, "exit", RESULT, is_ok=True, started_ns=3)
    assert {state: count for state, count in store.counts().items() if count} == {State.ENDED: 1}
    kinds = [event.kind for event in store.events_since(0, 9)]
    assert kinds == ["submit", "launch", "started", "finish"]
