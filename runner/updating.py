"""Changing limits of a job: all that an update names, or none; kept over a restart.

Theory of operation. What is to be is worked out and checked (`runner.limit_changes`), then
written down as an intent in the job's directory, then carried out in order: cgroups, network,
private directories, processes, monitor (`runner.update_steps`); then it is committed. What the job
is promised follows its limits, first of all. A step that fails takes back those before it. After a
crash in between, the intent says what was under way, and `settle` carries it out to its end, or
takes it back.
"""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from isolation.cgroups.nodes import optional
from isolation.errors import LimitBelowUse, LimitUnavailable
from runner import limit_changes, records, stored
from runner import limits as job_limits
from runner.lifecycle import GOING, State
from runner.limit_changes import Used
from runner.paths import UserPaths
from runner.pausing import not_now, state_of
from runner.promises import needs_of
from runner.queues import HOOKS, time_limit_ms
from runner.refusal import Refusal
from runner.scheduling.kinds import Needs
from runner.store import NotUpdatableError, StoreError
from runner.submission import field_of
from runner.update_steps import Change, Steps, quietly

if TYPE_CHECKING:
    from isolation.cgroups.tree import JobCgroup
    from runner.message_limits import LimitsUpdate
    from runner.outside import Devices
    from runner.queueing import Queueing
    from runner.realm import Realm
    from runner.rows import EventData, Job, LimitColumns

_logger: Final = logging.getLogger(__name__)


class Updating:
    """The updates of one daemon's jobs. One call for a job at a time (`runner.turns`)."""

    def __init__(self, realm: Realm, queueing: Queueing) -> None:
        self._store, self._directories, self._tree = realm.store, realm.directories, realm.tree
        self._changes = realm.changes
        self._work = realm.work
        self._queueing = queueing
        self._steps = Steps(realm)
        self._find_devices = realm.outside.find_devices or UserPaths().find_devices

    async def update(
        self, job_id: str, uid: int, update: LimitsUpdate, priority: int | None = None
    ) -> Job:
        """Change limits of a job that is queued, running or paused. The job then.

        A starting one is waited for; a priority is changed while it is queued alone. Raises
        Refusal, StoreError; nothing is changed then.
        """
        while True:
            job = await self._updatable(job_id)
            _refuse_of_hook(job)
            if priority is not None and job.state is not State.QUEUED:
                raise not_now(job, f"{state_of(job)}; only a queued job has a priority")
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
                needs = self._queueing.promises.needs_with(job, spec["limits"], new)
                change = Change(job, spec, new, {}, devices, uid)
                return self._commit(change, None, needs, priority)
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
            self._steps.tell(job_id, limits)

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
                needs = self._promise(change, undo)
                shown = await self._steps.cgroups(change, cgroup, undo)
                await self._steps.network(change, undo)
                await self._steps.scratch(change, cgroup, undo)
                await self._steps.processes(change, cgroup, undo)
                await self._steps.monitor(change, undo)
                changed = self._commit(change, records.pack(shown), needs)
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

    def _commit(
        self, change: Change, limits: bytes | None, needs: Needs, priority: int | None = None
    ) -> Job:
        job, names = change.job, change.names
        columns: LimitColumns = {
            "reserved_millicpus": needs.millicpus,
            "reserved_memory_bytes": needs.memory_bytes,
            "time_limit_ms": time_limit_ms(change.new_spec),
        }
        if priority is not None and priority != job.priority:
            columns["priority"] = priority
            names = [*names, "priority"]
        about: EventData = {"by_uid": change.uid, "changed": ", ".join(names)}
        packed = stored.pack_spec(change.new_spec)
        changed = self._store.update(job.id, time.time_ns(), packed, limits, about, **columns)
        _logger.info("job %s: uid %d changed %s", job.id, change.uid, about["changed"] or "nothing")
        self._queueing.changed(changed)
        self._changes.announce(job.id)
        return changed

    def _promise(self, change: Change, undo: AsyncExitStack) -> Needs:
        """What it is promised from now on; of what is to be less it has more until the end."""
        job, resize = change.job, self._queueing.promises.resize
        needs, had = self._queueing.promises.needs_with(job, change.old, change.new), needs_of(job)
        resize(job, Needs(*map(max, had, needs)))
        undo.callback(resize, job, had)
        return needs

    async def _forget_intent(self, job_id: str) -> None:
        await quietly(self._work.blocking, self._directories.forget_intent, job_id)


def elapsed_ns(job: Job, now_ns: int) -> int:
    """How long a job has run by its own clock, which stands still while it is paused."""
    until = now_ns if job.paused_since_ns is None else job.paused_since_ns
    return max(0, until - (job.started_ns or until) - job.paused_ns)


def _refuse_of_hook(job: Job) -> None:
    """What runs beyond slots and quotas has no other limits than it was given. Raises Refusal."""
    if job.queue == HOOKS:
        why = "it is the job of a hook, whose limits and priority are the hook's; stop it instead"
        raise not_now(job, why)


def _spec(job: Job) -> dict[str, Any]:
    try:
        return stored.spec(job)
    except records.RecordError as error:
        raise not_now(job, f"its record is damaged: {error}") from None


def _refusal(error: LimitUnavailable | LimitBelowUse) -> Refusal:
    if isinstance(error, LimitUnavailable):
        return Refusal("limit-unavailable", field=field_of(error), detail=str(error))
    field = field_of(LimitUnavailable(error.limit, why="", remedy=""))
    unit = "" if error.limit.startswith("pids") else " bytes"
    return limit_changes.below_use(field, str(error.asked), f"it uses {error.used}{unit} now")
