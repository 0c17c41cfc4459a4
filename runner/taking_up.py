"""At the start: rows of the store that the directories of jobs know better.

A job that only its directory knows of is taken up from its `spec`; one that the store
believes to be queued, or to be at an earlier attempt, though its directory says that it was begun
is not queued; a spec that is garbled in the store is that of the directory. (A store that was made
anew lacks rows; a damaged write-ahead log takes the last commits back.) Such a job becomes
`starting`, in a boot that is not this one: so `runner.reconcile` finds out where it is, and runs
none again. What is written is `runner.taken_rows`'.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from runner import stored
from runner.jobdirs import BASE, ROW
from runner.lifecycle import State
from runner.records import RecordError
from runner.rows import NewJob
from runner.soundness import checks, connect_reading, is_empty, is_ours
from runner.store_file import FullStoreError, described, set_up
from runner.taken_rows import NO_UID, UNKNOWN_BOOT, UNKNOWN_ROW, DirectoryRow, Stray, row_of, write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isolation.cgroups.tree import CgroupTree
    from runner.jobdirs import JobDirectories

__all__ = ["LOST_UID", "NO_UID", "UNKNOWN_BOOT", "Remark", "row_of", "take_up"]

_logger: Final = logging.getLogger(__name__)

# Of many of a kind.
_MOST_SHOWN: Final = 20
# Nobody's: what it may do is not known either.
LOST_UID: Final = 65534


class Remark(NamedTuple):
    """Something to be said, perhaps of one job."""

    text: str
    job: str | None = None


class _Found(NamedTuple):
    """What has to be written. `begun`: which attempt of which job."""

    strays: list[Stray]
    begun: dict[str, int]
    specs: dict[str, bytes]
    remarks: list[Remark]


_STATES: Final = "SELECT id, state, started_ns IS NOT NULL, {} FROM jobs"
# A job of a group has the group's spec where it has none of its own.
_ACTIVE: Final = (
    "SELECT id, uid, gid, coalesce(specs.spec, (SELECT group_specs.spec FROM groups"
    " CROSS JOIN group_specs USING (seq) WHERE groups.id = jobs.group_id)), group_id"
    " FROM jobs LEFT JOIN specs USING (seq) WHERE state <> 'ended'"
)
# Of versions without groups.
_ACTIVE_ALONE: Final = (
    "SELECT id, uid, gid, spec, NULL FROM jobs CROSS JOIN specs USING (seq) WHERE state <> 'ended'"
)
_RESULT: Final = "SELECT result FROM jobs WHERE id = :id"
_REMOVED: Final = "SELECT job_id FROM events WHERE kind = 'remove'"


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
            write(db, found.strays, found.begun, found.specs)
    except FullStoreError as error:
        # Those that were begun must not be run again.
        if found.begun:
            raise
        text = f"what jobs/ knows better than the store is taken up at the next start: {error}"
        return [Remark(text), *remarks]
    return [*_counted(found), *remarks]


def _look_without_store(directories: JobDirectories) -> _Found:
    found = _Found([], {}, {}, [])
    _look_at_strays(directories.ids(), directories, found)
    if found.strays:
        found.remarks.append(Remark("the store was gone: jobs that were queued are lost"))
    return found


def _look(db: sqlite3.Connection, directories: JobDirectories, tree: CgroupTree) -> _Found:
    found = _Found([], {}, {}, [])
    states = {}
    gone = set()
    columns = checks(db, "jobs")
    attempt = "attempt" if "attempt" in columns else "1"
    for job_id, state, was_begun, number in db.execute(_STATES.format(attempt)):
        states[job_id] = state, number
        if state == State.ENDED.value and was_begun:
            gone.add(job_id)
    gone.difference_update(directories.doomed())
    strays = []
    with_cgroup = set(tree.jobs())
    for job_id in directories.ids():
        gone.discard(job_id)
        if job_id not in states:
            strays.append(job_id)
        # There may be 100,000 that have ended.
        elif states[job_id][0] != State.ENDED.value or job_id in with_cgroup:
            _look_at_attempts(job_id, *states[job_id], directories, tree, found)
    if strays:
        strays = _not_removed(db, strays, directories, found.remarks)
        _look_at_strays(strays, directories, found)
    found.remarks.extend(_gone(sorted(job_id for job_id in gone if _had_output(db, job_id))))
    for job_id, uid, gid, spec, group_id in db.execute(
        _ACTIVE if "group_id" in columns else _ACTIVE_ALONE
    ):
        job = _new_job(job_id, UNKNOWN_ROW, uid, gid, spec)
        _look_at_spec(msgspec.structs.replace(job, group_id=group_id), directories, found)
    return found


def _had_output(db: sqlite3.Connection, job_id: str) -> bool:
    """Whether an ended job has left anything but its row, as far as that says.

    Nothing is synced of a job without output: a power cut may take its directory, and no output.
    """
    (data,) = db.execute(_RESULT, {"id": job_id}).fetchone()
    return not isinstance(data, bytes) or stored.result(data)["log_bytes"] != 0


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


def _look_at_attempts(
    job_id: str,
    state: str,
    attempt: int,
    directories: JobDirectories,
    tree: CgroupTree,
    found: _Found,
) -> None:
    """A job of the store: whether more of it was begun than its row says."""
    is_queued = state == State.QUEUED.value
    try:
        begun = _begun(job_id, attempt + (not is_queued), directories, tree)
    except OSError:
        # Something is there that a launch does not make.
        begun = attempt if is_queued else None
    if begun is None:
        return
    found.begun[job_id] = begun
    if is_queued and begun == attempt:
        # That is no damage: nobody waits for a launch to be on the disk (`runner.store_commits`).
        _logger.info("job %s was queued for all that the store knew, and it was begun", job_id)
        return
    held = "queued" if is_queued else f"attempt {attempt}"
    which = "" if begun == 1 else f" (attempt {begun})"
    found.remarks.append(Remark(f"the store held it for {held}, and it was begun{which}", job_id))


def _begun(job_id: str, first: int, directories: JobDirectories, tree: CgroupTree) -> int | None:
    """The newest attempt, from the given one on, that was begun. Raises OSError."""
    newest = directories.newest_attempt(job_id)
    cgroup = tree.job(job_id)
    # The monitor of an earlier attempt may be about to end.
    if newest >= first and cgroup is not None and cgroup.monitor_pids():
        return newest
    for attempt in range(newest, first - 1, -1):
        if directories.has_exit(job_id, attempt) or directories.has_log(job_id, attempt):
            return attempt
    return None


def _look_at_strays(ids: Iterable[str], directories: JobDirectories, found: _Found) -> None:
    for job_id in ids:
        try:
            stray = _stray(job_id, directories)
        except (OSError, RecordError) as error:
            found.remarks.append(Remark(f"nothing is known of it but its id: {error}", job_id))
            nobodys = _new_job(job_id, UNKNOWN_ROW, LOST_UID, LOST_UID, b"")
            stray = Stray(UNKNOWN_ROW, nobodys)
        found.strays.append(stray)
    found.strays.sort(key=lambda stray: (stray.row.submitted_ns, stray.row.seq))


def _stray(job_id: str, directories: JobDirectories) -> Stray:
    """Of its newest attempt that got as far as a spec. Raises OSError, RecordError."""
    attempt, fields = _newest_spec(job_id, directories)
    row = _row(fields.get(ROW))
    packed = _stored_spec(job_id, fields, directories, attempt)
    stray = _new_job(job_id, row, fields.get("uid"), fields.get("gid"), packed)
    stored.spec(stray)
    return Stray(row, stray, attempt)


def _newest_spec(job_id: str, directories: JobDirectories) -> tuple[int, dict[str, Any]]:
    for attempt in reversed(directories.attempts(job_id)):
        with suppress(FileNotFoundError):
            return attempt, directories.read_spec(job_id, attempt)
    return 1, directories.read_spec(job_id, 1)


def _row(fields: object) -> DirectoryRow:
    """An older runnerd wrote none: then only administrators are to see the job."""
    try:
        return msgspec.convert(fields, DirectoryRow)
    except msgspec.ValidationError:
        return UNKNOWN_ROW


def _stored_spec(
    job_id: str, fields: dict[str, Any], directories: JobDirectories, attempt: int | None = None
) -> bytes:
    """The directory's spec as the store keeps it: with the limits that apply now."""
    fields = {name: value for name, value in fields.items() if name not in {ROW, BASE}}
    try:
        changed = directories.read_limits(job_id, attempt)
    except (OSError, RecordError) as error:
        _logger.warning("job %s: its changed limits cannot be read: %s", job_id, error)
        changed = None
    return stored.pack_spec(fields if changed is None else {**fields, "limits": changed})


def _new_job(job_id: str, row: DirectoryRow, uid: Any, gid: Any, spec: bytes) -> NewJob:  # noqa: ANN401
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
