"""When what the store commits is on disk. A part of the store; what is committed is the others'.

Theory of operation. The write-ahead log is written in the order of the commits and read back, after
a power cut, up to its first break: what is there is always *all* commits up to one of them. In
synchronous=FULL a commit returns when the log is on disk (fdatasync), and so is every commit
before it, whoever made that; in NORMAL it returns before, and only the header of a new log and a
checkpoint are synced, so the file is as sound as in FULL (sqlite.org/wal.html;
sqlite.org/pragma.html, "synchronous"). A kill of runnerd loses neither: what was written is the
kernel's.

So FULL is for what somebody is promised: a removal, another attempt, a change of a queued job, of
limits, of a queue, of a group or of a schedule. Submissions and ends, of which there are many, are
promised, too, and share a sync: they are committed in NORMAL, the store is not settled until the
log was synced, by `settle` or by any commit in FULL, and until then nothing leaves the daemon
(`runner.settling`). Where nobody sees to that they are committed in FULL.

A sync that has failed is not tried again: the kernel may count as clean then what it could not
write, and the next one succeeds (fsync(2); LWN, "PostgreSQL's fsync() surprise"). So the store
stays unsettled, and every sync fails. The descriptor that is synced stays open, as the kernel tells
each one that was open of an error once, whoever else has heard of it: SQLite, that says nothing of
a checkpoint that failed. It is of the same file as SQLite's as long as that has it open: no other
program removes the log of a database that is in use.

NORMAL is enough for these, each because something else says it after a power cut, or nobody needs
it any more:

- `starting` of a job that had waited: a row that says `queued` while the log of that attempt was
  begun counts as `starting` (`runner.taking_up`); the monitor has synced the log's beginning before
  the command is executed. Of one that starts when it is submitted `starting` is part of the
  submission, one commit, on disk (`Job.at_once`), and the monitor syncs nothing: after a power cut
  nobody knows whether it had begun, so it is lost then, not run twice.
- `running`, `paused`, running again: after a power cut no process is there. The end that follows
  records a start that was lost.
- back to `queued` because it never ran: `runner.reconcile` finds that out once more.
- that a job need not wait for the end of another any more: found out anew from that end, at each
  start. A *start* that was waited for is synced: nothing else would say it.
- what an ended job takes on the disk: measured again. Old events that were removed: removed again.

`running` of a job of which nobody is told by events or hooks need not even be a commit of its own:
the row is so in memory, and is written with the next commit, or before anything is read by SQL, or
when whoever was told (`on_deferred`) says so. A kill of runnerd before that leaves `starting`, of
which `runner.reconcile` finds the monitor.

An event is given to nobody before it is on disk (`sync`), so that no number is ever given twice.
No more than MOST_UNSYNCED commits in a row go without: `runner.torn_log` tells a power cut from
a damaged disk by that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from runner.queries import INSERT_EVENT
from runner.rows import DamagedRowError
from runner.store_file import StoreError, as_store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runner.rows import EventData, Value

MOST_UNSYNCED: Final = 16
# SQLite's name for a sync that failed (sqlite.org/rescode.html).
_NOT_SYNCED: Final = "SQLITE_IOERR_FSYNC"

# By whether a commit is to be on disk when it returns. Outside of a transaction only.
_SYNCHRONOUS: Final = {True: "PRAGMA synchronous = FULL", False: "PRAGMA synchronous = NORMAL"}


class JobChange(NamedTuple):
    """A change of a job's state: its SQL, the values, and the event of it."""

    sql: str
    values: Mapping[str, Value]
    uid: int
    time_ns: int
    kind: str
    about: EventData


