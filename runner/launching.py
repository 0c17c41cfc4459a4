"""One launch: from a committed `starting` to a monitor that runs. Undoes what it made if not.

Of a plain job, for which nothing has to be waited for, everything is made and its launcher asked in
one go, without a task (`Launching.begin`). For any other there is a coroutine: what may block runs
in a small pool of threads, one job each at a time. The descriptors made for a launch are closed in
every case. How many are under way, and what becomes of one that failed, is `runner.launches`'.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from isolation import device_filter
from isolation.errors import LimitUnavailable
from runner import limits as job_limits
from runner import records, stored
from runner import spec as specs
from runner.handles import Handles
from runner.jobdirs import BASE, ROW
from runner.launch_answers import Launched, LaunchError
from runner.reconcile import is_passing
from runner.refusal import Refusal
from runner.taking_up import row_of
from runner.told import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from isolation.cgroups.tree import CgroupTree, JobCgroup
    from runner.group_rows import About, Group
    from runner.jobdirs import JobDirectories, JobFiles
    from runner.launch_answers import Answer
    from runner.launchers import Launchers
    from runner.paths import UserPaths
    from runner.provisions import Provisioning, Provisions
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

_NO_ROOM: Final = "remove ended jobs (`runctl prune`), or make room otherwise (`runctl doctor`)"
# Of a directory that cannot be made.
_REMEDIES: Final = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EROFS: "the state directory's file system must be writable; look at the disk",
    errno.EIO: "look at the disk",
}

_SMALL_BYTES: Final = 65536
_SLOW: Final = ("io", "io_weight", "cpu_set")

# Of a directory or cgroups that cannot be made: no room, or as many cgroups as there may be.
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN})

_NO_LIMITS: Final = records.pack({})


class CannotLaunchError(Exception):
    """Nothing of the job runs, and nothing is left of the attempt. The text says why."""


class HostShortError(CannotLaunchError):
    """The same, but it is the host that lacks something for now: any other job fails as well."""


class _NoPlaceError(OSError):
    """What every job needs, whatever it asked for, could not be made: directory or cgroups."""


class Started(NamedTuple):
    """A running job: its monitor, and its limits as the kernel reads them back (a record).

    `asked_ns` is when a launcher was asked, Unix time: a short job has ended before the answer is
    read, and none ends before it starts.
    """

    monitor: Launched
    limits: bytes
    asked_ns: int


# What came of a launch, in the end.
Begun: TypeAlias = Started | Exception


class Launching:
    """Everything that a launch needs. One for the daemon."""

    def __init__(
        self,
        *,
        directories: JobDirectories,
        tree: CgroupTree,
        provisions: Provisioning,
        launchers: Launchers,
        pool: Executor,
        paths: UserPaths,
        cap_monitor: Callable[[dict[str, Any], dict[str, Any]], int] | None,
    ) -> None:
        self._directories = directories
        self._tree = tree
        self._provisions = provisions
        self._launchers = launchers
        self._pool = pool
        self._paths = paths
        self._cap_monitor = cap_monitor

    def begin(
        self,
        job: Job,
        labels: Mapping[str, str],
        group: tuple[Group, About] | None,
        done: Callable[[Begun], None],
    ) -> bool:
        """Launch a plain job: everything is made, and a launcher asked, when this returns.

        `done` is given what came of it, perhaps before that: an exception is for `take_back`.
        False: this job is one for `launch`, and nothing was done. The rest as there.
        """
        fds: list[int] = []
        try:
            spec = specs.known(job) or stored.spec(job)
            provided = self._at_hand(job, spec)
            if provided is None:
                return False
            return self._ask(job, labels, group, spec, provided, fds, done)
        except Exception as error:  # noqa: BLE001 - `take_back` tells what it is
            done(error)
            return True
        finally:
            _close_all(fds)

    def _at_hand(self, job: Job, spec: dict[str, Any]) -> Provisions | None:
        """What a plain job needs; None: it is none, or something has to be waited for."""
        is_one = _is_quick(job, spec) and self._launchers.takes(spec)
        return self._provisions.at_hand(spec) if is_one else None

    def _ask(
        self,
        job: Job,
        labels: Mapping[str, str],
        group: tuple[Group, About] | None,
        spec: dict[str, Any],
        provided: Provisions,
        fds: list[int],
        done: Callable[[Begun], None],
    ) -> bool:
        handles, shown = self._make(job, labels, told(job, group), spec, {}, provided, fds)

        asked_ns = time.time_ns()

        def answered(answer: Answer) -> None:
            done(answer if isinstance(answer, Exception) else Started(answer, shown, asked_ns))

        present = handles.present()
        if self._launchers.begin(spec, present, answered, sync_begin=not job.at_once):
            return True
        # Made for nothing: `launch` makes it anew.
        self.undo(job.id)
        return False

    async def launch(
        self,
        job: Job,
        labels: Mapping[str, str],
        group: tuple[Group, About] | None,
    ) -> Started:
        """Start the attempt of a job that its row says; `group` is the one that it is of.

        Row and labels are kept in its directory too, for a store that is lost.

        Raises CannotLaunchError, which is HostShortError where another try may work, or
        LauncherGoneError when that is not known.
        """
        loop = asyncio.get_running_loop()
        try:
            spec = stored.spec(job)
            devices = await self._paths.find_devices(spec)
            with ExitStack() as opened:
                provided = await self._provisions.provide(job.id, spec, opened)
                fds: list[int] = []
                opened.callback(_close_all, fds)
                make = partial(
                    self._make, job, labels, told(job, group), spec, devices, provided, fds
                )
                handles, shown = (
                    make() if _is_quick(job, spec) else await loop.run_in_executor(self._pool, make)
                )
                asked_ns = time.time_ns()
                monitor = await self._launchers.launch(
                    job.id, handles, provided.given, spec, sync_begin=not job.at_once
                )
        except _OF_THE_LAUNCH as error:
            raise await self.take_back(job, error) from error
        return Started(monitor, shown, asked_ns)

    async def take_back(self, job: Job, error: Exception) -> Exception:
        """Undo a launch that failed; what there is to say of it, as `launch` raises it.

        An error that says nothing of what there is now is given back, and nothing was undone.
        """
        if not isinstance(error, _OF_THE_LAUNCH):
            return error
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self.undo, job.id)
        await self._release(job.id)
        if not _is_of_host(error):
            return CannotLaunchError(_why(error))
        await loop.run_in_executor(self._pool, self._discard, job)
        return HostShortError(_why(error))

    async def _release(self, job_id: str) -> None:
        try:
            await self._provisions.release(job_id)
        except OSError as error:
            _logger.error(  # noqa: TRY400 - the text says it
                "job %s: what it held stays until the next start: %s", job_id, error
            )

    def undo(self, job_id: str) -> None:
        """Remove the cgroups of a job that has no process."""
        cgroup = self._tree.job(job_id)
        try:
            if cgroup is not None:
                cgroup.remove()
        except OSError as error:
            # Why the launch failed matters more; a restart removes what stays.
            _logger.error("job %s: its cgroup stays behind: %s", job_id, error)  # noqa: TRY400

    def _discard(self, job: Job) -> None:
        """Give back what little room there was."""
        try:
            self._directories.discard(job.id, job.attempt)
        except OSError as error:
            # The next launch of the attempt makes it afresh.
            _logger.error("job %s: its directory stays: %s", job.id, error)  # noqa: TRY400

    def _make_cgroups(self, job_id: str) -> JobCgroup:
        try:
            return self._tree.create_job(job_id)
        except OSError as error:
            raise _NoPlaceError(error.errno, str(error)) from error

    def _make_directory(self, job: Job, spec: bytes) -> JobFiles:
        try:
            return self._directories.create(job.id, spec, job.attempt)
        except OSError as error:
            why = f"make its directory in {self._directories.path}: {error.strerror or error}"
            remedy = _REMEDIES.get(error.errno or 0)
            raise _NoPlaceError(error.errno, f"{why}; {remedy}" if remedy else why) from error

    def _make(
        self,
        job: Job,
        labels: Mapping[str, str],
        environment: Mapping[bytes, bytes],
        spec: dict[str, Any],
        devices: dict[bytes, tuple[str, ...]],
        provided: Provisions,
        fds: list[int],
    ) -> tuple[Handles, bytes]:
        """Directory, cgroups and limits, and the descriptors of them all, which are in `fds` too.

        And the limits as `Started` has them.
        """
        fields = {
            **spec,
            BASE: provided.base,
            ROW: row_of(job, labels),
            "env": {**spec["env"], **environment},
        }
        files = self._make_directory(job, stored.pack_spec(fields))
        fds += files
        cgroup = self._make_cgroups(job.id)
        shown = self._limit(cgroup, spec, devices)
        cgroups = cgroup.open_fds()
        fds += cgroups
        if provided.devices is not None and device_filter.available() is None:
            device_filter.attach(cgroups.payload, provided.devices)
        return Handles(*files, *cgroups, **provided.handles), shown

    def _limit(
        self, cgroup: JobCgroup, spec: dict[str, Any], devices: dict[bytes, tuple[str, ...]]
    ) -> bytes:
        """Write a job's limits. As the kernel reads them back, a record."""
        limits = spec["limits"]
        cap = None if self._cap_monitor is None else self._cap_monitor(spec, limits)
        if cap is None and not limits:
            return _NO_LIMITS
        applied = cgroup.apply(job_limits.kernel_limits(limits, devices, cap))
        return records.pack(job_limits.shown_limits(limits, devices, applied))


