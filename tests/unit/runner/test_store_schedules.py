"""Schedules in the store: kept, found, changed, removed, and what damage costs."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.tree import CgroupTree
from runner.jobdirs import JobDirectories
from runner.problems import Problems
from runner.rows import NewJob
from runner.salvage import open_store
from runner.schedule_rows import NewSchedule, Progress
from runner.store import Store, StoreError
from runner.store_schedules import NoSuchScheduleError, run_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALICE, BOB = 1000, 1001


def new(number: int = 1, *, by: int = ALICE, **fields: Any) -> NewSchedule:
    given: dict[str, Any] = {
        "id": str(uuid.UUID(int=number + 2**120)), "submitted_by_uid": by, "name": None,
        "every": "@daily", "zone": None, "missed": "once", "overlap": "allow", "paused": False,
        "created_ns": 100, "template": b"template",
    }  # fmt: skip
    return NewSchedule(**{**given, **fields})


def new_job(by: int, key: str) -> NewJob:
    return NewJob(
        id=str(uuid.uuid4()), submitted_by_uid=by, uid=by, gid=by, name=None, spec=b"",
        submitted_ns=1, idempotency_key=key,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runnerd.sqlite3")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    with closing(Store.open(path)) as opened:
        yield opened


def test_a_schedule_is_there_again_when_the_store_is_opened_anew(store: Store, path: str) -> None:
    made = store.insert_schedule(new(name="backup", zone="Europe/Berlin", paused=True))
    assert (made.handled_ns, made.last_job, made.runs) == (100, None, 0)
    with closing(Store.open(path)) as again:
        assert again.every_schedule() == [made]
        assert again.schedule_template(made.id) == b"template"
        assert again.schedule_named(ALICE, "backup") == made
        assert again.schedule_named(BOB, "backup") is None


def test_a_name_is_one_schedules_of_its_user(store: Store) -> None:
    store.insert_schedule(new(1, name="backup"))
    store.insert_schedule(new(2, name="backup", by=BOB))
    with pytest.raises(StoreError):
        store.insert_schedule(new(3, name="backup"))
    assert store.count_schedules(ALICE) == 1


def test_it_is_found_by_its_id_a_part_of_it_or_its_name_by_who_may(store: Store) -> None:
    mine, theirs = store.insert_schedule(new(1, name="a")), store.insert_schedule(new(2, by=BOB))
    assert store.find_schedules(mine.id, ALICE) == [mine]
    assert store.find_schedules(mine.id[:4], ALICE) == [mine]
    assert store.find_schedules(mine.id[:4], None) == [theirs, mine]
    assert store.find_schedules("a", None) == [mine]
    for text in (theirs.id, "a" * 3, "%", "\0", "ä", mine.id[:3]):
        assert store.find_schedules(text, ALICE) == []


def test_pages_go_on_where_the_last_one_ended(store: Store) -> None:
    made = [store.insert_schedule(new(n, by=n % 2)) for n in range(6)]
    assert store.schedules_after(0, 4, None) == made[:4]
    assert store.schedules_after(made[3].seq, 4, None) == made[4:]
    assert store.schedules_after(0, 4, 1) == made[1::2]


def test_progress_is_counted_and_the_last_run_is_known(store: Store) -> None:
    made = store.insert_schedule(new())
    store.record_progress(made.id, Progress(200, job="job-1", time_ns=200))
    found = store.record_progress(made.id, Progress(300, error="no room", skipped=2))
    assert (found.handled_ns, found.last_job, found.last_ns) == (300, "job-1", 200)
    assert (found.last_error, found.runs, found.failed, found.skipped) == ("no room", 1, 1, 2)
    found = store.record_progress(made.id, Progress(350, skipped=1))
    assert found.last_error == "no room"
    found = store.record_progress(made.id, Progress(None, job="job-2"))
    assert (found.handled_ns, found.last_job, found.last_ns) == (350, "job-2", None)
    assert (found.last_error, found.runs) == (None, 2)


def test_a_schedule_is_paused_and_goes_on_from_a_time(store: Store) -> None:
    made = store.insert_schedule(new())
    assert store.set_schedule_paused(made.id, 100, paused=True).paused
    found = store.set_schedule_paused(made.id, 900, paused=False)
    assert (found.paused, found.handled_ns) == (False, 900)


def test_a_schedule_that_was_removed_is_gone_with_what_it_runs(store: Store, path: str) -> None:
    made = store.insert_schedule(new())
    store.remove_schedule(made.id)
    assert store.get_schedule(made.id) is None
    assert store.schedule_template(made.id) is None
    with pytest.raises(NoSuchScheduleError):
        store.remove_schedule(made.id)
    with pytest.raises(NoSuchScheduleError):
        store.record_progress(made.id, Progress(1))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM schedule_templates").fetchone() == (0,)


def test_the_newest_run_is_known_by_its_key(store: Store) -> None:
    made = store.insert_schedule(new(1))
    other = store.insert_schedule(new(2))
    assert store.newest_run(made) is None
    times = [1_800_000_000_000_000_000 + n for n in (5, 9, 7)]
    ids = {time: store.insert(new_job(ALICE, run_key(made.id, time))).id for time in times}
    store.insert(new_job(ALICE, run_key(other.id, times[0] + 50)))
    store.insert(new_job(BOB, run_key(made.id, times[0] + 60)))
    store.insert(new_job(ALICE, f"schedule:{made.id}0:1"))
    assert store.newest_run(made) == (ids[times[1]], times[1])


def test_a_key_that_only_looks_like_a_runs_is_none(store: Store) -> None:
    made = store.insert_schedule(new(1))
    store.insert(new_job(ALICE, f"schedule:{made.id}:x"))
    assert store.newest_run(made) is None


class Host:
    """A store that may be damaged."""

    def __init__(self, base: Path) -> None:
        self.directories = JobDirectories(str(base / "state"))
        self.path = str(base / "state" / "runnerd.sqlite3")
        self.tree = CgroupTree(str(base))
        self.problems = Problems()

    def open(self) -> Store:
        self.problems = Problems()
        return open_store(self.path, self.directories, self.tree, self.problems)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                db.execute(statement)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.directories.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE schedules SET missed = 'often' WHERE seq = 2",
        "UPDATE schedules SET id = '../..' WHERE seq = 2",
        "UPDATE schedules SET submitted_by_uid = -1 WHERE seq = 2",
        "UPDATE schedules SET every = x'00' WHERE seq = 2",
        "UPDATE schedule_templates SET template = 7 WHERE seq = 2",
    ],
)
def test_a_schedule_with_garbled_values_is_not_run_and_that_is_said(
    host: Host, damage: str
) -> None:
    with closing(host.open()) as store:
        made = [store.insert_schedule(new(n)) for n in (1, 2, 3)]
    host.sql(damage)
    with closing(host.open()) as store:
        assert store.every_schedule() == [made[0], made[2]]
        assert store.schedule_template(made[2].id) == b"template"
        (problem,) = host.problems.all()
        assert "1 numbers of schedules could not be read" in problem.text
        # Its number is not given to another.
        assert store.insert_schedule(new(4)).seq == 4


def test_a_row_that_cannot_be_read_hides_itself_alone(store: Store, path: str) -> None:
    made = [store.insert_schedule(new(n)) for n in (1, 2)]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("UPDATE schedules SET runs = 'x' WHERE seq = 1")
    assert store.every_schedule() == made[1:]


def test_what_it_runs_is_nobodys_to_read_in_a_log() -> None:
    assert "secret" not in repr(new(template=b"secret"))