class StoreCommits:
    """The open database's transactions. `on_events` is called after each that recorded something.

    It is given the number of the newest event of each uid that the commit has recorded one for.
    It may only take note: the change may not have been counted yet. `on_deferred` is told that
    something waits for the next commit, and sees to it that `commit_deferred` is called soon;
    where there is none, or while somebody follows the events (`is_followed`), nothing waits.
    `is_settled`: all that was promised is on disk.
    """

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._connection = db
        self.path = path
        self.on_events: Callable[[Mapping[int, int]], None] | None = None
        self.on_deferred: Callable[[], None] | None = None
        self.is_followed: Callable[[], bool] | None = None
        # By the ids of their jobs.
        self._deferred: dict[str, JobChange] = {}
        self._recorded: dict[int, int] = {}
        # How it was set up: `runner.store_file`.
        self._is_full = True
        self._unsynced = 0
        self.is_settled = True
        self._on_promised: Callable[[], None] | None = None
        # Of the log, once it was opened.
        self._log_fd = -1
        self._failure: StoreError | None = None

    @property
    def _db(self) -> sqlite3.Connection:
        """For whatever is asked or changed by SQL: with all that has happened so far in it."""
        if self._deferred and not self._connection.in_transaction:
            # Where it cannot be written what was there before is read, as if it happened later.
            with contextlib.suppress(StoreError):
                self.commit_deferred()
        return self._connection

    @property
    def has_deferred(self) -> bool:
        """Whether something waits for the next commit."""
        return bool(self._deferred)

    def commit_deferred(self) -> None:
        """Commit what has waited for the next commit. Raises StoreError, and it waits on."""
        if self._deferred:
            with self._transaction(durable=False):
                pass

    def _defer(self, job_id: str, change: JobChange) -> None:
        is_first = not self._deferred
        self._deferred[job_id] = change
        if is_first and self.on_deferred is not None:
            self.on_deferred()

    def _may_defer(self) -> bool:
        is_followed = self.is_followed is not None and self.is_followed()
        return self.on_deferred is not None and not is_followed

    def share_syncs(self, on_promised: Callable[[], None] | None) -> None:
        """From now on what is promised may share a sync; None: no more. Raises StoreError.

        `on_promised` is called after each such commit, and sees to it that `settle` is called soon,
        and that nobody hears of anything before.
        """
        # Later there may be no descriptor left. What a daemon that was killed has promised is read
        # back, and was perhaps never synced.
        if on_promised is not None:
            self._sync_log()
        self._on_promised = on_promised

    def settle(self) -> None:
        """Have on disk what was promised. Raises StoreError: it never will be."""
        if not self.is_settled:
            self._sync_log()

    def sync(self) -> None:
        """Have all on disk that has happened: fdatasync(2) of the log. Raises StoreError."""
        self.commit_deferred()
        if self._unsynced:
            self._sync_log()

    def _sync_log(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._open_log()
        try:
            os.fdatasync(self._log_fd)
        except OSError as error:
            why = f"{self._log}: cannot be synced: {error.strerror}; look at the disk"
            failure = StoreError(why)
            self._fail(failure)
            raise failure from error
        self._unsynced, self.is_settled = 0, True

    @property
    def _log(self) -> str:
        return f"{self.path}-wal"

    def _open_log(self) -> None:
        if self._log_fd >= 0:
            return
        try:
            # SQLite's own locks are on the other two files: closing this one drops none (fcntl(2)).
            self._log_fd = os.open(self._log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{self._log}: cannot be opened: {error.strerror}") from error

    def _close_log(self) -> None:
        """Before the database is closed, which may remove it."""
        self._on_promised = None
        if self._log_fd >= 0:
            os.close(self._log_fd)
            self._log_fd = -1

    def _fail(self, failure: StoreError) -> None:
        """What was not synced may never be."""
        self._failure = failure
        self._unsettle()

    def _unsettle(self) -> None:
        self.is_settled = False
        if self._on_promised is not None:
            self._on_promised()

    @contextlib.contextmanager
    def _transaction(
        self, *, durable: bool = True, promised: bool = False, but: str | None = None
    ) -> Iterator[None]:
        """All of the body committed, or nothing of it; on disk, unless that is not asked for.

        `promised`: before anybody hears of it is enough, where somebody sees to that. Before it,
        what has waited for a commit, `but` that of a job which the body writes itself.
        """
        self._begin()
        db = self._connection
        may_share = promised and self._on_promised is not None
        is_due = (durable and not may_share) or self._unsynced >= MOST_UNSYNCED - 1
        # Of what was written before SQLite's own sync says nothing: a checkpoint within one of
        # these commits may have been told of an error, once, and have kept it to itself.
        is_ours = is_due and self._unsynced > 0 and self._on_promised is not None
        try:
            try:
                self._set_synchronous(is_due and not is_ours)
                before = db.total_changes
                db.execute("BEGIN IMMEDIATE")
                self._write_deferred(but)
                yield
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except (sqlite3.Error, DamagedRowError) as error:
            raise self._refused(error) from error
        self._deferred.clear()
        # Where nothing was changed nothing was written, and nothing synced.
        if db.total_changes != before:
            self._has_written(is_promised=may_share or is_ours)
            if is_ours:
                self._sync_log()
        self._committed()

    def _has_written(self, *, is_promised: bool) -> None:
        """After a transaction that was committed, and changed something."""
        if not self._is_full:
            self._unsynced += 1
            if is_promised:
                self._unsettle()
        elif self._failure is None:
            self._unsynced, self.is_settled = 0, True

    def _refused(self, error: sqlite3.Error | DamagedRowError) -> StoreError:
        """Why a transaction was not committed."""
        refused = as_store_error(self.path, error)
        # It is overwritten by the next one. What was to be synced with it is not.
        is_lost = self._unsynced and getattr(error, "sqlite_errorname", "") == _NOT_SYNCED
        if is_lost and self._failure is None:
            self._fail(refused)
        return refused

    def _set_synchronous(self, is_full: bool) -> None:  # noqa: FBT001 - one of two
        if is_full is not self._is_full:
            self._connection.execute(_SYNCHRONOUS[is_full])
            self._is_full = is_full

    def _write_deferred(self, but: str | None) -> None:
        for job_id, change in self._deferred.items():
            if job_id != but:
                self._write(job_id, change)

    def _write(self, job_id: str, change: JobChange) -> None:
        """Within a transaction."""
        self._connection.execute(change.sql, change.values)
        self._record(job_id, change.time_ns, change.kind, change.about, change.uid)

    def _record(self, job_id: str, time_ns: int, kind: str, about: EventData, uid: int) -> None:
        """Within a transaction: what has happened."""
        data = msgspec.msgpack.encode(about) if about else None
        event = (job_id, time_ns, kind, data, uid)
        # Never None: it was inserted.
        self._recorded[uid] = self._connection.execute(INSERT_EVENT, event).lastrowid or 0

    def _begin(self) -> None:
        """Before a transaction."""
        self._recorded = {}

    def _committed(self) -> None:
        """After a transaction that was committed."""
        if self._recorded and self.on_events is not None:
            self.on_events(self._recorded)
