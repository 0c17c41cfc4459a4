"""At the start: rows of the store that the directories of jobs know better.

A job that only its directory knows of is taken up from its `spec`; one that the store
believes to be queued though its directory says that it was begun is not queued; a spec that
is garbled in the store is that of the directory. (A store that was made anew lacks rows; a
damaged write-ahead log takes the last commits back.) Such a job becomes `starting`, in a boot
that is not this one: so `runner.reconcile` finds out where it is, and runs none again.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from runner import stored
from runner.jobdirs import BASE, ROW
from runner.lifecycle import State
from runner.policy import MAX_UID
from runner.records import RecordError
from runner.rows import NewJob
from runner.soundness import LARGEST_NUMBER, connect_reading, is_empty, is_ours
from runner.store_file import FullStoreError, described, set_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isolation.cgroups.tree import CgroupTree
    from runner.jobdirs import JobDirectories
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

# In the place of a boot's id (random(4)): none has it.
UNKNOWN_BOOT: Final = "unknown"
# Of whom nothing is known: administrators alone see it, and it belongs to nobody (65534).
NO_UID: Final = 0
# Of many of a kind.
_MOST_SHOWN: Final = 20
LOST_UID: Final = 65534


class Remark(NamedTuple):
    """Something to be said, perhaps of one job."""

    text: str
    job: str | None = None


class _Row(msgspec.Struct, frozen=True):
    """What a row says and a spec does not."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)]
    name: Annotated[str, msgspec.Meta(pattern="^[ -~]+$", max_length=1000)] | None
    submitted_by_uid: Annotated[int, msgspec.Meta(ge=0, le=MAX_UID)]
    submitted_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Found(NamedTuple):
    """What has to be written."""

    strays: list[tuple[_Row, NewJob]]
    begun: list[str]
    specs: dict[str, bytes]
    remarks: list[Remark]


_UNKNOWN_ROW: Final = _Row(LARGEST_NUMBER, None, NO_UID, 0)

_STATES: Final = "SELECT id, state, started_ns IS NOT NULL FROM jobs"
_ACTIVE: Final = (
    "SELECT id, uid, gid, spec FROM jobs CROSS JOIN specs USING (seq) WHERE state <> 'ended'"
)
_REMOVED: Final = "SELECT job_id FROM events WHERE kind = 'remove'"
# Those of removed jobs count too: none is used twice.
_LAST: Final = """
SELECT max(coalesce((SELECT max(seq) FROM jobs), 0),
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0))
"""
_IS_TAKEN: Final = "SELECT 1 FROM jobs WHERE seq = ?"
_INSERT: Final = (
    "INSERT INTO jobs (seq, id, submitted_by_uid, uid, gid, name, state, submitted_ns, boot_id)"
    " VALUES (:seq, :id, :submitted_by_uid, :uid, :gid, :name, :state, :submitted_ns, :boot_id)"
)
_INSERT_SPEC: Final = "INSERT INTO specs (seq, spec) VALUES (?, ?)"
_BEGUN: Final = "UPDATE jobs SET state = ?, boot_id = ? WHERE id = ? AND state = 'queued'"
_SPEC: Final = "UPDATE specs SET spec = ? WHERE seq = (SELECT seq FROM jobs WHERE id = ?)"


def row_of(job: Job) -> dict[str, Any]:
    """What the directory's spec is to say of a job's row."""
    return {name: getattr(job, name) for name in _Row.__struct_fields__}


def take_up(path: str, directories: JobDirectories, tree: CgroupTree) -> list[Remark]:
    """Make the store at `path` agree with the directories. Raises StoreError, OSError."""
    with described(path), closing(connect_reading(path)) as db:
        if is_empty(db):
            found = _look_without_store(directories)
        elif is_ours(db):
            found = _look(db, directories, tree)
        else:
            # Whoever opens it says what is wrong.
            return []
    remarks = [*_strangers(directories), *found.remarks]
    if not (found.strays or found.begun or found.specs):
        return remarks
    try:
        with described(path), closing(sqlite3.connect(path, isolation_level=None)) as db:
            set_up(db, path)
            _write(db, found)
    except FullStoreError as error:
        # Those that were begun must not be run again.
        if found.begun:
            raise
        text = f"what jobs/ knows better than the store is taken up at the next start: {error}"
        return [Remark(text), *remarks]
    return [*_counted(found), *remarks]


def _look_without_store(directories: JobDirectories) -> _Found:
    found = _Found([], [], {}, [])
    _look_at_strays(directories.ids(), directories, found)
    if found.strays:
        found.remarks.append(Remark("the store was gone: jobs that were queued are lost"))
    return found


def _look(db: sqlite3.Connection, directories: JobDirectories, tree: CgroupTree) -> _Found:
    found = _Found([], [], {}, [])
    states = {}
    gone = set()
    for job_id, state, was_begun in db.execute(_STATES):
        states[job_id] = state
        if state == State.ENDED.value and was_begun:
            gone.add(job_id)
    gone.difference_update(directories.doomed())
    strays = []
    for job_id in directories.ids():
        gone.discard(job_id)
        state = states.get(job_id)
        if state is None:
            strays.append(job_id)
        elif state == State.QUEUED.value and _was_begun(job_id, directories, tree):
            found.begun.append(job_id)
            found.remarks.append(Remark("the store held it for queued, and it was begun", job_id))
    if strays:
        strays = _not_removed(db, strays, directories, found.remarks)
        _look_at_strays(strays, directories, found)
    found.remarks.extend(_gone(sorted(gone)))
    for job_id, uid, gid, spec in db.execute(_ACTIVE):
        _look_at_spec(_new_job(job_id, _UNKNOWN_ROW, uid, gid, spec), directories, found)
    return found


