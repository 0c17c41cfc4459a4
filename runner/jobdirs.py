"""The directories of jobs below the state directory: made, read and removed by descriptor.

    jobs/<id>/{spec, control, limits, update, stop, exit, log/}   attempt 1
    jobs/<id>/attempt-<N>/{the same}                              attempt N, from 2 on

Nothing is ever renamed. A method that takes an `attempt` looks at that one; None is the newest
that is there. The contents' formats are `runner.records` and `runner.logs`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner import attemptdirs, records, stored
from runner.files import read_bounded, read_within, remove_tree, write_new, write_synced
from runner.logs.format import LOG_SUFFIX, log_name, parse_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger(__name__)

JOBS: Final = "jobs"
# What a spec in a directory says beyond the store's: the first id of the job's user namespace,
# and its row (`runner.taking_up`).
BASE: Final = "base"
ROW: Final = "row"
# A directory of a job that is being removed, under a name that no job has.
_DOOMED: Final = "removed-"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BLANK: Final = bytes(records.EXIT_BYTES)
# For reading too: then opening never waits, and a record that is written while the monitor has
# not looked yet stays in the FIFO as long as either side has it open.
_CONTROL: Final = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_NOTED: Final = 4096


class JobFiles(NamedTuple):
    """Open descriptors of one job: its directory, its log directory, its control FIFO."""

    job_dir: int
    log_dir: int
    control: int

    def close(self) -> None:
        """Close all three."""
        for fd in self:
            os.close(fd)


class JobDirectories:
    """All job directories of one state directory. Raises OSError of the calls it makes."""

    def __init__(self, state_dir: str) -> None:
        self.path = os.path.join(state_dir, JOBS)
        os.makedirs(self.path, 0o700, exist_ok=True)
        self._fd = os.open(self.path, attemptdirs.OPEN)
        # How long the specs are of first attempts whose directories nobody but their monitor has
        # put anything into since; of so many at most.
        self._untouched: dict[str, int] = {}

    def close(self) -> None:
        """Close the one descriptor that is kept."""
        os.close(self._fd)

    def create(self, job_id: str, spec: bytes, attempt: int = 1) -> JobFiles:
        """Make an attempt's directory afresh. What an earlier launch of it left is removed.

        Earlier attempts stay as they are.
        """
        _check(job_id)
        job_dir = attemptdirs.made_afresh(self._fd, job_id, attempt)
        self._untouched.pop(job_id, None)
        if attempt == 1 and len(self._untouched) < _MOST_NOTED:
            self._untouched[job_id] = len(spec)
        opened = [job_dir]
        try:
            os.mkdir(records.LOG_DIRECTORY, 0o700, dir_fd=job_dir)
            os.mkfifo(records.CONTROL, 0o600, dir_fd=job_dir)
            write_new(job_dir, records.SPEC, spec)
            # The exit record's room, taken while a lack of it can be told.
            write_new(job_dir, records.EXIT_TEMPORARY, _BLANK)
            opened.append(os.open(records.LOG_DIRECTORY, attemptdirs.OPEN, dir_fd=job_dir))
            opened.append(os.open(records.CONTROL, _CONTROL, dir_fd=job_dir))
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return JobFiles(*opened)

    def untouched(self, job_id: str) -> int | None:
        """How long a job's spec is, once; None where its directory may hold more than usual."""
        return self._untouched.pop(job_id, None)

    def discard(self, job_id: str, attempt: int) -> None:
        """Remove what a launch of the newest attempt left that ran nothing. Raises OSError."""
        _check(job_id)
        attemptdirs.remove(self._fd, job_id, attempt)

    def attempts(self, job_id: str) -> list[int]:
        """The attempts from 2 on that have a directory, in order. Raises OSError."""
        _check(job_id)
        with suppress(FileNotFoundError), self._opened(job_id, 1) as job_dir:
            return attemptdirs.later(job_dir)
        return []

    def newest_attempt(self, job_id: str) -> int:
        """The newest attempt that has a directory; 1 when there is none. Raises OSError."""
        return max(self.attempts(job_id), default=1)

    def ids(self) -> list[str]:
        """The jobs that have something here, be it a directory or not."""
        return [name for name in os.listdir(self._fd) if _ID.fullmatch(name)]

    def strangers(self) -> list[str]:
        """What is here that belongs to no job: another name, or not a directory."""
        with os.scandir(self._fd) as entries:
            return sorted(entry.name for entry in entries if _is_strange(entry))

    def log_path(self, job_id: str, attempt: int | None = None) -> str:
        """Where an attempt's log is, whether or not it has begun. Raises OSError for None."""
        _check(job_id)
        which = self.newest_attempt(job_id) if attempt is None else attempt
        within = attemptdirs.path_within(which)
        return os.path.join(self.path, job_id, within, records.LOG_DIRECTORY)

    def has_log(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether a monitor began the attempt: it may have run."""
        try:
            with self._opened_log(job_id, attempt) as log_dir:
                return bool(os.listdir(log_dir))
        except FileNotFoundError:
            return False

    def output_bytes(self, job_id: str, attempt: int | None = None) -> int:
        """How much output an attempt has written so far: where its newest segment ends."""
        with suppress(FileNotFoundError), self._opened_log(job_id, attempt) as log_dir:
            parsed = [name for name in map(parse_name, os.listdir(log_dir)) if name is not None]
            start = max((start for start, suffix in parsed if suffix == LOG_SUFFIX), default=None)
            if start is not None:
                found = os.stat(log_name(start), dir_fd=log_dir, follow_symlinks=False)
                return start + found.st_size
        return 0

    def has_exit(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether there is something in the place of the exit record."""
        return self._has(job_id, records.EXIT, attempt)

    def read_exit(self, job_id: str, attempt: int | None = None) -> dict[str, Any] | None:
        """The exit record; None when there is none. Raises RecordError for a garbled one."""
        data = self.read_exit_bytes(job_id, attempt)
        return None if data is None else stored.exit_record(data, job_id)

    def read_exit_bytes(self, job_id: str, attempt: int | None = None) -> bytes | None:
        """The same, unread. Raises OSError."""
        try:
            if attempt == 1:
                _check(job_id)
                name = f"{job_id}/{records.EXIT}"
                return read_within(self._fd, name, records.MAX_EXIT_BYTES)
            with self._opened(job_id, attempt) as job_dir:
                return read_bounded(job_dir, records.EXIT, records.MAX_EXIT_BYTES)
        except FileNotFoundError:
            return None

    def read_spec(self, job_id: str, attempt: int | None = None) -> dict[str, Any]:
        """The spec as it was launched, unchecked. Raises OSError, RecordError."""
        with self._opened(job_id, attempt) as job_dir:
            return records.unpack(read_bounded(job_dir, records.SPEC, records.MAX_SPEC_BYTES))

    def read_limits(self, job_id: str, attempt: int | None = None) -> dict[str, Any] | None:
        """The limits that apply where they were changed. Raises OSError, RecordError."""
        try:
            with self._opened(job_id, attempt) as job_dir:
                data = read_bounded(job_dir, records.LIMITS, records.MAX_LIMITS_BYTES)
        except FileNotFoundError:
            return None
        return stored.limits(data)

    def read_base(self, job_id: str) -> int | None:
        """The first id of the range that a job's user namespace was launched with, if any."""
        try:
            base = self.read_spec(job_id).get(BASE)
        except (OSError, records.RecordError):
            return None
        return base if isinstance(base, int) and base > 0 else None

    def send_stop(self, job_id: str, uid: int, grace_seconds: float) -> None:
        """Tell the job's monitor to end it, and leave a mark that it was asked to.

        A job may end by itself just then, or lose its monitor: the mark says also after a crash
        that nobody wants it to be tried again. Raises OSError when the job has no directory.
        """
        self._mark_stop(job_id)
        # Full: as many requests wait already, and one is enough.
        with suppress(BlockingIOError):
            self.send(job_id, records.CONTROL_STOP, uid, round(grace_seconds * 1000))

    def _mark_stop(self, job_id: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._untouched.pop(job_id, None)
        with self._opened(job_id) as job_dir:
            try:
                os.close(os.open(records.STOP, flags, 0o600, dir_fd=job_dir))
                os.fsync(job_dir)
            except OSError as error:
                # The disk is full: its end matters more than what may come after it.
                _logger.error("job %s: its stop leaves no mark: %s", job_id, error)  # noqa: TRY400

    def is_stop_asked(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether somebody asked for the end of an attempt. Raises OSError."""
        return self._has(job_id, records.STOP, attempt)

    def send(self, job_id: str, kind: int, uid: int = 0, grace_ms: int = 0) -> None:
        """Give the job's monitor a control record (`runner.records`).

        Raises OSError when the job has no directory, BlockingIOError when its monitor reads
        none.
        """
        with self._opened(job_id) as job_dir:
            control = self._open_control(job_dir)
        try:
            os.write(control, records.CONTROL_RECORD.pack(kind, uid, grace_ms))
        finally:
            os.close(control)

    def check_control(self, job_id: str) -> None:
        """Whether the job's monitor can be told anything. Raises OSError."""
        with self._opened(job_id) as job_dir:
            os.close(self._open_control(job_dir))

    def write_limits(self, job_id: str, limits: dict[str, Any]) -> None:
        """Write what applies from now on, whole or not at all; the monitor has to be told.

        On disk, because what a job was promised must not be a torn file. Raises OSError.
        """
        self._untouched.pop(job_id, None)
        with self._opened(job_id) as job_dir:
            temporary = records.LIMITS_TEMPORARY
            write_synced(job_dir, temporary, records.pack(limits))
            os.rename(temporary, records.LIMITS, src_dir_fd=job_dir, dst_dir_fd=job_dir)

    def has_limits(self, job_id: str) -> bool:
        """Whether the job's limits were ever changed since its launch."""
        return self._has(job_id, records.LIMITS)

    def write_intent(self, job_id: str, fields: dict[str, Any]) -> None:
        """Say what an update is about to change. Raises OSError."""
        self._untouched.pop(job_id, None)
        with self._opened(job_id) as job_dir:
            write_synced(job_dir, records.INTENT, records.pack(fields))

    def read_intent(self, job_id: str) -> dict[str, Any] | None:
        """The update that was under way, None when there was none.

        Raises OSError, RecordError for one that was not written to its end: then nothing was
        changed yet.
        """
        try:
            with self._opened(job_id) as job_dir:
                data = read_bounded(job_dir, records.INTENT, records.MAX_LIMITS_BYTES)
        except FileNotFoundError:
            return None
        return stored.intent(data)

    def forget_intent(self, job_id: str) -> None:
        """The update is done, or taken back."""
        with suppress(FileNotFoundError), self._opened(job_id) as job_dir:
            os.unlink(records.INTENT, dir_fd=job_dir)

    def doom(self, job_id: str) -> None:
        """Take a job's directory out of use at once; `remove_doomed` does the work."""
        _check(job_id)
        self._untouched.pop(job_id, None)
        doomed = _DOOMED + job_id
        try:
            os.rename(job_id, doomed, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except FileNotFoundError:
            return
        except OSError:
            if not attemptdirs.is_there(self._fd, doomed):
                raise
            remove_tree(self._fd, doomed)
            os.rename(job_id, doomed, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def doomed(self) -> list[str]:
        """The ids of jobs whose directories wait for removal."""
        names = os.listdir(self._fd)
        return [name.removeprefix(_DOOMED) for name in names if name.startswith(_DOOMED)]

    def remove_doomed(self, job_id: str) -> None:
        """Remove a doomed directory; none is no error."""
        with suppress(FileNotFoundError):
            remove_tree(self._fd, _DOOMED + job_id)

    @contextmanager
    def _opened(self, job_id: str, attempt: int | None = None) -> Iterator[int]:
        """The directory of an attempt: the newest's, unless it is named."""
        _check(job_id)
        job_dir = attemptdirs.opened(self._fd, job_id, attempt)
        try:
            yield job_dir
        finally:
            os.close(job_dir)

    @contextmanager
    def _opened_log(self, job_id: str, attempt: int | None) -> Iterator[int]:
        with self._opened(job_id, attempt) as job_dir:
            log_dir = os.open(records.LOG_DIRECTORY, attemptdirs.OPEN, dir_fd=job_dir)
        try:
            yield log_dir
        finally:
            os.close(log_dir)

    def _has(self, job_id: str, name: str, attempt: int | None = None) -> bool:
        with suppress(FileNotFoundError), self._opened(job_id, attempt) as job_dir:
            os.stat(name, dir_fd=job_dir, follow_symlinks=False)
            return True
        return False

    @staticmethod
    def _open_control(job_dir: int) -> int:
        control = os.open(records.CONTROL, _CONTROL, dir_fd=job_dir)
        # What is written to a file that lies in its place nobody reads.
        if not stat.S_ISFIFO(os.fstat(control).st_mode):
            os.close(control)
            raise OSError(errno.EINVAL, "not a FIFO", records.CONTROL)
        return control


def _is_strange(entry: os.DirEntry[str]) -> bool:
    # Of a file system whose root this is.
    if entry.name == "lost+found":
        return False
    # The kind comes with the name (readdir(3)): no job's directory is opened for it.
    is_one = entry.is_dir(follow_symlinks=False)
    return not is_one or _ID.fullmatch(entry.name.removeprefix(_DOOMED)) is None


def _check(job_id: str) -> None:
    """An id comes from the store, which a disk may have garbled: "../x" is none."""
    if _ID.fullmatch(job_id) is None:
        raise ValueError(f"not a job's id: {job_id!a}")
