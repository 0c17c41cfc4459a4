"""The store's file: what a `kill -9` leaves, who may read it, and which files are refused."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import subprocess
import sys
import uuid
from typing import Any

import pytest

from runner.lifecycle import State
from runner.migrations import SCRIPTS
from runner.store import NewJob, Store, StoreError
from runner.store_file import FullStoreError, set_up

ROOT = pathlib.Path(__file__).parents[3]


def new_job(  # a job of one user, unless said otherwise
    job_id: str | None = None,
    *,
    by: int = 1000,
    name: str | None = None,
    spec: bytes = b"spec",
    submitted_ns: int = 1,
) -> NewJob:
    return NewJob(
        id=job_id or str(uuid.uuid4()),
        submitted_by_uid=by,
        uid=by,
        gid=by,
        name=name,
        spec=spec,
        submitted_ns=submitted_ns,
    )


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "runnerd.sqlite3")


WRITER = """
import itertools, sys
from runner.store import NewJob, Store
kept = Store.open(sys.argv[1])
for number in itertools.count():
    job_id = f"{sys.argv[2]}-{number}"
    kept.insert(NewJob(id=job_id, submitted_by_uid=0, uid=0, gid=0, name=None,
                       spec=b"s" * (number % 9000), submitted_ns=1))
    print(job_id, "queued", flush=True)
    kept.mark_starting(job_id, 2, "boot")
    print(job_id, "starting", flush=True)
    kept.mark_running(job_id, 4321, 3, b"limits")
    print(job_id, "running", flush=True)
    kept.mark_paused(job_id, 4, 0)
    print(job_id, "paused", flush=True)
    kept.mark_ended(job_id, 5, "exit", b"r" * (number % 500), is_ok=True)
    print(job_id, "ended", flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 30, 201, 402])
def test_kill_9_loses_no_commit_that_was_acknowledged(path: str, acknowledged: int) -> None:
    promised: dict[str, str] = {}
    for life in range(3):
        command = [sys.executable, "-c", WRITER, path, f"life{life}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(acknowledged):
                job_id, state = child.stdout.readline().split()
                promised[job_id] = state
            child.kill()
            # What it said before it died counts too; a line cut short does not.
            for line in child.stdout:
                if line.endswith("\n"):
                    job_id, state = line.split()
                    promised[job_id] = state
    order = list(State)
    kept = Store.open(path)
    for job_id, state in promised.items():
        job = kept.get(job_id)
        assert job is not None
        # At most one step further: what was committed but not yet said.
        assert order.index(job.state) - order.index(State(state)) in {0, 1}
    assert sum(kept.counts().values()) - len(promised) in range(4)
    # Each of these jobs took every step, in the order of the states.
    events = kept.events_since(0, 100_000)
    assert len(events) == sum(
        order.index(state) + 1 for state in State for _ in range(kept.counts()[state])
    )
    kept.close()


def test_the_database_and_its_log_are_for_the_owner_alone(path: str) -> None:
    old = os.umask(0)
    try:
        kept = Store.open(path)
        kept.insert(new_job())
        modes = {name: os.stat(f"{path}{name}").st_mode & 0o777 for name in ("", "-wal", "-shm")}
        kept.close()
    finally:
        os.umask(old)
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}


