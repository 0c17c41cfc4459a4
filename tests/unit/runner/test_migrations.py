"""The schema: made whole or not at all, and only in a database that is ours or empty."""

from __future__ import annotations

import contextlib
import sqlite3
from operator import itemgetter
from typing import TYPE_CHECKING

import pytest

from runner import migrations
from runner.migrations import APPLICATION_ID, SCRIPTS, SchemaError, migrate
from runner.rows import RANK_STEP
from runner.scheduling.kinds import Waiting
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def value(db: sqlite3.Connection, query: str) -> object:
    return db.execute(query).fetchone()[0]


def test_an_empty_database_gets_the_newest_schema(db: sqlite3.Connection) -> None:
    migrate(db)
    assert value(db, "PRAGMA user_version") == len(SCRIPTS)
    assert value(db, "PRAGMA application_id") == APPLICATION_ID
    assert value(db, "SELECT count(*) FROM jobs") == 0


def test_a_database_that_is_up_to_date_is_not_written(db: sqlite3.Connection) -> None:
    migrate(db)
    before = db.total_changes
    db.execute("PRAGMA query_only = ON")
    migrate(db)
    assert db.total_changes == before


def test_each_step_is_taken_once_and_in_order(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(db)
    later = ("CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO a VALUES (1);")
    monkeypatch.setattr(migrations, "SCRIPTS", (*SCRIPTS, *later))
    migrate(db)
    migrate(db)
    assert value(db, "PRAGMA user_version") == len(SCRIPTS) + 2
    assert value(db, "SELECT count(*) FROM a") == 1


def test_a_step_that_fails_leaves_the_version_before_it(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(db)
    broken = ("CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(migrations, "SCRIPTS", (*SCRIPTS, *broken))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(db)
    assert not db.in_transaction
    assert value(db, "PRAGMA user_version") == len(SCRIPTS) + 1
    assert value(db, "SELECT count(*) FROM sqlite_master WHERE name = 'a'") == 1
    assert value(db, "SELECT count(*) FROM sqlite_master WHERE name = 'b'") == 0


def test_a_newer_database_is_refused(db: sqlite3.Connection) -> None:
    migrate(db)
    db.execute(f"PRAGMA user_version = {len(SCRIPTS) + 1}")
    with pytest.raises(SchemaError, match="newer runnerd"):
        migrate(db)


# A job of an older version: in the queue "default", with no promise, no times, one attempt.
# Of no group, and how those ended that have is told by their results alone; none was launched when
# it was submitted.
NOT_AT_ONCE = (0,)
ALONE = (None, None, None, *NOT_AT_ONCE)
QUEUED_AS_BEFORE = ("default", 0, None, None, None, None, 0, 0, None, 1, 1, None, 0, *ALONE)


def version_1(db: sqlite3.Connection) -> None:
    """As the first release left it, with a job in each state and one that was removed."""
    db.execute("PRAGMA foreign_keys = ON")
    db.executescript(
        f"{SCRIPTS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
    )
    rows = [
        ("queued", None, None, None, None, None),
        ("starting", None, None, "boot", None, None),
        ("running", 5, None, "boot", 77, None),
        ("ended", 5, 6, "boot", None, "exit"),
        ("ended", None, 6, None, None, "lost"),
    ]
    for number, (state, started, ended, boot, pid, reason) in enumerate(rows, start=1):
        db.execute(
            "INSERT INTO jobs (id, submitted_by_uid, uid, gid, name, state, submitted_ns,"
            " started_ns, ended_ns, boot_id, monitor_pid, reason, result)"
            " VALUES (?, 1, 2, 3, 'n', ?, 4, ?, ?, ?, ?, ?, ?)",
            (f"job-{number}", state, started, ended, boot, pid, reason, reason and b"r"),
        )
        db.execute("INSERT INTO specs (seq, spec) VALUES (?, ?)", (number, bytes([number])))
        db.execute("INSERT INTO events (job_id, time_ns, kind) VALUES (?, 4, 'submit')", (number,))
    db.execute("DELETE FROM jobs WHERE id = 'job-5'")


def test_a_database_of_version_1_keeps_every_row_and_what_hangs_on_it(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    before = db.execute("SELECT * FROM jobs ORDER BY seq").fetchall()
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    old_indexes = db.execute(indexes).fetchall()
    migrate(db)
    after = db.execute("SELECT * FROM jobs ORDER BY seq").fetchall()
    assert after == [(*row, 0, None, 0, *QUEUED_AS_BEFORE) for row in before]
    assert db.execute("SELECT seq, spec FROM specs ORDER BY seq").fetchall() == [
        (number, bytes([number])) for number in range(1, 5)
    ]
    assert value(db, "SELECT count(*) FROM events") == 5
    assert set(map(itemgetter(0), old_indexes)) <= set(map(itemgetter(0), db.execute(indexes)))
    assert value(db, "PRAGMA foreign_keys") == 1
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_ended_job_of_an_older_database_is_one_that_was_not_measured(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    migrate(db)
    unmeasured = "SELECT id FROM jobs INDEXED BY jobs_unmeasured WHERE ended_ns IS NOT NULL"
    assert db.execute(f"{unmeasured} AND disk_bytes = 0").fetchall() == [("job-4",)]
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE jobs SET disk_bytes = -1 WHERE id = 'job-4'")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE jobs SET disk_bytes = NULL WHERE id = 'job-4'")


def test_after_the_migration_no_sequence_number_is_used_again_and_specs_still_go_with_their_job(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    migrate(db)
    insert = (
        "INSERT INTO jobs (id, submitted_by_uid, uid, gid, state, submitted_ns)"
        " VALUES ('new', 1, 2, 3, 'queued', 4)"
    )
    assert db.execute(insert).lastrowid == 6
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO specs (seq, spec) VALUES (99, x'00')")
    db.execute("DELETE FROM jobs WHERE id = 'job-3'")
    assert value(db, "SELECT count(*) FROM specs WHERE seq = 3") == 0


def test_a_version_1_of_which_every_job_was_removed_still_counts_on(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    db.execute("DELETE FROM jobs")
    migrate(db)
    assert value(db, "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'") == 5
    assert value(db, "SELECT count(*) FROM sqlite_sequence WHERE name = 'jobs'") == 1
    assert value(db, "SELECT count(*) FROM specs") == 0


def test_a_job_may_be_paused_after_the_migration_and_only_as_a_whole(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    pause = "UPDATE jobs SET state = 'paused', paused_since_ns = 9 WHERE id = 'job-3'"
    with pytest.raises(sqlite3.OperationalError):
        db.execute(pause)
    migrate(db)
    db.execute(pause)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE jobs SET monitor_pid = NULL WHERE id = 'job-3'")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("UPDATE jobs SET state = 'running' WHERE id = 'job-3'")


def test_a_spec_without_its_job_stops_a_migration_and_nothing_is_changed(
    db: sqlite3.Connection,
) -> None:
    version_1(db)
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("INSERT INTO specs (seq, spec) VALUES (99, x'00')")
    with pytest.raises(SchemaError, match="specs without their job"):
        migrate(db)
    assert value(db, "PRAGMA user_version") == 1
    assert not db.in_transaction


def test_a_database_of_version_3_keeps_every_row_and_its_jobs_wait_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    old = sqlite3.connect(path, isolation_level=None)
    version_1(old)
    with monkeypatch.context() as before_the_queue:
        before_the_queue.setattr(migrations, "SCRIPTS", SCRIPTS[:3])
        migrate(old)
    old.execute("UPDATE jobs SET state = 'paused', paused_since_ns = 9 WHERE id = 'job-3'")
    tables = ("jobs", "specs", "events", "sqlite_sequence")
    before = {table: old.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    old.close()
    with contextlib.closing(Store.open(str(path))) as store:
        db = store._db
        assert value(db, "PRAGMA user_version") == len(SCRIPTS)
        after = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        assert after["jobs"] == [(*row, *QUEUED_AS_BEFORE) for row in before["jobs"]]
        # Of whom those events are is not known: administrators see them.
        assert after["events"] == [(*row, None) for row in before["events"]]
        assert store.events_since(0, 100, uid=1) == []
        assert after["specs"] == before["specs"]
        assert after["sqlite_sequence"] == before["sqlite_sequence"]
        (waiting,) = store.waiting()
        assert waiting == Waiting("job-1", 1, "default", 0, RANK_STEP)
        assert store.queued_of(1) == 1
        assert [job.state.value for job in store.launched()] == ["starting", "paused"]
        assert store.labels(["job-1"]) == {"job-1": {}}
        assert store.queue_states() == {}
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_hangs_on_a_job_goes_with_it(db: sqlite3.Connection) -> None:
    version_1(db)
    migrate(db)
    db.execute("INSERT INTO labels VALUES (3, 'a', 'b')")
    db.execute("INSERT INTO dependencies VALUES (3, 'job-1', 'ok', 0)")
    db.execute("INSERT INTO attempts VALUES (3, 1, NULL, 5, 'lost', x'00', NULL)")
    db.execute("DELETE FROM jobs WHERE seq = 3")
    for table in ("labels", "dependencies", "attempts"):
        assert value(db, f"SELECT count(*) FROM {table}") == 0
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO labels VALUES (3, 'a', 'b')")


@pytest.mark.parametrize(
    "change",
    ["attempt = 0", "first_attempt = 0", "first_attempt = 2", "reserved_millicpus = -1",
     "reserved_memory_bytes = -1", "queue = NULL", "priority = NULL", "dependencies = -1"],
)  # fmt: skip
def test_the_queue_s_columns_refuse_what_makes_no_sense(
    db: sqlite3.Connection, change: str
) -> None:
    version_1(db)
    migrate(db)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(f"UPDATE jobs SET {change} WHERE id = 'job-1'")


def group(db: sqlite3.Connection, **columns: object) -> None:
    fields = {
        "id": "g", "submitted_by_uid": 1, "kind": "array", "size": 2, "submitted_ns": 1,
        "first_seq": 1, "unended": 2, "digest": b"", "about": b"", **columns,
    }  # fmt: skip
    names = ", ".join(fields)
    marks = ", ".join("?" for _ in fields)
    db.execute(f"INSERT INTO groups ({names}) VALUES ({marks})", tuple(fields.values()))


@pytest.mark.parametrize(
    "columns",
    [{"kind": "heap"}, {"size": 0}, {"max_running": 0}, {"unended": -1}, {"failed": -1},
     {"unended": 0}, {"ended_ns": 3}, {"digest": None}, {"about": None}, {"first_seq": None}],
)  # fmt: skip
def test_a_group_that_makes_no_sense_is_refused(
    db: sqlite3.Connection, columns: dict[str, object]
) -> None:
    migrate(db)
    with pytest.raises(sqlite3.IntegrityError):
        group(db, **columns)
    group(db, unended=0, ended_ns=5)


def test_a_groups_spec_goes_with_it_and_its_id_and_key_are_its_own(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    migrate(db)
    group(db, idempotency_key="k")
    db.execute("INSERT INTO group_specs VALUES (1, x'00')")
    for columns in ({"id": "g"}, {"id": "h", "idempotency_key": "k"}):
        with pytest.raises(sqlite3.IntegrityError):
            group(db, **columns)
    group(db, id="h", idempotency_key="k", submitted_by_uid=2)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO group_specs VALUES (99, x'00')")
    db.execute("DELETE FROM groups WHERE id = 'g'")
    assert value(db, "SELECT count(*) FROM group_specs") == 0
    db.execute("DELETE FROM groups")
    group(db)
    assert value(db, "SELECT seq FROM groups") == 3


@pytest.mark.parametrize("change", ["member = -1", "fate = 'lost'"])
def test_the_columns_of_groups_refuse_what_makes_no_sense(
    db: sqlite3.Connection, change: str
) -> None:
    version_1(db)
    migrate(db)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(f"UPDATE jobs SET {change} WHERE id = 'job-1'")


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE x (y)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"],
)
def test_a_database_of_another_program_is_refused(db: sqlite3.Connection, statement: str) -> None:
    db.execute(statement)
    with pytest.raises(SchemaError, match="another program"):
        migrate(db)


def test_a_database_of_version_6_lists_its_jobs_as_before_and_a_start_moves_no_index_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    old = sqlite3.connect(path, isolation_level=None)
    version_1(old)
    with monkeypatch.context() as before_it:
        before_it.setattr(migrations, "SCRIPTS", SCRIPTS[:6])
        migrate(old)
    before = old.execute("SELECT * FROM jobs").fetchall()
    old.close()
    with contextlib.closing(Store.open(str(path))) as store:
        db = store._db
        after = db.execute("SELECT * FROM jobs").fetchall()
        assert after == [(*row, *NOT_AT_ONCE) for row in before]
        assert [waiting.id for waiting in store.waiting()] == ["job-1"]
        assert [job.id for job in store.launched()] == ["job-2", "job-3"]
        assert [job.at_once for job in store.launched()] == [0, 0]
        assert [job.id for job in store.ended.page(None, None, 9)] == ["job-4"]
        assert [job.id for job in store.ended.page(1, None, 9)] == ["job-4"]
        pages, _ = store.list_jobs(submitted_by_uid=1, include_ended=False, limit=9, before=None)
        assert [job.id for job in pages] == ["job-3", "job-2", "job-1"]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        # An index whose condition names the state would be written at each change of it.
        sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%state%'"
        assert db.execute(sql).fetchall() == [("jobs_grouped",)]