# CgroupError and NetworkError are OSErrors; a damaged spec is a ValueError.
_OF_THE_LAUNCH: Final = (
    LaunchError, LimitUnavailable, LookupError, Refusal, OSError, ValueError,
)  # fmt: skip


def _is_quick(job: Job, spec: dict[str, Any]) -> bool:
    """Whether making everything takes less than handing it to another thread and back.

    It is a few names in directories and cgroups then, which wait for the disk no longer than the
    commit before did. What is written for disks and sets of CPUs may wait for the whole host.
    """
    limits = spec["limits"]
    return len(job.spec) <= _SMALL_BYTES and not any(limits.get(name) for name in _SLOW)


def _is_of_host(error: Exception) -> bool:
    """Whether the host lacks something for now that every job needs.

    The same numbers mean something else of what a job asked for: ENOSPC of a user namespace is a
    limit of namespaces, of cpuset.cpus there is no such processor.
    """
    return is_passing(error) or (isinstance(error, _NoPlaceError) and error.errno in _PASSING)


def _why(error: Exception) -> str:
    if isinstance(error, Refusal):
        return "; ".join(f"{name}: {value}" for name, value in error.fields.items())
    if isinstance(error, OSError) and type(error).__str__ is OSError.__str__ and error.strerror:
        # Python's own words are a number and a repr.
        where = (
            f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        )
        return f"{where}{error.strerror}"
    return str(error)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
