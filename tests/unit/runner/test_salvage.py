"""A store that the disk garbled: it opens all the same, and what could be read is in it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.cgroups.tree import CgroupTree
from runner import messages, parsing, salvage, salvaged_rows, schema, soundness, spec
from runner.config import Config
from runner.group_rows import About, Group, NewGroup
from runner.jobdirs import JobDirectories
from runner.lifecycle import State
from runner.migrations import APPLICATION_ID, SCRIPTS
from runner.problems import Problems
from runner.rows import Job, NewHook, NewJob
from runner.store import Store, StoreError
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOBS = 60
NEVER = "ffff0000-0000-4000-8000-000000000000"
ACCOUNT = Account(1000, 1000, (), "alice")


class Host:
    """A state directory, and the place of its cgroups."""

    def __init__(self, base: Path) -> None:
        self.state = base / "state"
        self.directories = JobDirectories(str(self.state))
        (base / "cgroup").mkdir(exist_ok=True)
        self.tree = CgroupTree(str(base / "cgroup"))
        self.path = self.state / "runnerd.sqlite3"
        self.problems = Problems()

    def open(self) -> Store:
        self.problems = Problems()
        return salvage.open_store(str(self.path), self.directories, self.tree, self.problems)

    @property
    def of_the_store(self) -> list[str]:
        """What was said that is not about a single job."""
        return [problem.text for problem in self.problems.all() if problem.job is None]

    @property
    def said(self) -> str:
        return "\n".join(problem.text for problem in self.problems.all())

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.state) if name != "jobs")

    def sql(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                db.execute(statement)


def new_job(number: int, size: int = 0) -> NewJob:
    job_id = str(uuid.UUID(int=number + 2**100))
    args = {"argv": ["echo", "x" * size], "cwd": "/", "name": f"job-{number}"}
    request = parsing.parse(messages.Submit, args)
    packed = spec.pack(spec.build(job_id, request, ACCOUNT, Config()))
    after = ((str(uuid.UUID(int=number + 2**100 - 1)), "ok"), (NEVER, "any")) if number % 3 else ()
    return NewJob(id=job_id, submitted_by_uid=1000, uid=1000, gid=1000, name=f"job-{number}",
                  spec=packed, submitted_ns=number, queue="night", priority=number % 2001 - 1000,
                  labels={"team": "a", "n": str(number)}, after=after,
                  idempotency_key=f"key-{number}")  # fmt: skip


def fill(store: Store, count: int) -> dict[str, Job]:
    """Jobs of which the first three quarters have ended, by their ids."""
    for number in range(count):
        job = store.insert(new_job(number, random.Random(number).randrange(9000)))
        if number < count * 3 // 4:
            store.mark_ended(job.id, number, "exit", b"\x81\xa7version\x01", is_ok=True)
    return jobs_of(store)


def put_group(store: Store, number: int, count: int, *, own: bool = True) -> Group:
    """A group of which the first job has failed, with a spec of its own or not."""
    group_id = str(uuid.UUID(int=number + 2**100))
    job = new_job(number)
    hooks = (NewHook(("ended",), b"template"),)
    about = msgspec.msgpack.encode(About(ranges=[(0, count - 1, 1)]))
    new = NewGroup(
        id=group_id, submitted_by_uid=1000, kind="array", name="g", submitted_ns=7, max_running=2,
        idempotency_key="k", digest=b"d", about=about, spec=job.spec, hooks=hooks,
    )  # fmt: skip
    members = [
        msgspec.structs.replace(
            new_job(number + 1 + n), spec=b"", group_id=group_id, member=n, after=(), hooks=(),
        )
        for n in range(count)
    ]  # fmt: skip
    store.insert_group(new, members)
    if own:
        store.update(members[0].id, 8, new_job(number + 1).spec, None, {})
    store.mark_ended(members[0].id, 9, "exit", b"\x81\xa7version\x01", is_ok=False)
    return group_of(store, group_id)


def group_of(store: Store, group_id: str) -> Group:
    found = store.group(group_id)
    assert found is not None
    return found


def members_of(store: Store, group: Group) -> list[Job]:
    return store.members(group.id, -1, 100)[0]


def jobs_of(store: Store) -> dict[str, Job]:
    found: dict[str, Job] = {}
    before = None
    while True:
        page, before = store.list_jobs(
            submitted_by_uid=None, include_ended=True, limit=1000, before=before
        )
        found |= {job.id: job for job in page}
        if before is None:
            return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.directories.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Job]]:
    """A state directory with jobs, closed well, and one as a kill left it is beside it."""
    base = tmp_path_factory.mktemp("filled")
    made = Host(base)
    store = made.open()
    fill(store, JOBS - 6)
    put_group(store, 900, 6, own=False)
    jobs = jobs_of(store)
    shutil.copytree(made.state, base / "killed")
    store.close()
    made.directories.close()
    return base, jobs


def test_a_sound_store_is_opened_and_nothing_is_said(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    before = host.path.read_bytes()
    assert soundness.damage_of(str(host.path)) is None
    assert host.path.read_bytes() == before
    with contextlib.closing(host.open()) as store:
        assert jobs_of(store) == jobs
    assert host.problems.all() == []
    assert host.names() == ["runnerd.sqlite3"]


def test_every_column_of_the_tables_has_a_word_on_what_is_sound(host: Host) -> None:
    host.open().close()
    with contextlib.closing(soundness.connect_reading(str(host.path))) as db:
        tables = (*soundness.TABLES, *soundness.ATTACHED, soundness.QUEUES, *soundness.SCHEDULES,
                  *soundness.GROUPS, soundness.HOOKS, soundness.HOOK_CALLS)  # fmt: skip
        assert {*tables, "sqlite_sequence"} == {
            name for name, thing in schema.things(db).items() if thing.kind == "table"
        } | {"sqlite_sequence"}
        for table in tables:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            assert list(soundness.checks(db, table)) == columns


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: random.Random(5).randbytes(len(data)),
    "a program": lambda data: b"\x7fELF" + data[4:],
    "its header": lambda data: random.Random(6).randbytes(100) + data[100:],
    "its first page": lambda data: random.Random(7).randbytes(4096) + data[4096:],
    "half of it": lambda data: data[: len(data) // 2],
    "within a page": lambda data: data[: len(data) // 3 + 1001],
    "a hole": lambda data: data[:20000] + bytes(20000) + data[40000:],
    "another's number": lambda data: data[:68] + b"\0\1\2\3" + data[72:],
    "no version": lambda data: data[:60] + bytes(4) + data[64:],
    "an impossible version": lambda data: data[:60] + b"\x7f\0\0\0" + data[64:],
    "an earlier version": lambda data: data[:60] + b"\0\0\0\1" + data[64:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_became_of_the_file_the_store_opens(
    kind: str, host: Host, filled: tuple[Path, dict[str, Job]]
) -> None:
    base, jobs = filled
    data = DAMAGE[kind]((base / "state" / "runnerd.sqlite3").read_bytes())
    host.path.write_bytes(data)
    with contextlib.closing(host.open()) as store:
        found = jobs_of(store)
        assert_only_truth(found, jobs)
        if kind in {"a program", "its header", "another's number", "no version",
                    "an impossible version", "an earlier version", "its first page"}:  # fmt: skip
            assert found == jobs
        if kind in {"half of it", "a hole", "within a page"}:
            assert len(found) > JOBS // 4
        store.insert(new_job(10_000))
    if kind == "empty":
        # As on the first start.
        assert host.names() == ["runnerd.sqlite3"]
        assert host.problems.all() == []
        return
    (kept,) = [name for name in host.names() if "damaged" in name]
    assert (host.state / kept).read_bytes() == data
    assert f"{len(found)} jobs were read" in host.said or kind != "its header"
    assert kept in host.said
    with contextlib.closing(host.open()) as store:
        assert len(jobs_of(store)) == len(found) + 1
    assert host.of_the_store == []


def assert_only_truth(found: dict[str, Job], jobs: dict[str, Job]) -> None:
    """Each job as it was, or one that is looked for; none is queued that was not."""
    for job_id, job in found.items():
        if job.state is State.STARTING:
            assert job.boot_id == "unknown"
        else:
            assert job == jobs[job_id]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    places=st.integers(1, 5),
    length=st.sampled_from([1, 8, 100, 4096, 30000]),
    cut=st.booleans(),
    killed=st.booleans(),
)
def test_random_damage_costs_what_it_hits(
    tmp_path_factory: pytest.TempPathFactory,
    filled: tuple[Path, dict[str, Job]],
    seed: int,
    places: int,
    length: int,
    cut: bool,  # noqa: FBT001
    killed: bool,  # noqa: FBT001
) -> None:
    base, jobs = filled
    chance = random.Random(seed)
    place = tmp_path_factory.mktemp("damaged")
    shutil.copytree(base / ("killed" if killed else "state"), place / "state")
    host = Host(place)
    for name in host.names():
        if name.endswith(("sqlite3", "-wal")):
            damage(host.state / name, chance, places, length, cut=cut)
    try:
        with contextlib.closing(host.open()) as store:
            found = jobs_of(store)
            store.insert(new_job(10_000))
            assert store.counts()[State.QUEUED] == len(store.waiting())
        # What SQLite cannot know is a value that is garbled and still one of ours.
        wrong = [job for job_id, job in found.items() if job.state is not State.STARTING
                 and job != jobs.get(job_id)]  # fmt: skip
        assert len(wrong) <= places * (2 + length // 60) or killed
        with contextlib.closing(host.open()) as store:
            assert len(jobs_of(store)) == len(found) + 1
        assert host.of_the_store == []
    finally:
        host.directories.close()
        shutil.rmtree(place)


def damage(path: Path, chance: random.Random, places: int, length: int, *, cut: bool) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(places):
        at = chance.randrange(len(data))
        data[at : at + length] = chance.randbytes(min(length, len(data) - at))
    path.write_bytes(data[: chance.randrange(len(data))] if cut else data)


@pytest.mark.parametrize("left", [b"", None])
def test_a_log_without_its_database_gives_back_what_is_in_it(
    host: Host, left: bytes | None
) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
        log = (host.state / "runnerd.sqlite3-wal").read_bytes()
    host.path.unlink()
    if left is not None:
        host.path.write_bytes(left)
    (host.state / "runnerd.sqlite3-wal").write_bytes(log)
    with contextlib.closing(host.open()) as store:
        found = jobs_of(store)
    assert_only_truth(found, jobs)
    assert len(found) == len(jobs)
    assert "its write-ahead log is not" in host.said


ROWS = {
    "state": "UPDATE jobs SET state = 'xyz' WHERE seq = 3",
    "a state that contradicts the rest": "UPDATE jobs SET state = 'queued' WHERE seq = 3",
    "uid": "UPDATE jobs SET uid = 'root' WHERE seq = 3",
    "negative uid": "UPDATE jobs SET uid = -1 WHERE seq = 3",
    "name": "UPDATE jobs SET name = x'ff00' WHERE seq = 3",
    "result": "UPDATE jobs SET result = 'text' WHERE seq = 3",
    "time": "UPDATE jobs SET submitted_ns = 'yesterday' WHERE seq = 3",
    "no spec": "DELETE FROM specs WHERE seq = 3",
    "spec of text": "UPDATE specs SET spec = 'text' WHERE seq = 3",
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_that_cannot_be_true_is_looked_for_and_the_others_are_as_they_were(
    kind: str, host: Host
) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    (bad,) = [job for job in jobs.values() if job.seq == 3]
    host.sql(ROWS[kind])
    with contextlib.closing(host.open()) as store:
        found = jobs_of(store)
        job = found.pop(bad.id)
    assert (job.state, job.seq, job.submitted_ns in {2, 0}) == (State.STARTING, 3, True)
    assert found == {job_id: job for job_id, job in jobs.items() if job_id != bad.id}
    assert "1 of them had garbled values" in host.said


MORE_ROWS = {
    "queue": "UPDATE jobs SET queue = 'a b' WHERE seq = 3",
    "empty queue": "UPDATE jobs SET queue = '' WHERE seq = 3",
    "priority": "UPDATE jobs SET priority = 1001 WHERE seq = 3",
    "priority as text": "UPDATE jobs SET priority = 'high' WHERE seq = 3",
    "rank": "UPDATE jobs SET rank = 1.5 WHERE seq = 3",
    "a time": "UPDATE jobs SET not_before_ns = 'now' WHERE seq = 3",
    "who holds it": "UPDATE jobs SET held_by_uid = -1 WHERE seq = 3",
    "a promise": "UPDATE jobs SET reserved_millicpus = -1 WHERE seq = 3",
    "attempt": "UPDATE jobs SET attempt = 0 WHERE seq = 3",
    "attempts that contradict": "UPDATE jobs SET first_attempt = 2 WHERE seq = 3",
    "key": "UPDATE jobs SET idempotency_key = x'00' WHERE seq = 3",
}


@pytest.mark.parametrize("kind", MORE_ROWS)
def test_a_column_of_the_queue_that_cannot_be_true_is_damage(kind: str, host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    host.sql(MORE_ROWS[kind])
    with contextlib.closing(host.open()) as store:
        found = jobs_of(store)
        assert store.counts()[State.STARTING] == 1
        assert store.keyed(1000, "key-4") == jobs[new_job(4).id]
    (bad,) = [job for job in found.values() if job.state is State.STARTING]
    assert bad.seq == 3
    assert {j: job for j, job in found.items() if job != bad} == {
        j: job for j, job in jobs.items() if job.seq != 3
    }
    assert "row 3 of jobs" in host.said


def everything(store: Store) -> list[list[object]]:
    names = ("labels", "dependencies", "attempts", "queues")
    return [store._db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names]


def with_all(store: Store) -> None:
    """Queued jobs of all kinds, attempts, queues."""
    jobs = fill(store, 8)
    (first,) = [job for job in jobs.values() if job.seq == 1]
    store.mark_retried(first.id, 5, by_uid=0)
    store.mark_starting(first.id, 6, "boot")
    store.mark_running(first.id, 77, 7, b"limits")
    store.mark_retried(first.id, 8, ended_ns=8, reason="oom", result=b"why")
    store.meet_many([(NEVER, "any")])
    store.set_queue_state("night", paused=True, max_running=3)


def test_labels_dependencies_attempts_and_queues_are_copied_with_their_jobs(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        with_all(store)
        before, jobs, waiting = everything(store), jobs_of(store), store.waiting()
        events = store.events_since(0, 100, uid=1000)
    host.sql("UPDATE events SET job_id = 'x' WHERE seq = 9")
    host.path.write_bytes(bytes(100) + host.path.read_bytes()[100:])
    with contextlib.closing(host.open()) as store:
        assert everything(store) == before
        assert jobs_of(store) == jobs
        assert store.waiting() == waiting
        assert store.events_since(0, 100, uid=1000) == [e for e in events if e.seq != 9]
    assert "8 jobs were read" in host.said
    assert "queues" not in host.said


ATTACHED = {
    "labels": "UPDATE labels SET value = x'00' WHERE seq = 7 AND name = 'n'",
    "dependencies": "UPDATE dependencies SET kind = 'never' WHERE seq = 8 AND kind = 'any'",
    "a lost dependency": "DELETE FROM dependencies WHERE seq = 8 AND kind = 'any'",
    "attempts": "UPDATE attempts SET result = 'text' WHERE attempt = 1",
    "queues": "UPDATE queues SET paused = 7",
}


@pytest.mark.parametrize("kind", ATTACHED)
def test_what_hangs_on_a_job_and_cannot_be_true_is_left_out_and_no_job_runs_without_it(
    kind: str, host: Host
) -> None:
    with contextlib.closing(host.open()) as store:
        with_all(store)
        labels, _dependencies, attempts, queues = everything(store)
        waiting = store.waiting()
    host.sql(ATTACHED[kind])
    with contextlib.closing(host.open()) as store:
        now = everything(store)
        # A job that lacks what it waits for is looked for, and does not start.
        lost = [job for job in store.launched() if job.boot_id == "unknown"]
        assert [job.seq for job in lost] == ([8] if "depend" in kind else [])
        ids = {job.id for job in lost}
        assert store.waiting() == [job for job in waiting if job.id not in ids]
    assert len(labels) - len(now[0]) == (kind == "labels")
    assert len(attempts) - len(now[2]) == (kind == "attempts")
    assert now[3] == ([] if kind == "queues" else queues)
    assert ("what was set of queues is lost" in host.said) == (kind == "queues")
    assert "the store was damaged" in host.said
    host.open().close()
    assert host.of_the_store == []


def groups_and_hooks(store: Store) -> list[list[object]]:
    names = ("groups", "group_specs", "hooks", "hook_calls")
    return [store._db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names]


def test_groups_and_hooks_are_copied_with_their_jobs(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        hooks = (NewHook(("ended", "ok"), b"a"), NewHook(("started",), b"b"))
        job = store.insert(msgspec.structs.replace(new_job(7), hooks=hooks))
        store.mark_starting(job.id, 5, "boot")
        store.mark_running(job.id, 7, 5, None)
        before, jobs = groups_and_hooks(store), jobs_of(store)
        assert [len(rows) for rows in before] == [1, 1, 3, 1]
    host.path.write_bytes(bytes(100) + host.path.read_bytes()[100:])
    with contextlib.closing(host.open()) as store:
        assert groups_and_hooks(store) == before
        assert jobs_of(store) == jobs
        assert group_of(store, group.id) == group
        (numbers,) = store._db.execute(
            "SELECT count(*) FROM sqlite_sequence WHERE name IN ('groups', 'hook_calls')"
        ).fetchone()
        assert numbers == 2
    assert "5 jobs were read" in host.said
    assert "arrays or flows" not in host.said
    assert "calls of hooks" not in host.said


def open_twice(host: Host) -> Store:
    """What was found is repaired: the second start has nothing to say."""
    host.open().close()
    said = host.problems
    store = host.open()
    assert host.of_the_store == []
    host.problems = said
    return store


def test_of_a_group_whose_row_is_damaged_the_jobs_are_jobs_by_themselves(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        own, *others = members_of(store, group)
        alone = store.insert(new_job(7))
    host.sql("UPDATE groups SET digest = 'text'")
    with contextlib.closing(open_twice(host)) as store:
        found = jobs_of(store)
        assert groups_and_hooks(store) == [[], [], [], []]
    assert found.pop(alone.id) == alone
    assert found.pop(own.id) == msgspec.structs.replace(own, group_id=None, member=None)
    # Without their spec it is looked for what became of them.
    assert sorted(found) == sorted(job.id for job in others)
    for job in found.values():
        assert (job.state, job.boot_id, job.spec) == (State.STARTING, "unknown", b"")
        assert job.group_id is None
    assert "1 arrays or flows could not be read" in host.said
    assert "5 jobs were read, 3 of them had garbled values" in host.said


def test_of_a_group_whose_spec_is_damaged_the_jobs_stay_its_jobs(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        own = members_of(store, group)[0]
    host.sql("UPDATE group_specs SET spec = 'text'")
    with contextlib.closing(open_twice(host)) as store:
        now = members_of(store, group)
        assert group_of(store, group.id) == group
    assert now[0] == own
    assert [job.state for job in now[1:]] == [State.STARTING] * 3
    assert [job.spec for job in now[1:]] == [b""] * 3


@pytest.mark.parametrize("is_there", [True, False])
def test_of_a_job_of_a_group_a_garbled_spec_is_not_taken_for_none(
    host: Host, is_there: bool  # noqa: FBT001
) -> None:  # fmt: skip
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        own, *others = members_of(store, group)
    # One that is gone is that of the group, as for the others.
    host.sql("UPDATE groups SET failed = 0",
             "UPDATE specs SET spec = 'text'" if is_there else "DELETE FROM specs")  # fmt: skip
    with contextlib.closing(open_twice(host)) as store:
        now, *rest = members_of(store, group)
    assert rest == others
    if is_there:
        assert (now.state, now.spec) == (State.STARTING, b"")
    else:
        assert now == msgspec.structs.replace(own, spec=others[0].spec)


WRONG_COUNTS = {
    "unended": "unended = 7",
    "none to end": "unended = 0",
    "an end": "ended_ns = 3",
    "failed": "failed = 0",
    "first": "first_seq = 3",
    "size": "size = 1",
}


@pytest.mark.parametrize("kind", WRONG_COUNTS)
def test_counts_of_a_group_that_contradict_its_jobs_are_counted_anew(host: Host, kind: str) -> None:
    with contextlib.closing(host.open()) as store:
        store.insert(new_job(7))
        group = put_group(store, 30, 4)
        jobs = jobs_of(store)
    host.sql(f"UPDATE groups SET {WRONG_COUNTS[kind]}")
    assert "row 1 of groups contradicts its jobs" in str(soundness.damage_of(str(host.path)))
    with contextlib.closing(open_twice(host)) as store:
        assert group_of(store, group.id) == group
        assert jobs_of(store) == jobs


def test_jobs_of_a_group_that_were_removed_stay_counted_and_lost_ones_have_failed(
    host: Host,
) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        failed, *others = members_of(store, group)
        store.delete(failed.id, 10, 0)
        for job in others[:2]:
            store.mark_ended(job.id, 20, "exit", b"\x81\xa7version\x01", is_ok=True)
    host.sql(f"UPDATE jobs SET id = 'x' WHERE seq = {others[2].seq}")
    with contextlib.closing(open_twice(host)) as store:
        now = group_of(store, group.id)
    # The one that was removed, and the one that nobody will ever hear of again.
    assert (now.unended, now.failed, now.ended_ns) == (0, 2, 20)


def test_a_group_that_has_lost_all_of_its_jobs_is_no_group(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        put_group(store, 30, 4)
    host.sql("DELETE FROM jobs", "DELETE FROM specs")
    with contextlib.closing(open_twice(host)) as store:
        assert groups_and_hooks(store) == [[], [], [], []]


MEMBER_ROWS = {
    "group": "group_id = 'x'",
    "of a group that is not there": f"group_id = '{NEVER}'",
    "of no group": "group_id = NULL",
    "member": "member = 'first'",
    "no member": "member = NULL",
}


@pytest.mark.parametrize("kind", MEMBER_ROWS)
def test_a_job_whose_group_cannot_be_told_is_a_job_by_itself(host: Host, kind: str) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        own, *others = members_of(store, group)
    host.sql(f"UPDATE jobs SET {MEMBER_ROWS[kind]} WHERE seq = {own.seq}")
    with contextlib.closing(open_twice(host)) as store:
        assert store.get(own.id) == msgspec.structs.replace(own, group_id=None, member=None)
        assert members_of(store, group) == others
        assert group_of(store, group.id) == group
    assert "the store was damaged" in host.said


@pytest.mark.parametrize("fate", ["'lost'", "7", "'ok'"])
def test_a_job_whose_fate_cannot_be_true_is_looked_for(host: Host, fate: str) -> None:
    with contextlib.closing(host.open()) as store:
        group = put_group(store, 30, 4)
        own, queued, *_ = members_of(store, group)
    bad = queued if fate == "'ok'" else own
    host.sql(f"UPDATE jobs SET fate = {fate} WHERE seq = {bad.seq}")
    with contextlib.closing(open_twice(host)) as store:
        job = store.get(bad.id)
        assert job is not None
        assert (job.state, job.fate, job.group_id) == (State.STARTING, None, group.id)
        now = group_of(store, group.id)
    assert (now.unended, now.failed) == ((3, 1) if bad == queued else (4, 0))


HOOKS = {
    "a hook": "UPDATE hooks SET template = 'text' WHERE number = 1",
    "a call": "UPDATE hook_calls SET uid = -1",
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_or_a_call_that_cannot_be_true_is_left_out_and_said(host: Host, kind: str) -> None:
    hooks = (NewHook(("ended",), b"a"), NewHook(("started",), b"b"))
    with contextlib.closing(host.open()) as store:
        job = store.insert(msgspec.structs.replace(new_job(7), hooks=hooks))
        store.mark_starting(job.id, 5, "boot")
        job = store.mark_running(job.id, 7, 5, None)
        before = groups_and_hooks(store)
    host.sql(HOOKS[kind])
    with contextlib.closing(open_twice(host)) as store:
        *_, kept, calls = groups_and_hooks(store)
        assert jobs_of(store) == {job.id: job}
    assert kept == (before[2][:1] if kind == "a hook" else before[2])
    assert calls == ([] if kind == "a call" else before[3])
    assert "hooks, or calls of hooks, are lost" in host.said


def test_rows_by_their_key_are_read_from_both_ends_and_not_for_ever() -> None:
    class Torn:
        """A table of which the middle cannot be read, and pages that go in a circle."""

        def __init__(self, *orders: list[tuple[object, ...]]) -> None:
            self.orders = iter(orders)

        def execute(self, query: str) -> Iterator[tuple[object, ...]]:
            if query.startswith("PRAGMA"):
                names = ("owner_id", "number", "events", "template")
                return iter([(n, name) for n, name in enumerate(names)])
            return self.read(next(self.orders))

        def read(self, rows: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
            yield from rows
            raise sqlite3.DatabaseError("torn")

    def row(owner: object, number: int) -> tuple[object, ...]:
        return (owner, number, "ended", b"t", 1, 1, 1, 1)

    for orders, numbers in [
        (([row("a", 0), row("a", 1)], [row("b", 5)]), [0, 1, 5]),
        (([row("a", 0), row("a", 0)], [row("b", 5), row("b", 6)]), [0, 5]),
        (([row("a", 0), row(7, 1)], []), [0]),
    ]:
        reader = salvaged_rows.KeyedReader(
            cast("Any", Torn(*orders)),
            soundness.HOOKS,
            ("owner_id", "number"),
        )
        assert [found.values["number"] for found in reader.rows()] == numbers
        assert reader.has_failed


def test_of_two_jobs_with_the_same_key_one_keeps_it(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        fill(store, 8)
    host.sql("DROP INDEX jobs_keyed",
             "UPDATE jobs SET idempotency_key = 'key-1', uid = 'x' WHERE seq = 7")  # fmt: skip
    with contextlib.closing(host.open()) as store:
        found = store.keyed(1000, "key-1")
        assert found is not None
        assert found.seq == 2
        assert len(jobs_of(store)) == 8


@pytest.mark.parametrize("value", ["'../../etc'", "x'00'", "'3F2A0000'", "NULL"])
def test_a_row_without_an_id_is_not_kept(value: str, host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    if value == "NULL":
        value = "''"
    host.sql(f"UPDATE jobs SET id = {value} WHERE seq = 3")
    with contextlib.closing(host.open()) as store:
        assert jobs_of(store) == {i: job for i, job in jobs.items() if job.seq != 3}


def test_numbers_that_were_given_away_are_not_given_to_another(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
        newest = max(jobs.values(), key=lambda job: job.seq)
        store.mark_ended(newest.id, 1, "exit", b"", is_ok=True)
        store.delete(newest.id, 1, 0)
    host.sql("UPDATE jobs SET state = 'xyz' WHERE seq = 3")
    with contextlib.closing(host.open()) as store:
        assert store.insert(new_job(77)).seq == newest.seq + 1


def test_a_database_of_a_newer_runnerd_is_refused_and_not_touched(host: Host) -> None:
    host.open().close()
    host.sql(f"PRAGMA user_version = {len(SCRIPTS) + 1}")
    before = host.path.read_bytes()
    with pytest.raises(StoreError, match="newer runnerd"):
        host.open()
    assert host.path.read_bytes() == before
    assert host.names() == ["runnerd.sqlite3"]


def test_another_programs_database_is_refused_and_not_moved(host: Host) -> None:
    host.sql("CREATE TABLE recipes (name)", "PRAGMA application_id = 7")
    with pytest.raises(StoreError, match="another program"):
        host.open()
    assert host.names() == ["runnerd.sqlite3"]


@pytest.mark.parametrize("version", range(1, len(SCRIPTS)))
def test_a_damaged_store_of_an_earlier_version_is_read_as_well(host: Host, version: int) -> None:
    with contextlib.closing(sqlite3.connect(host.path, isolation_level=None)) as db:
        for script in SCRIPTS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        for number in range(5):
            job = new_job(number)
            db.execute(
                "INSERT INTO jobs (id, submitted_by_uid, uid, gid, state, submitted_ns)"
                " VALUES (?, 1, 1000, 1000, 'queued', 5)", (job.id,))  # fmt: skip
            db.execute("INSERT INTO specs VALUES (?, ?)", (number + 1, job.spec))
    host.sql("UPDATE jobs SET gid = 'x' WHERE seq = 2")
    with contextlib.closing(host.open()) as store:
        assert [job.state.value for job in sorted(jobs_of(store).values(), key=lambda j: j.seq)
                ] == ["queued", "starting", "queued", "queued", "queued"]  # fmt: skip
    assert "5 jobs were read, 1 of them" in host.said


@pytest.mark.parametrize("end", ["", "-wal"])
def test_a_kill_between_two_renames_costs_nothing(host: Host, end: str) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    # As it is right after the new one was made: the damaged one is there, or half away.
    host.path.rename(f"{host.path}.salvaged-20260102T030405.000006Z")
    (host.state / f"runnerd.sqlite3{end}").write_bytes(b"garbled")
    (host.state / "runnerd.sqlite3.new").write_bytes(b"of an earlier try")
    (host.state / "runnerd.sqlite3.reading-abc").mkdir()
    with contextlib.closing(host.open()) as store:
        assert jobs_of(store) == jobs
    (kept,) = [name for name in host.names() if "damaged" in name]
    # Those that were moved before the kill have this name.
    assert kept == f"runnerd.sqlite3.damaged-20260102T030405.000006Z{end}"
    assert (host.state / kept).read_bytes() == b"garbled"
    assert sorted({"runnerd.sqlite3", kept}) == host.names()


def test_of_damaged_files_the_last_eight_are_kept(host: Host) -> None:
    for number in range(11):
        host.open().close()
        host.path.write_bytes(b"garbled %d" % number)
        host.open().close()
    kept = [name for name in host.names() if "damaged" in name]
    assert len(kept) == 8
    contents = {(host.state / name).read_bytes() for name in kept}
    assert {b"garbled 9", b"garbled 10"} <= contents


def test_a_disk_without_room_leaves_everything_as_it_was(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    host.sql("UPDATE jobs SET state = 'xyz' WHERE seq = 3")
    before = host.path.read_bytes()
    with monkeypatch.context() as full:

        def refuse(_path: str, _target: object) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error

        full.setattr(salvage, "copy_readable", refuse)
        with pytest.raises(StoreError, match="Make room"):
            host.open()
    assert host.path.read_bytes() == before
    with contextlib.closing(host.open()) as store:
        assert len(jobs_of(store)) == len(jobs)


def test_rows_that_are_out_of_order_are_an_error_and_not_read_for_ever() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for script in SCRIPTS:
            db.executescript(script)
        db.executescript("DROP TABLE specs; CREATE TABLE specs (seq INTEGER, spec BLOB);"
                         "INSERT INTO specs VALUES (1, x'00'), (1, x'00'), (2, x'00')")  # fmt: skip
        reader = salvaged_rows.RowReader(db, "specs")
        assert {row.values["seq"] for row in reader.rows()} == {1, 2}
        assert reader.failed < 5


def test_a_garbled_log_is_kept_and_what_it_may_have_held_is_said_once(
    host: Host, filled: tuple[Path, dict[str, Job]]
) -> None:
    """To SQLite it is an empty one."""
    garbled = as_after_a_kill(host, filled, lambda log: b"\1" * 40 + log[40:])
    with contextlib.closing(host.open()) as store:
        found = jobs_of(store)
        store.insert(new_job(10_000))
    (kept,) = [name for name in host.names() if "damaged" in name]
    assert kept.endswith("Z-wal")
    assert (host.state / kept).read_bytes() == garbled
    assert (host.state / kept).stat().st_mode & 0o777 == 0o600
    (said,) = host.of_the_store
    assert "(its header is garbled)" in said
    assert "above all jobs that were queued" in said
    assert said.endswith(kept)
    with contextlib.closing(host.open()) as store:
        assert len(jobs_of(store)) == len(found) + 1
    assert host.problems.all() == []


def as_after_a_kill(
    host: Host, filled: tuple[Path, dict[str, Job]], change: Callable[[bytes], bytes]
) -> bytes:
    base, _jobs = filled
    for name in ("runnerd.sqlite3", "runnerd.sqlite3-wal"):
        shutil.copyfile(base / "killed" / name, host.state / name)
    log = host.state / "runnerd.sqlite3-wal"
    log.write_bytes(change(log.read_bytes()))
    return log.read_bytes()


def test_what_precedes_the_garbled_part_of_a_log_is_kept_and_the_rest_is_said(
    host: Host, filled: tuple[Path, dict[str, Job]]
) -> None:
    at = 32 + 40 * 4120 + 2000
    as_after_a_kill(host, filled, lambda log: log[:at] + b"\1" * 9 + log[at + 9 :])
    for again in (False, True):
        with contextlib.closing(host.open()) as store:
            found = jobs_of(store)
        # Whose end was not read any more is as it was before.
        late = {i for i, job in found.items() if job.state is State.QUEUED} if not again else set()
        late -= {job_id for job_id, job in filled[1].items() if job.state is State.QUEUED}
        assert len(late) <= 1
        before = filled[1] if not again else found
        assert_only_truth({i: job for i, job in found.items() if i not in late}, before)
        assert ("transactions cannot be read" in host.said) is not again
    assert len([name for name in host.names() if "damaged" in name]) == 1


@pytest.mark.parametrize("size", ["of a sound log", "of a torn one"])
def test_a_log_as_a_kill_or_a_power_cut_leaves_it_is_no_damage(
    host: Host, filled: tuple[Path, dict[str, Job]], size: str
) -> None:
    end = None if size == "of a sound log" else -3000
    as_after_a_kill(host, filled, lambda log: log[:end])
    host.open().close()
    assert host.problems.all() == []
    assert host.names() == ["runnerd.sqlite3"]


def test_a_log_that_cannot_be_copied_is_said_and_the_store_opens(
    host: Host, filled: tuple[Path, dict[str, Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_after_a_kill(host, filled, lambda log: b"\1" * 40 + log[40:])

    def full(_old: str, new: str, **_how: bool) -> None:
        with open(new, "wb"):
            raise OSError(28, "No space left on device", new)

    monkeypatch.setattr(salvage.shutil, "copyfile", full)
    host.open().close()
    assert "could not be copied (No space left on device)" in host.said
    assert host.names() == ["runnerd.sqlite3"]


def test_when_both_files_are_garbled_the_jobs_are_said_to_be_of_an_older_time(
    host: Host, filled: tuple[Path, dict[str, Job]]
) -> None:
    as_after_a_kill(host, filled, lambda log: b"\1" * 40 + log[40:])
    host.path.write_bytes(
        b"\1" * 100 + (filled[0] / "state" / "runnerd.sqlite3").read_bytes()[100:]
    )
    host.open().close()
    (said,) = host.of_the_store
    assert "was made anew: 60 jobs were read" in said
    assert "the newest changes may be lost" in said
    assert "Restart runnerd" not in said


OWN = {
    "an index": "CREATE INDEX mine ON jobs (uid)",
    "a table": "CREATE TABLE mine (a)",
    "a view": "CREATE VIEW mine AS SELECT id FROM jobs",
    "statistics": "ANALYZE",
    "a column": "ALTER TABLE jobs ADD COLUMN mine TEXT",
}


@pytest.mark.parametrize("kind", OWN)
def test_what_an_administrator_adds_is_no_damage(host: Host, kind: str) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    host.sql(OWN[kind])
    with contextlib.closing(host.open()) as store:
        assert jobs_of(store) == jobs
        store.insert(new_job(99))
    assert host.problems.all() == []


def test_another_text_of_the_same_schema_is_no_damage(host: Host) -> None:
    host.open().close()
    with contextlib.closing(sqlite3.connect(host.path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_master SET sql = replace(replace(sql, '  ', ' '), 'seq ', '[seq] ')"
            " WHERE type = 'table' AND name = 'jobs'"
        )
    host.open().close()
    assert host.problems.all() == []


@pytest.mark.parametrize("other", ["", "CREATE INDEX jobs_active ON jobs (uid)"])
def test_an_index_of_ours_that_is_missing_is_made_again(host: Host, other: str) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
        before = schema.things(store._db)
    host.sql("DROP INDEX jobs_ended", "DROP INDEX jobs_active", *filter(None, [other]))
    with contextlib.closing(host.open()) as store:
        assert jobs_of(store) == jobs
        assert schema.things(store._db) == before
    assert host.problems.all() == []


GARBLED = ("'queued'", "disk_bytes", "paused_ns >= 0", "AUTOINCREMENT", "NOT NULL UNIQUE")


@pytest.mark.parametrize("text", GARBLED)
def test_a_table_of_ours_that_says_something_else_is_damage(host: Host, text: str) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = fill(store, 8)
    with contextlib.closing(sqlite3.connect(host.path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        swapped = {"AUTOINCREMENT": "", "NOT NULL UNIQUE": "UNIQUE"}.get(text, text[:-1] + "x")
        if text == "'queued'":
            swapped = "'queuex'"
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'jobs'",
                   (text, swapped))  # fmt: skip
    with contextlib.closing(host.open()) as store:
        assert len(jobs_of(store)) == len(jobs)
    assert "the store was damaged" in host.said
