"""Changing limits of a job: all that an update names, or none; kept over a restart.

Theory of operation. What is to be is worked out and checked (`runner.limit_changes`), then
written down as an intent in the job's directory, then carried out in order: cgroups, network,
private directories, processes, monitor; then it is committed. A step that fails takes back
those before it. After a crash in between, the intent says what was under way, and `settle`
carries it out to its end, or takes it back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation.cgroups.nodes import optional
from isolation.errors import LimitBelowUse, LimitUnavailable
from runner import limit_changes, process_limits, records, stored
from runner import limits as job_limits
from runner.lifecycle import GOING, State
from runner.limit_changes import OF_THE_NETWORK, Used
from runner.paths import UserPaths
from runner.pausing import not_now, state_of
from runner.refusal import Refusal
from runner.store import NotUpdatableError, StoreError
from runner.submission import field_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isolation.cgroups.tree import JobCgroup
    from runner.hooks import Devices
    from runner.message_limits import LimitsUpdate
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
    def names(self) -> list[str]:
        """The limits that differ."""
        return limit_changes.differing(self.old, self.new)


class Updating:
    """The updates of one daemon's jobs. One call for a job at a time (`runner.turns`)."""

    def __init__(self, realm: Realm) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._hooks = realm.hooks
        self._find_devices = realm.hooks.find_devices or UserPaths().find_devices

    async def update(self, job_id: str, uid: int, update: LimitsUpdate) -> Job:
        """Change limits of a job that is queued, running or paused. The job then.

        A starting one is waited for. Raises Refusal, StoreError; nothing is changed then.
        """
        while True:
            job = await self._updatable(job_id)
            spec = _spec(job)
            new = limit_changes.merged(spec["limits"], update)
            limit_changes.refuse_without_network(spec["network"], new)
            devices = await self._find_devices({**spec, "limits": new})
            try:
                if job.state is not State.QUEUED:
                    old_devices = await self._held_devices(job, spec)
                    change = Change(job, spec, new, old_devices, devices, uid)
                    await self._refuse_below_use(change)
                    return await self._carry_out(change)
                self._require(new, devices)
                return self._commit(job, {**spec, "limits": new}, None, uid)
            except NotUpdatableError:
                _logger.debug("job %s has begun or ended meanwhile; once more", job_id)

    async def settle(self, job_id: str) -> None:
        """After a restart: finish an update that was under way, and tell the monitor again."""
        job = self._store.get(job_id)
        if job is None or job.state not in GOING:
            return
        try:
            intent = await self._work.blocking(self._directories.read_intent, job_id)
        except (OSError, records.RecordError) as error:
            # Not whole: nothing was changed before it was.
            _logger.warning("job %s: an update was not begun: %s", job_id, error)
            intent = None
        try:
            if intent is not None:
                await self._finish(job, intent)
            spec = _spec(self._store.get(job_id) or job)
            await self._work.blocking(self._tell_again, job_id, spec["limits"])
        except (Refusal, StoreError, OSError, LookupError, ValueError) as error:
            _logger.error("job %s: an update may be half done: %s", job_id, error)  # noqa: TRY400

    async def _finish(self, job: Job, intent: dict[str, Any]) -> None:
        spec = _spec(job)
        old_devices = await self._held_devices(job, spec)
        new_devices = {path: tuple(found) for path, found in intent["devices"].items()}
        change = Change(job, spec, intent["limits"], old_devices, new_devices, intent["uid"])
        try:
            await self._carry_out(change)
        except Refusal as error:
            # Some of it may be there: the other way round, then.
            _logger.warning("job %s: an update is taken back: %s", job.id, error)
            back = change._replace(
                spec={**spec, "limits": change.new}, new=spec["limits"],
                old_devices=new_devices, new_devices=old_devices,
            )  # fmt: skip
            await self._carry_out(back)

    def _tell_again(self, job_id: str, limits: dict[str, Any]) -> None:
        if self._directories.has_limits(job_id):
            self._tell(job_id, limits)

    # Before anything is changed

    async def _updatable(self, job_id: str) -> Job:
        job = self._store.get(job_id)
        while job is not None and job.state is State.STARTING:
            await self._changes.next(job_id)
            job = self._store.get(job_id)
        if job is None or job.state is State.ENDED:
            why = f"{state_of(job)}; only a queued, running or paused job can be changed"
            raise not_now(job, why)
        return job

    async def _held_devices(self, job: Job, spec: dict[str, Any]) -> Devices:
        """The devices that the job is limited on: as they were read back."""
        if job.limits is None:
            return await self._find_devices(spec)
        try:
            shown = stored.limits(job.limits)
        except records.RecordError as error:
            raise not_now(job, f"its record is damaged: {error}") from None
        return {entry["path"]: tuple(entry["devices"]) for entry in shown.get("io", ())}

    def _require(self, new: dict[str, Any], devices: Devices) -> None:
        try:
            self._tree.require(job_limits.kernel_limits(new, devices, None))
        except LimitUnavailable as error:
            raise _refusal(error) from None

    async def _refuse_below_use(self, change: Change) -> None:
        cgroup = self._cgroup(change.job)
        used = await self._work.blocking(self._used, change.job, cgroup)
        limit_changes.refuse_below_use(change.new, change.names, used)

    def _used(self, job: Job, cgroup: JobCgroup) -> Used:
        cpu = optional(lambda: cgroup.cgroups.payload.cpu.stat) or {}
        return Used(
            elapsed_ns(job, time.time_ns()) / 1e9,
            cpu.get("usage_usec", 0) / 1e6,
            self._directories.output_bytes(job.id),
        )

    def _cgroup(self, job: Job) -> JobCgroup:
        cgroup = self._tree.job(job.id)
        if cgroup is None:
            raise not_now(job, "it is ending")
        return cgroup

    # Carrying it out

    async def _carry_out(self, change: Change) -> Job:
        """Every step, or none. Raises Refusal, StoreError."""
        job, cgroup = change.job, self._cgroup(change.job)
        intent = {
            "limits": change.new,
            "devices": {path: list(found) for path, found in change.new_devices.items()},
            "uid": change.uid,
        }
        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._forget_intent, job.id)
                await self._work.blocking(self._directories.write_intent, job.id, intent)
                shown = await self._change_cgroups(change, cgroup, undo)
                await self._change_network(change, undo)
                await self._change_scratch(change, cgroup, undo)
                await self._change_processes(change, cgroup, undo)
                await self._change_monitor(change, undo)
                spec = {**change.spec, "limits": change.new}
                changed = self._commit(job, spec, records.pack(shown), change.uid)
                undo.pop_all()
        except (LimitUnavailable, LimitBelowUse) as error:
            raise _refusal(error) from None
        except NotUpdatableError:
            raise not_now(self._store.get(job.id), "it has ended meanwhile") from None
        except OSError as error:
            if not cgroup.cgroups.payload.exists():
                raise not_now(self._store.get(job.id), "it is ending") from None
            raise Refusal(
                "limit-unavailable", field="limits", detail=f"nothing was changed: {error}"
            ) from None
        await self._forget_intent(job.id)
        return changed

    def _commit(self, job: Job, spec: dict[str, Any], limits: bytes | None, uid: int) -> Job:
        names = limit_changes.differing(_spec(job)["limits"], spec["limits"])
        about: dict[str, str | int] = {"by_uid": uid, "changed": ", ".join(names)}
        packed = stored.pack_spec(spec)
        changed = self._store.update(job.id, time.time_ns(), packed, limits, about)
        _logger.info("job %s: uid %d changed %s", job.id, uid, ", ".join(names) or "nothing")
        self._changes.announce(job.id)
        return changed

    async def _change_cgroups(
        self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack
    ) -> dict[str, Any]:
        """The limits as the kernel reads them back."""
        had, wanted = self._monitor_caps(change)
        old = job_limits.kernel_limits(change.old, change.old_devices, had)
        new = job_limits.kernel_limits(change.new, change.new_devices, wanted)
        applied = await self._work.blocking(cgroup.update, old, new)
        # A lower cap would have the kernel end a monitor that has used the higher one.
        back = job_limits.kernel_limits(change.old, change.old_devices, wanted)
        undo.push_async_callback(self._quietly, self._work.blocking, cgroup.update, new, back)
        return job_limits.shown_limits(change.new, change.new_devices, applied)

    def _monitor_caps(self, change: Change) -> tuple[int | None, int | None]:
        """Before and after. Never less: what the log has already stays charged to the monitor."""
        cap = self._hooks.cap_monitor
        if cap is None:
            return None, None
        old, new = cap(change.spec, change.old), cap(change.spec, change.new)
        return old, max(old, new)

    async def _change_network(self, change: Change, undo: AsyncExitStack) -> None:
        if not set(OF_THE_NETWORK) & set(change.names):
            return
        act, job_id = self._hooks.set_bandwidth, change.job.id
        if act is None:
            raise _unchangeable(OF_THE_NETWORK[0])
        await act(job_id, *(change.new.get(name) for name in OF_THE_NETWORK))
        old = [change.old.get(name) for name in OF_THE_NETWORK]
        undo.push_async_callback(self._quietly, act, job_id, *old)

    async def _change_scratch(
        self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack
    ) -> None:
        if _SCRATCH not in change.names:
            return
        act, job_id = self._hooks.set_scratch, change.job.id
        if act is None:
            raise _unchangeable(_SCRATCH)
        await self._wait_for_command(change.job, cgroup)
        await act(job_id, change.new.get(_SCRATCH))
        undo.push_async_callback(self._quietly, act, job_id, change.old.get(_SCRATCH))

    async def _change_processes(
        self, change: Change, cgroup: JobCgroup, undo: AsyncExitStack
    ) -> None:
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
        undo.push_async_callback(self._quietly, blocking, process_limits.put_back, pids, had)

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

    async def _change_monitor(self, change: Change, undo: AsyncExitStack) -> None:
        job_id = change.job.id
        undo.push_async_callback(self._quietly, self._work.blocking, self._tell, job_id, change.old)
        await self._work.blocking(self._tell, job_id, change.new)

    def _tell(self, job_id: str, limits: dict[str, Any]) -> None:
        self._directories.write_limits(job_id, limits)
        self._directories.send(job_id, records.CONTROL_UPDATE)

    async def _forget_intent(self, job_id: str) -> None:
        await self._quietly(self._work.blocking, self._directories.forget_intent, job_id)

    @staticmethod
    async def _quietly(function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Take one step back; when that fails the others are taken all the same."""
        try:
            await function(*args)
        except (OSError, LimitBelowUse, LimitUnavailable) as error:
            _logger.error("a change of limits cannot be taken back: %s", error)  # noqa: TRY400


def elapsed_ns(job: Job, now_ns: int) -> int:
    """How long a job has run by its own clock, which stands still while it is paused."""
    until = now_ns if job.paused_since_ns is None else job.paused_since_ns
    return max(0, until - (job.started_ns or until) - job.paused_ns)


def _spec(job: Job) -> dict[str, Any]:
    try:
        return stored.spec(job)
    except records.RecordError as error:
        raise not_now(job, f"its record is damaged: {error}") from None


def _pids(cgroup: JobCgroup) -> Callable[[], list[int]]:
    return lambda: optional(lambda: cgroup.cgroups.payload.core.procs) or []


def _refusal(error: LimitUnavailable | LimitBelowUse) -> Refusal:
    if isinstance(error, LimitUnavailable):
        return Refusal("limit-unavailable", field=field_of(error), detail=str(error))
    field = field_of(LimitUnavailable(error.limit, why="", remedy=""))
    unit = "" if error.limit.startswith("pids") else " bytes"
    return limit_changes.below_use(field, str(error.asked), f"it uses {error.used}{unit} now")


def _unchangeable(name: str) -> Refusal:
    detail = "this runnerd cannot change it while the job runs"
    return Refusal("limit-unavailable", field=f"limits.{name}", detail=detail)
