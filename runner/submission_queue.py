"""What a request asks of the queue, held against the rules of this host: taken or refused.

Pure but for what is passed in: the clock, a function that finds a job, figures of the store.
Contradictions within a request were found in `runner.message_queue_checks`; the rest of a
submission is `runner.submission`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner import stored
from runner.group_rows import Group
from runner.message_checks import invalid
from runner.queues import promised
from runner.records import RecordError
from runner.refusal import Refusal, shown
from runner.rows import DEFAULT_QUEUE
from runner.scheduling.kinds import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runner.message_queue import AfterRequest, ReserveRequest, RetryRequest
    from runner.messages import Submit
    from runner.policy import Peer
    from runner.queues import Rules, UserQuota
    from runner.rows import Job

_SECOND_NS: Final = 1_000_000_000
# A time that was "now" when the client said it.
_TOLERANCE_NS: Final = _SECOND_NS
_LATEST_NS: Final = 2**63 - 1
_CONFIGURED: Final = "{} in the configuration of runnerd allows no more"
# Dependencies that are not met yet: each takes some 200 bytes of the daemon's memory, and is read
# and judged at its start.
MOST_UNMET_OF: Final = 50_000
MOST_UNMET: Final = 200_000
# What is waited for, found without a pause: each takes some queries.
_FINDS_AT_ONCE: Final = 16
# What is promised, in the order of Needs: the limit that it comes from, and the keys that
# bound it.
_LIMITS: Final = ("limits.cpu_max_millicpus", "limits.memory_max_bytes")
_CAPACITIES: Final = ("capacity.cpus", "capacity.memory")
_QUOTAS: Final = ("quotas.max_cpus", "quotas.max_memory")


class Times(NamedTuple):
    """When a job may start, and by when it must have ended: Unix nanoseconds."""

    not_before_ns: int | None
    deadline_ns: int | None


def queue_for(rules: Rules, peer: Peer, name: str | None, field: str = "queue") -> str:
    """The queue that a peer means and may put jobs into. Raises Refusal."""
    wanted = DEFAULT_QUEUE if name is None else name
    if wanted not in rules.queues:
        usable = ", ".join(sorted(each for each in rules.queues if rules.may_use(peer, each)))
        raise Refusal("no-such-queue", field=field, given=shown(wanted), allowed=usable or "none")
    decision = rules.may_use(peer, wanted)
    if not decision:
        raise Refusal("not-permitted", field=field, given=shown(wanted), detail=decision.why)
    return wanted


def check_priority(
    rules: Rules, peer: Peer, queue: str, priority: int, field: str = "priority"
) -> None:
    """Whether a job of the peer may have that priority in the queue. Raises Refusal."""
    decision = rules.may_have_priority(peer, queue, priority)
    if not decision:
        raise Refusal("not-permitted", field=field, given=str(priority), detail=decision.why)


def times(request: Submit, now_ns: int) -> Times:
    """The times that a request gives, or its spans from now on. Raises Refusal.

    A time that is past is refused: it is a mistake more often than it is meant.
    """
    not_before = _time(request.not_before_ns, request.delay_seconds, now_ns)
    deadline = _time(request.deadline_ns, request.deadline_seconds, now_ns)
    for field, value in (
        ("not_before_ns", request.not_before_ns),
        ("deadline_ns", request.deadline_ns),
    ):
        if value is not None and value < now_ns - _TOLERANCE_NS:
            raise invalid(field, str(value), f"a time that is not past; now it is {now_ns}")
    if not_before is not None and deadline is not None and not_before >= deadline:
        field = "delay_seconds" if request.not_before_ns is None else "not_before_ns"
        allowed = "a time before the deadline, or it could never start"
        raise invalid(field, str(getattr(request, field)), allowed)
    return Times(not_before, deadline)


def needs(reserve: ReserveRequest, limits: Mapping[str, Any], rules: Rules, uid: int) -> Needs:
    """What a job is promised while it runs. Raises Refusal for more than it could ever have.

    `limits` as in its spec; `uid` submits it.
    """
    derived = promised(limits, rules.capacity.needs)
    found, fields = [], []
    for index, name in enumerate(Needs._fields):
        asked, most = getattr(reserve, name), rules.capacity.needs[index]
        if asked is not None and asked > most:
            raise Refusal(
                "invalid-argument", field=f"reserve.{name}", given=str(asked),
                allowed=f"at most {most}",
                detail=f"jobs are promised no more in all ({_CAPACITIES[index]} in the "
                "configuration of runnerd)",
            )  # fmt: skip
        found.append(derived[index] if asked is None else asked)
        fields.append(_LIMITS[index] if asked is None else f"reserve.{name}")
    wanted = Needs(*found)
    check_quota(wanted, rules.quota_of(uid), fields)
    return wanted


def check_quota(wanted: Needs, quota: UserQuota, fields: Sequence[str] = _LIMITS) -> None:
    """Whether a job alone stays within its user's quota. Raises Refusal, which names a field."""
    bounds = (quota.running.max_millicpus, quota.running.max_memory_bytes)
    for number, bound, field, key in zip(wanted, bounds, fields, _QUOTAS, strict=True):
        if bound is not None and number > bound:
            raise Refusal(
                "quota-exceeded", field=field, given=str(number), allowed=f"at most {bound}",
                detail=_CONFIGURED.format(key),
            )  # fmt: skip


