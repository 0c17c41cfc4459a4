"""The schema: made whole or not at all, and only in a database that is ours or empty."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from runner import migrations
from runner.migrations import APPLICATION_ID, SCRIPTS, SchemaError, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE x (y)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"],
)
def test_a_database_of_another_program_is_refused(db: sqlite3.Connection, statement: str) -> None:
    db.execute(statement)
    with pytest.raises(SchemaError, match="another program"):
        migrate(db)
