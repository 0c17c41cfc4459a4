"""When what the store commits is on disk. A part of the store; what is committed is the others'.

Theory of operation. The write-ahead log is written in the order of the commits and read back, after
a power cut, up to its first break: what is there is always *all* commits up to one of them. In
synchronous=FULL a commit returns when the log is on disk (fdatasync), and so is every commit
before it, whoever made that; in NORMAL it returns before, and only the header of a new log and a
checkpoint are synced, so the file is as sound as in FULL (sqlite.org/wal.html;
sqlite.org/pragma.html, "synchronous"). A kill of runnerd loses neither: what was written is the
kernel's.

So FULL is for what somebody is promised: a submission, an end, a removal, another attempt, a change
of a queued job, of limits, of a queue, of a group or of a schedule. NORMAL is enough for these,
each because something else says it after a power cut, or nobody needs it any more:

- `starting`: a row that says `queued` while the log of that attempt was begun counts as `starting`
  (`runner.taking_up`); the monitor has synced the log's beginning before the command is executed.
- `running`, `paused`, running again: after a power cut no process is there. The end that follows
  records a start that was lost.
- back to `queued` because it never ran: `runner.reconcile` finds that out once more.
- that a job need not wait for the end of another any more: found out anew from that end, at each
  start. A *start* that was waited for is synced: nothing else would say it.
- what an ended job takes on the disk: measured again. Old events that were removed: removed again.

An event is given to nobody before it is on disk (`sync`), so that no number is ever given twice.
No more than MOST_UNSYNCED commits in a row go without: `runner.torn_log` tells a power cut from
a damaged disk by that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

from runner.rows import DamagedRowError
from runner.store_file import StoreError, as_store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOST_UNSYNCED: Final = 16

# By whether a commit is to be on disk when it returns. Outside of a transaction only.
_SYNCHRONOUS: Final = {True: "PRAGMA synchronous = FULL", False: "PRAGMA synchronous = NORMAL"}


class StoreCommits:
    """The open database's transactions. `on_events` is called after each that recorded something.

    It is given the number of the newest event of each uid that the commit has recorded one for.
    It may only take note: the change may not have been counted yet.
    """

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self.path = path
        self.on_events: Callable[[Mapping[int, int]], None] | None = None
        self._recorded: dict[int, int] = {}
        # How it was set up: `runner.store_file`.
        self._is_full = True
        self._unsynced = 0

    def sync(self) -> None:
        """Have all on disk that is committed: fdatasync(2) of the log. Raises StoreError."""
        if not self._unsynced:
            return
        log = f"{self.path}-wal"
        try:
            # SQLite's own locks are on the other two files: closing this one drops none (fcntl(2)).
            fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            why = f"{log}: cannot be synced: {error.strerror}; look at the disk"
            raise StoreError(why) from error
        self._unsynced = 0

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[None]:
        """All of the body committed, or nothing of it; on disk, unless that is not asked for."""
        self._begin()
        db = self._db
        try:
            try:
                self._set_synchronous(durable or self._unsynced >= MOST_UNSYNCED - 1)
                before = db.total_changes
                db.execute("BEGIN IMMEDIATE")
                yield
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except (sqlite3.Error, DamagedRowError) as error:
            raise as_store_error(self.path, error) from error
        # Where nothing was changed nothing was written, and nothing synced.
        if db.total_changes != before:
            self._unsynced = 0 if self._is_full else self._unsynced + 1
        self._committed()

    def _set_synchronous(self, is_full: bool) -> None:  # noqa: FBT001 - one of two
        if is_full is not self._is_full:
            self._db.execute(_SYNCHRONOUS[is_full])
            self._is_full = is_full

    def _begin(self) -> None:
        """Before a transaction."""
        self._recorded = {}

    def _committed(self) -> None:
        """After a transaction that was committed."""
        if self._recorded and self.on_events is not None:
            self.on_events(self._recorded)
