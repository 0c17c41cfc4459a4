"""The steps of an update of a running job: each changes one thing, and knows how to take it back.

In which order they are taken, and what comes before and after them, is `runner.updating`'s. What
fails raises, having changed nothing; what was changed is put on the caller's stack of undoing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation.cgroups.nodes import optional
from isolation.errors import LimitBelowUse, LimitUnavailable
from runner import limit_changes, process_limits, records
from runner import limits as job_limits
from runner.lifecycle import GOING
from runner.limit_changes import OF_THE_NETWORK
from runner.pausing import not_now
from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from isolation.cgroups.tree import JobCgroup
    from runner.outside import Devices
    from runner.realm import Realm
    from runner.rows import Job

_logger: Final = logging.getLogger(__name__)

_SCRATCH: Final = "scratch_max_bytes"
_SET_UP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.01


class Change(NamedTuple):
    """One update of one running job: from what to what, on which devices, by whom."""

    job: Job
    spec: dict[str, Any]
    new: dict[str, Any]
    old_devices: Devices
    new_devices: Devices
    uid: int

    @property
    def old(self) -> dict[str, Any]:
        """The limits that the job has."""
        limits: dict[str, Any] = self.spec["limits"]
        return limits

    @property
    def new_spec(self) -> dict[str, Any]:
        """The spec with the limits that it is to have."""
        return {**self.spec, "limits": self.new}

    @property
    def names(self) -> list[str]:
        """The limits that differ."""
        return limit_changes.differing(self.old, self.new)


class Steps:
    """What is done to a job, its cgroups, network, directories, processes and monitor."""

    def __init__(self, realm: Realm) -> None:
        self._store, self._directories = realm.store, realm.directories
        self._work = realm.work
        self._outside = realm.outside

    async def cgroups(
        self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack
    ) -> dict[str, Any]:
        """The limits as the kernel reads them back."""
        had, wanted = self._monitor_caps(change)
        old = job_limits.kernel_limits(change.old, change.old_devices, had)
        new = job_limits.kernel_limits(change.new, change.new_devices, wanted)
        applied = await self._work.blocking(cgroup.update, old, new)
        # A lower cap would have the kernel end a monitor that has used the higher one.
        back = job_limits.kernel_limits(change.old, change.old_devices, wanted)
        undo.push_async_callback(quietly, self._work.blocking, cgroup.update, new, back)
        return job_limits.shown_limits(change.new, change.new_devices, applied)

    def _monitor_caps(self, change: Change) -> tuple[int | None, int | None]:
        """Before and after. Never less: what the log has already stays charged to the monitor."""
        cap = self._outside.cap_monitor
        if cap is None:
            return None, None
        old, new = cap(change.spec, change.old), cap(change.spec, change.new)
        return old, max(old, new)

    async def network(self, change: Change, undo: AsyncExitStack) -> None:
        """The bandwidth of its private network."""
        if not set(OF_THE_NETWORK) & set(change.names):
            return
        act, job_id = self._outside.set_bandwidth, change.job.id
        if act is None:
            raise _unchangeable(OF_THE_NETWORK[0])
        await act(job_id, *(change.new.get(name) for name in OF_THE_NETWORK))
        old = [change.old.get(name) for name in OF_THE_NETWORK]
        undo.push_async_callback(quietly, act, job_id, *old)

    async def scratch(self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack) -> None:
        """The size of its private directories."""
        if _SCRATCH not in change.names:
            return
        act, job_id = self._outside.set_scratch, change.job.id
        if act is None:
            raise _unchangeable(_SCRATCH)
        await self._wait_for_command(change.job, cgroup)
        await act(job_id, change.new.get(_SCRATCH))
        undo.push_async_callback(quietly, act, job_id, change.old.get(_SCRATCH))

    async def processes(self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack) -> None:
        """The rlimits of each of its processes."""
        old, new = change.old.get("rlimits", {}), change.new.get("rlimits", {})
        if old == new:
            return
        await self._wait_for_command(change.job, cgroup)
        lifted = old.keys() - new.keys()
        # The monitor has what a job has that asked for nothing. The kernel says which it is: a
        # stored pid may be another's.
        monitors = await self._work.blocking(cgroup.monitor_pids)
        usual = process_limits.limits_of(monitors[0], lifted) if monitors else {}
        wanted = {**usual, **new}
        pids, blocking = _pids(cgroup), self._work.blocking
        had = await blocking(process_limits.change, pids, wanted)
        undo.push_async_callback(quietly, blocking, process_limits.put_back, pids, had)

    async def _wait_for_command(self, job: Job, cgroup: JobCgroup) -> None:
        """Until the job's set-up cannot put its first limits over ours. Raises Refusal."""
        deadline = time.monotonic() + _SET_UP_SECONDS
        while not await self._work.blocking(process_limits.are_set_up, _pids(cgroup)):
            job_now = self._store.get(job.id)
            if job_now is None or job_now.state not in GOING:
                raise not_now(job_now, "it has ended meanwhile")
            if time.monotonic() > deadline:
                raise not_now(job_now, "it is still being set up; try again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def monitor(self, change: Change, undo: AsyncExitStack) -> None:
        """The limits that its monitor keeps."""
        job_id = change.job.id
        undo.push_async_callback(quietly, self._work.blocking, self.tell, job_id, change.old)
        await self._work.blocking(self.tell, job_id, change.new)

    def tell(self, job_id: str, limits: dict[str, Any]) -> None:
        """Have the monitor look at its limits. Raises OSError."""
        self._directories.write_limits(job_id, limits)
        self._directories.send(job_id, records.CONTROL_UPDATE)


async def quietly(function: Callable[..., Awaitable[object]], *args: object) -> None:
    """Take one step back; when that fails the others are taken all the same."""
    try:
        await function(*args)
    except (OSError, LimitBelowUse, LimitUnavailable) as error:
        _logger.error("a change of limits cannot be taken back: %s", error)  # noqa: TRY400


def _pids(cgroup: JobCgroup) -> Callable[[], list[int]]:
    return lambda: optional(lambda: cgroup.cgroups.payload.core.procs) or []


def _unchangeable(name: str) -> Refusal:
    detail = "this runnerd cannot change it while the job runs"
    return Refusal("limit-unavailable", field=f"limits.{name}", detail=detail)
