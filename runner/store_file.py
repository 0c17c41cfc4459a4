"""The store's one file: made private, set up, kept from failing on a full disk; its errors.

What is in it is `runner.store`'s, how it came to its schema `runner.migrations`'.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from typing import TYPE_CHECKING, Final

from runner.migrations import SchemaError, migrate
from runner.rows import DamagedRowError
from runner.schema import make_indexes

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger(__name__)

_SETTINGS: Final = (
    # Milliseconds. Somebody who looks into the file with sqlite3(1) may hold a lock, and this
    # waits in everybody's loop: what fails is tried again, or refused.
    "PRAGMA busy_timeout = 100",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
# As long as the log gets before a checkpoint (1,000 pages), and a commit more: it is never made
# longer then, so a sync of it writes data alone, and waits for no journal of the file system.
_RESERVE_BYTES: Final = 1056 * 4096
# A disk that did not write.
_NOT_SYNCED: Final = frozenset({"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})
RESTART: Final = "Restart runnerd: it makes a new one of what can be read, and keeps this one"
# By the beginning of SQLite's name for the error (sqlite.org/rescode.html).
_REMEDIES: Final = {
    "SQLITE_NOTADB": RESTART,
    "SQLITE_CORRUPT": RESTART,
    "SQLITE_IOERR_READ": RESTART,
    "SQLITE_IOERR_SHORT_READ": RESTART,
    "SQLITE_IOERR_FSYNC": "Look at the disk",
    "SQLITE_BUSY": "Another program has it open and locked; end that one",
    "SQLITE_FULL": "Make room on its file system",
    "SQLITE_READONLY": "Make the file, its directory and its file system writable",
}


class StoreError(Exception):
    """The store cannot be read or written. The text names the file and what to do."""


class FullStoreError(StoreError):
    """There is no room for what was to be written: SQLITE_FULL (sqlite.org/rescode.html)."""


class DamagedStoreError(StoreError):
    """What is there is no database any more, or a part of it cannot be read."""


def make_private(path: str) -> None:
    """Make the file when it is not there. Its log and index get its mode from SQLite."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StoreError(f"{path}: not a regular file")
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def set_up(db: sqlite3.Connection, path: str) -> None:
    """Settings, schema, room. Raises StoreError."""
    # A text that is not UTF-8 any more costs itself, not the list that its row is in.
    db.text_factory = readable
    with described(path):
        for setting in _SETTINGS:
            db.execute(setting)
        _check_wal(db, path)
        try:
            migrate(db)
        except SchemaError as error:
            raise StoreError(f"{path}: {error}") from None
        if made := make_indexes(db):
            _logger.warning("%s: made again, as they were missing: %s", path, ", ".join(made))
    _reserve_room(db, path)


def _reserve_room(db: sqlite3.Connection, path: str) -> None:
    """Make the files larger than they need be, so that a full disk does not stop the store.

    The end of a job, and the removal of jobs that makes room, are stored in pages that are
    there already: free ones of the database, and those of the write-ahead log, which SQLite
    writes over from its beginning after a checkpoint (sqlite.org/wal.html).

    The checkpoint also writes anew what the last runnerd failed to sync: the kernel has that, and
    counts it as clean (`runner.settling`). What is committed after it begins the log anew, so none
    is read back that has a hole. Raises StoreError when it cannot be synced now either.
    """
    try:
        # Of a start that was killed.
        db.execute("DROP TABLE IF EXISTS reserve")
        db.execute("CREATE TABLE reserve (room BLOB)")
        db.execute("INSERT INTO reserve VALUES (zeroblob(?))", (_RESERVE_BYTES,))
        (is_busy, _, _) = db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        db.execute("DROP TABLE reserve")
    except sqlite3.Error as error:
        if _name_of(error) in _NOT_SYNCED:
            raise as_store_error(path, error) from error
        _logger.warning("%s: no room can be kept back for a full disk: %s", path, error)
        with contextlib.suppress(sqlite3.Error):
            db.execute("DROP TABLE IF EXISTS reserve")
    else:
        if is_busy:
            _logger.warning("%s: another program reads it, and keeps its log from being renewed; "
                            "end that one and start runnerd again", path)  # fmt: skip


def _check_wal(db: sqlite3.Connection, path: str) -> None:
    # SQLite answers with the mode it stays in where a file system has no shared memory.
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"{path}: this file system cannot hold a write-ahead log (SQLite stays in mode "
            f"{mode}); put the state directory on a local one"
        )


def readable(data: bytes) -> str:
    """A text of the database, whatever the disk has made of it."""
    return data.decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def described(path: str) -> Iterator[None]:
    """Turn the errors of SQLite into ours: what, where, what to do."""
    try:
        yield
    except (sqlite3.Error, DamagedRowError) as error:
        raise as_store_error(path, error) from error


def as_store_error(path: str, error: sqlite3.Error | DamagedRowError) -> StoreError:
    """The same of one."""
    if isinstance(error, DamagedRowError):
        return DamagedStoreError(f"{path}: {error}")
    name = _name_of(error)
    remedies = [text for start, text in _REMEDIES.items() if name.startswith(start)]
    message = ". ".join([f"{path}: {error} ({name})", *remedies])
    return _kind(name, remedies)(message)


def _name_of(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def _kind(name: str, remedies: list[str]) -> type[StoreError]:
    if name.startswith("SQLITE_FULL"):
        return FullStoreError
    return DamagedStoreError if RESTART in remedies else StoreError