def _not_removed(
    db: sqlite3.Connection,
    strays: list[str],
    directories: JobDirectories,
    remarks: list[Remark],
) -> list[str]:
    """Those that nobody removed: a power cut may bring a directory back, but not its row."""
    removed = {job_id for (job_id,) in db.execute(_REMOVED)}
    for job_id in strays:
        if job_id in removed:
            try:
                # Its removal is finished later in the start.
                directories.doom(job_id)
            except OSError as error:
                why = f"it was removed and its directory stays: {error.strerror}"
                remarks.append(Remark(why, job_id))
    return [job_id for job_id in strays if job_id not in removed]


def _was_begun(job_id: str, directories: JobDirectories, tree: CgroupTree) -> bool:
    cgroup = tree.job(job_id)
    if cgroup is not None and cgroup.monitor_pids():
        return True
    try:
        return directories.has_exit(job_id) or directories.has_log(job_id)
    except OSError:
        # Something is there that a launch does not make.
        return True


def _look_at_strays(ids: Iterable[str], directories: JobDirectories, found: _Found) -> None:
    for job_id in ids:
        try:
            stray = _stray(job_id, directories)
        except (OSError, RecordError) as error:
            found.remarks.append(Remark(f"nothing is known of it but its id: {error}", job_id))
            stray = _UNKNOWN_ROW, _new_job(job_id, _UNKNOWN_ROW, LOST_UID, LOST_UID, b"")
        found.strays.append(stray)
    found.strays.sort(key=lambda stray: (stray[0].submitted_ns, stray[0].seq))


def _stray(job_id: str, directories: JobDirectories) -> tuple[_Row, NewJob]:
    """Raises OSError, RecordError."""
    fields = directories.read_spec(job_id)
    row = _row(fields.get(ROW))
    packed = _stored_spec(job_id, fields, directories)
    stray = _new_job(job_id, row, fields.get("uid"), fields.get("gid"), packed)
    stored.spec(stray)
    return row, stray


def _row(fields: object) -> _Row:
    """An older runnerd wrote none: then only administrators are to see the job."""
    try:
        return msgspec.convert(fields, _Row)
    except msgspec.ValidationError:
        return _UNKNOWN_ROW


def _stored_spec(job_id: str, fields: dict[str, Any], directories: JobDirectories) -> bytes:
    """The directory's spec as the store keeps it: with the limits that apply now."""
    fields = {name: value for name, value in fields.items() if name not in {ROW, BASE}}
    try:
        changed = directories.read_limits(job_id)
    except (OSError, RecordError) as error:
        _logger.warning("job %s: its changed limits cannot be read: %s", job_id, error)
        changed = None
    return stored.pack_spec(fields if changed is None else {**fields, "limits": changed})


def _new_job(job_id: str, row: _Row, uid: Any, gid: Any, spec: bytes) -> NewJob:  # noqa: ANN401
    return NewJob(
        id=job_id,
        submitted_by_uid=row.submitted_by_uid,
        uid=uid,
        gid=gid,
        name=row.name,
        spec=spec,
        submitted_ns=row.submitted_ns,
    )


def _look_at_spec(job: NewJob, directories: JobDirectories, found: _Found) -> None:
    """A job that has not ended needs its spec."""
    try:
        stored.spec(job)
    except RecordError as error:
        damage = f"its spec in the store is damaged ({error})"
    else:
        return
    try:
        packed = _stored_spec(job.id, directories.read_spec(job.id), directories)
        stored.spec(msgspec.structs.replace(job, spec=packed))
    except (OSError, RecordError):
        found.remarks.append(Remark(f"{damage}, and its directory has no other", job.id))
        return
    found.specs[job.id] = packed
    found.remarks.append(Remark(f"{damage}; that of its directory is used", job.id))


def _strangers(directories: JobDirectories) -> list[Remark]:
    """What a directory of a job holds is looked at when it is needed; there may be 100,000."""
    names = directories.strangers()
    if not names:
        return []
    text = "left alone in jobs/, as it is no directory of a job; remove it or move it away"
    return [Remark(f"{text}: {_listed(names)}")]


def _gone(ids: list[str]) -> list[Remark]:
    if not ids:
        return []
    return [Remark(f"ended jobs whose directory is gone, and with it their output: {_listed(ids)}")]


def _listed(names: list[str]) -> str:
    shown = [ascii(name)[1:-1] for name in names[:_MOST_SHOWN]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _counted(found: _Found) -> list[Remark]:
    count = len(found.strays)
    if not count:
        return []
    what = "1 job was" if count == 1 else f"{count} jobs were"
    return [Remark(f"{what} not in the store: taken up from jobs/, to go on or to be ended")]


def _write(db: sqlite3.Connection, found: _Found) -> None:
    """All of it, in one transaction."""
    starting = State.STARTING.value
    db.execute("BEGIN IMMEDIATE")
    try:
        last = db.execute(_LAST).fetchone()[0]
        for row, stray in found.strays:
            is_free = row.seq < LARGEST_NUMBER and not db.execute(_IS_TAKEN, (row.seq,)).fetchone()
            seq = row.seq if is_free else last + 1
            last = max(last, seq)
            values = {**msgspec.structs.asdict(stray), "seq": seq, "state": starting}
            db.execute(_INSERT, {**values, "boot_id": UNKNOWN_BOOT})
            db.execute(_INSERT_SPEC, (seq, stray.spec))
            _logger.warning("job %s taken up from its directory", stray.id)
        for job_id in found.begun:
            db.execute(_BEGUN, (starting, UNKNOWN_BOOT, job_id))
        for job_id, spec in found.specs.items():
            db.execute(_SPEC, (spec, job_id))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