def check_queued(quota: UserQuota, queued: int, more: int = 1) -> None:
    """Whether a user who has so many queued jobs may have so many more. Raises Refusal."""
    most = quota.max_queued
    if most is not None and queued + more > most:
        raise Refusal(
            "quota-exceeded", given=f"{queued} queued jobs and {'one' if more == 1 else more} more",
            allowed=f"at most {most}", detail=_CONFIGURED.format("quotas.max_queued"),
        )  # fmt: skip


def check_all_queued(most: int, queued: int, more: int = 1) -> None:
    """Whether the daemon, which has so many queued jobs, takes so many more. Raises Refusal."""
    if queued + more > most:
        raise Refusal("too-many-jobs", allowed=f"{most} queued jobs")


def check_unmet(uid: int, more: int, own: int, total: int) -> None:
    """Whether so many more dependencies may wait to be met. Raises Refusal.

    `own` are those of the user's jobs, `total` those of all. Root has the daemon's bound alone.
    """
    for present, most, whose in ((own, MOST_UNMET_OF, "your"), (total, MOST_UNMET, "all")):
        if more and present + more > most and (uid or whose == "all"):
            raise Refusal(
                "quota-exceeded", field="after", given=f"{present} and {more} more",
                allowed=f"at most {most}",
                detail=f"{whose} queued jobs come after others so many times; let a job come after "
                "fewer (a last one of them that comes after the rest), or wait until some are met",
            )  # fmt: skip


def check_log_bytes(quota: UserQuota, size: int) -> None:
    """Whether a user whose jobs take so many bytes may have another job. Raises Refusal."""
    most = quota.max_log_bytes
    if most is not None and size >= most:
        raise Refusal(
            "quota-exceeded", given=f"{size} bytes of output",
            allowed=f"less than {most} bytes",
            detail="quotas.max_log_bytes in the configuration of runnerd allows no more; remove "
            "ended jobs (`runctl prune`)",
        )  # fmt: skip


async def dependencies(
    after: Sequence[AfterRequest], find: Callable[[str], Job | Group]
) -> tuple[tuple[str, str], ...]:
    """The jobs and groups that a request waits for, by ids, and what must have become of them.

    `find` gives the one that the peer means and may control; others have their turn after every
    few. Raises Refusal, its own with the field of the request.
    """
    found: dict[str, str] = {}
    for index, entry in enumerate(after):
        if index and index % _FINDS_AT_ONCE == 0:
            await asyncio.sleep(0)
        field = f"after[{index}].job"
        try:
            job = find(entry.job)
        except Refusal as refusal:
            refusal.fields["field"] = field
            raise
        if job.id in found:
            raise invalid(field, shown(entry.job), f"each one once; it is {job.id} again")
        if entry.on == "started" and isinstance(job, Group):
            allowed = f"ok, any or fail: {job.kind} {job.id[:8]} has no start of its own"
            raise invalid(f"after[{index}].on", entry.on, allowed)
        found[job.id] = entry.on
    return tuple(found.items())


def check_growth(retry: RetryRequest | None, limits: Mapping[str, Any]) -> None:
    """Whether what grows with each attempt is there, and not beyond its bound. Raises Refusal."""
    for index, rule in enumerate(retry.rules if retry else ()):
        for factor, bound, limit in (
            ("memory_factor", "memory_max_bytes", "memory_max_bytes"),
            ("timeout_factor", "timeout_max_seconds", "timeout_seconds"),
        ):
            given, most = getattr(rule, factor), getattr(rule, bound)
            present = limits.get(limit)
            if given is not None and present is None:
                allowed = f"nothing: the job has no limit {limit} that could grow"
                raise invalid(f"retry.rules[{index}].{factor}", f"{given:g}", allowed)
            if most is not None and present is not None and most < present:
                allowed = f"at least {limit}, {present}"
                raise invalid(f"retry.rules[{index}].{bound}", str(most), allowed)


def same_job(found: Job, request: Submit) -> Job:
    """The job that has the request's key, if it is the same. Raises Refusal (`key-in-use`)."""
    try:
        argv = stored.spec(found)["argv"]
    except RecordError:
        argv = None
    if argv != [bytes(argument) for argument in request.argv]:
        detail = f"job {found.id} was submitted with this key and another command"
        raise key_in_use(request.idempotency_key, detail)
    return found


def key_in_use(key: str | None, detail: str) -> Refusal:
    """The refusal of a key that something else was submitted with."""
    return Refusal("key-in-use", field="idempotency_key", given=shown(key), detail=detail)


def _time(at_ns: int | None, seconds: float | None, now_ns: int) -> int | None:
    if seconds is None:
        return at_ns
    return min(now_ns + int(seconds * _SECOND_NS), _LATEST_NS)
