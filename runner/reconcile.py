"""After a restart: where each job is that the store believes to be under way.

The verdict is pure; the facts are gathered by `examine`. A monitor is known by what the
kernel says: it is the process in the job's own `monitor` cgroup. A stored pid is never
trusted, so a recycled one is never watched and never signalled.
"""

from __future__ import annotations

import errno
import os
import time
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation.cgroups.nodes import optional
from runner.lifecycle import State
from runner.records import RecordError
from runner.taken_rows import UNKNOWN_BOOT

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree, JobCgroup
    from runner.jobdirs import JobDirectories
    from runner.rows import Job


_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Nobody was told of the end, and nothing is told of it (`runner.monitor`, Syncing).
_NO_RECORD: Final = "the machine went down before its end was on the disk"
_NO_SIGN: Final = "the machine went down before it was on the disk how far it came: it may have run"
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Verdict(Enum):
    """What to do with a job that was starting or running."""

    FINISH = "ended, as its exit record says"
    WATCH = "running"
    LOST = "lost"
    REQUEUE = "it never ran"


class Facts(NamedTuple):
    """What is left of a job.

    `is_launch_known`: the launch stands in the store, of whichever boot. `damage` says why a
    record that is there cannot be read, `cut` what the machine's going down took of it, which is no
    damage; `frozen`: its cgroup is, or is on its way to be; `begun_ns` is when its monitor began
    (Unix time).
    """

    exit_record: dict[str, Any] | None
    pidfd: int | None
    pid: int | None
    has_log: bool
    is_launch_known: bool = True
    damage: str | None = None
    cut: str | None = None
    frozen: bool = False
    begun_ns: int | None = None


def judge(state: State, facts: Facts) -> Verdict:
    """The table of ARCHITECTURE.md, "From submit to result"."""
    if facts.exit_record is not None:
        return Verdict.FINISH
    if facts.pidfd is not None:
        return Verdict.WATCH
    # Also after a power cut: a monitor has put the beginning of its log on the disk before it lets
    # the command be executed, unless the launch was there before it (`cut`). A row that was lost,
    # or taken back, says nothing of a launch.
    is_whole = facts.is_launch_known and facts.damage is None and facts.cut is None
    never_ran = state is State.STARTING and is_whole and not facts.has_log
    return Verdict.REQUEUE if never_ran else Verdict.LOST


def examine(job: Job, tree: CgroupTree, directories: JobDirectories) -> Facts:
    """Gather the facts. The caller owns `pidfd`. Raises OSError, CgroupError."""
    # The monitor first: it may write its record and end at any moment, and then the record,
    # read second, is there.
    cgroup = tree.job(job.id)
    pid, pidfd = _find_monitor(cgroup) if cgroup is not None else (None, None)
    try:
        return _facts(job, directories, cgroup, pid, pidfd)
    except BaseException:
        if pidfd is not None:
            os.close(pidfd)
        raise


def _facts(
    job: Job,
    directories: JobDirectories,
    cgroup: JobCgroup | None,
    pid: int | None,
    pidfd: int | None,
) -> Facts:
    frozen = cgroup is not None and is_to_be_frozen(cgroup)
    damage, cut = None, None
    record = None
    has_log = False
    try:
        # Of this attempt: what an earlier one left says nothing of it.
        record = directories.read_exit(job.id, job.attempt)
        has_log = directories.has_log(job.id, job.attempt)
        if record is None and _was_cut(job):
            cut = _cut(job, has_log=has_log)
    except RecordError as error:
        if _was_cut(job):
            cut = _NO_RECORD
        else:
            damage = f"its exit record cannot be read: {error}"
    except OSError as error:
        if is_passing(error):
            raise
        damage = f"its directory cannot be read: {error}"
    begun_ns = None if pid is None else _begun_ns(pid)
    is_known = job.boot_id != UNKNOWN_BOOT
    return Facts(record, pidfd, pid, has_log, is_known, damage, cut, frozen, begun_ns)


def _was_cut(job: Job) -> bool:
    """Whether what was not on the disk may be gone: it was launched in another boot."""
    return job.boot_id not in {boot_id(), UNKNOWN_BOOT}


def _cut(job: Job, *, has_log: bool) -> str | None:
    if has_log or job.state is not State.STARTING:
        return _NO_RECORD
    return _NO_SIGN if job.at_once else None


def is_to_be_frozen(cgroup: JobCgroup) -> bool:
    """Whether the kernel was told to freeze the job: cgroup.freeze, in cgroup-v2.rst."""
    return bool(optional(lambda: cgroup.cgroups.payload.core.freeze))


def is_frozen(cgroup: JobCgroup) -> bool:
    """Whether all of its processes stand still: `frozen` in cgroup.events."""
    events = optional(lambda: cgroup.cgroups.payload.core.events) or {}
    return bool(events.get("frozen"))


def is_passing(error: Exception) -> bool:
    """Whether the host is merely short of descriptors or memory: that says nothing of a job."""
    return isinstance(error, OSError) and error.errno in _PASSING


@cache
def boot_id() -> str:
    """A name for the time since the machine was booted: random(4), "/proc interfaces"."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _begun_ns(pid: int) -> int | None:
    """When a process began: proc(5), /proc/PID/stat, field 22, in ticks since the boot."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    ago_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * _TICK_NS
    return time.time_ns() - ago_ns


def _find_monitor(cgroup: JobCgroup) -> tuple[int | None, int | None]:
    for pid in cgroup.monitor_pids():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        # Asked again, because the pid may have been recycled before the pidfd was opened.
        if pid in cgroup.monitor_pids():
            return pid, pidfd
        os.close(pidfd)
    return None, None