def test_a_database_left_open_to_others_is_closed_to_them(path: str) -> None:
    Store.open(path).close()
    os.chmod(path, 0o644)
    Store.open(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_it_is_durable_by_configuration(path: str) -> None:
    kept = Store.open(path)
    for pragma, value in [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]:
        assert kept._db.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    kept.close()


def refusal(path: str) -> str:
    with pytest.raises(StoreError) as error:
        Store.open(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_a_database_of_a_newer_runnerd_is_refused_and_not_touched(path: str) -> None:
    Store.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(SCRIPTS) + 1}")
    db.close()
    before = pathlib.Path(path).read_bytes()
    assert refusal(path) == (
        f"its version is {len(SCRIPTS) + 1} and this runnerd knows {len(SCRIPTS)}: "
        "it was used by a newer runnerd, so start that one"
    )
    assert pathlib.Path(path).read_bytes() == before


def test_another_programs_database_is_refused(path: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name)")
    db.close()
    assert "another program" in refusal(path)


@pytest.mark.parametrize("content", [b"not a database at all", b"\0" * 5000, b"SQLite format 3\0x"])
def test_what_is_not_a_database_is_refused_with_what_to_do(path: str, content: bytes) -> None:
    pathlib.Path(path).write_bytes(content)
    message = refusal(path)
    assert "SQLITE_NOTADB" in message or "SQLITE_CORRUPT" in message
    assert "Restart runnerd" in message
    assert pathlib.Path(path).read_bytes() == content


def test_damage_within_is_an_error_that_says_what_to_do(path: str) -> None:
    kept = Store.open(path)
    for _ in range(200):
        kept.insert(new_job(spec=bytes(500)))
    kept.close()
    content = bytearray(pathlib.Path(path).read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    pathlib.Path(path).write_bytes(content)
    assert "Restart runnerd" in refusal(path)


def test_what_cannot_be_opened_is_refused(tmp_path: pathlib.Path) -> None:
    assert refusal(str(tmp_path / "absent" / "db")).startswith("cannot be opened: No such file")
    assert refusal(str(tmp_path)).startswith("cannot be opened: Is a directory")
    (tmp_path / "link").symlink_to("elsewhere")
    assert refusal(str(tmp_path / "link")).startswith("cannot be opened: Too many levels")
    os.mkfifo(tmp_path / "fifo")
    assert refusal(str(tmp_path / "fifo")) == "not a regular file"


def test_room_is_kept_back_for_a_full_disk_and_taken_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "db"
    with contextlib.closing(Store.open(str(path))):
        assert (tmp_path / "db-wal").stat().st_size > 1024 * 1024
    size = path.stat().st_size
    assert size > 1024 * 1024
    with contextlib.closing(Store.open(str(path))):
        assert (tmp_path / "db-wal").stat().st_size > 1024 * 1024
    assert path.stat().st_size == size


def test_a_full_file_is_told_from_every_other_error(path: str) -> None:
    kept = Store.open(path)
    try:
        kept.insert(new_job("job"))
        kept.mark_ended("job", 1, "exit", b"r", is_ok=True)
        (pages,) = kept._db.execute("PRAGMA page_count").fetchone()
        kept._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(FullStoreError, match="Make room"):
            kept.insert(new_job("large", spec=bytes(8 * 2**20)))
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked") as caught:
                kept.delete_ended(["job"], 1, 0)
            assert not isinstance(caught.value, FullStoreError)
    finally:
        kept.close()


def test_what_a_start_that_was_killed_has_left_of_its_room_is_no_obstacle(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    Store.open(str(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE reserve (room BLOB)")
    with contextlib.closing(Store.open(str(path))) as store:
        assert store._db.execute("PRAGMA freelist_count").fetchone()[0] * 4096 >= 1024 * 1024
    assert not caplog.records


class Failing(sqlite3.Connection):
    """On a disk that does not write: a checkpoint finds out."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return super().execute(sql, *args)


def test_a_start_that_cannot_write_anew_what_the_last_one_failed_to_sync_is_none(
    tmp_path: pathlib.Path,
) -> None:
    path = str(tmp_path / "db")
    Store.open(path).close()
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Failing)) as db,
        pytest.raises(StoreError, match="Look at the disk"),
    ):
        set_up(db, path)


def test_whoever_keeps_the_log_from_being_renewed_is_told_of(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "db")
    with contextlib.closing(Store.open(path)) as store:
        store.insert(new_job("job"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM jobs").fetchall()
            with contextlib.closing(Store.open(path)) as again:
                assert again.get("job") is not None
    assert ["another program reads it" in record.message for record in caplog.records] == [True]
