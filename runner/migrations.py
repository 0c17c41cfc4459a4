"""The schema of the store, as numbered steps from an empty file to today.

Step N takes a database of version N-1 (PRAGMA user_version) to N, in one transaction: a
crash leaves the old version or the new one. A step that was released is never edited; a
change is a new step at the end. What the rows mean is `runner.store`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.migration_steps import SCRIPTS

if TYPE_CHECKING:
    import sqlite3

__all__ = ["APPLICATION_ID", "SCRIPTS", "SchemaError", "migrate"]

# Tells our files from other programs' databases: "rund" (PRAGMA application_id).
APPLICATION_ID: Final = 0x72756E64


class SchemaError(ValueError):
    """The file is a database, but not one that this program can work with."""


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to the newest version. Nothing is written when it is there already.

    Raises SchemaError when it is newer than this program or another program's, and
    sqlite3.Error when it cannot be read or written.
    """
    version = _pragma(db, "user_version")
    _check_ours(db, version)
    for number in range(version + 1, len(SCRIPTS) + 1):
        _apply(db, number)


def _check_ours(db: sqlite3.Connection, version: int) -> None:
    application = _pragma(db, "application_id")
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    is_new = version == 0 and application == 0 and objects == 0
    if application != APPLICATION_ID and not is_new:
        raise SchemaError("this is the database of another program, not of runnerd")
    if version > len(SCRIPTS):
        raise SchemaError(
            f"its version is {version} and this runnerd knows {len(SCRIPTS)}: "
            "it was used by a newer runnerd, so start that one"
        )


def _apply(db: sqlite3.Connection, number: int) -> None:
    # Both pragmas are fields of the file's header and part of the transaction.
    stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
    # Enforced, a dropped table would take with it what refers to it; and it can only be
    # switched outside of a transaction.
    enforced = _pragma(db, "foreign_keys")
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        db.executescript(f"BEGIN IMMEDIATE; {SCRIPTS[number - 1]} {stamp}")
        if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise SchemaError(f"step {number} of its schema would leave specs without their job")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute(f"PRAGMA foreign_keys = {enforced}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)
