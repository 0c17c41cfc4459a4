"""What may be true of a group, its jobs, their order and their hooks. Pure.

As `verdicts` and `histories` are of jobs alone: whatever was not disturbed is exact, and what was
may differ in the one way that the disturbance explains.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.torture.verdicts import DifferenceError, names_no_room

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.torture.group_ledger import GroupTrail
    from tests.torture.group_plans import GroupPlan
    from tests.torture.histories import Event

    # By member: the results of all attempts of a job.
    Results = Mapping[int, Sequence[dict[str, Any]]]

_NOT_RUN = ("dependency", "stopped", "launch-error", "log-error", "lost")


def check_end(
    plan: GroupPlan, trail: GroupTrail, summary: Mapping[str, Any], results: Results
) -> None:
    """Whether a group may have ended so. Raises DifferenceError."""
    if tuple(results) != plan.members:
        raise DifferenceError(f"its jobs are {list(results)}, not {plan.members}")
    for member, attempts in results.items():
        for number, result in enumerate(attempts, 1):
            _check_attempt(plan, trail, (member, number), result, results)
    last = {member: attempts[-1] for member, attempts in results.items()}
    counts = Counter(map(_standing, last.values()))
    told = {name: summary["counts"][name] for name in ("ok", "failed", "skipped")}
    wanted = {name: counts[name] for name in told}
    if told != wanted or sum(summary["counts"].values()) != len(plan.members):
        raise DifferenceError(f"its jobs come to {wanted}, told {summary['counts']}")
    if summary["state"] != "ended" or summary["ok"] != (not counts["failed"]):
        raise DifferenceError(f"told {summary['state']}, {summary['ok']}; its jobs: {wanted}")
    if summary["ok"]:
        _check_well(plan, last)


def _standing(result: Mapping[str, Any]) -> str:
    if _is_ok(result):
        return "ok"
    # Jobs of a group come after nothing else here.
    return "skipped" if result["reason"] == "dependency" else "failed"


def _is_ok(result: Mapping[str, Any]) -> bool:
    return bool(result["reason"] == "exit" and result["exit_code"] == 0)


def _check_well(plan: GroupPlan, last: Mapping[int, Mapping[str, Any]]) -> None:
    """Nothing is skipped in a group that ended well but what comes after a failure."""
    for member, result in last.items():
        if not (_is_ok(result) or plan.may_be_skipped(member)):
            raise DifferenceError(f"it ended well, and job {member} by {result['reason']}")


def _check_attempt(
    plan: GroupPlan,
    trail: GroupTrail,
    which: tuple[int, int],
    result: Mapping[str, Any],
    results: Results,
) -> None:
    member, reason = which[0], result["reason"]
    match reason:
        case "exit":
            is_right = result["exit_code"] == plan.exit_code(*which)
        case "lost":
            is_right = trail.killed or trail.power_cut
        case "stopped":
            is_right = result["stopped_by_uid"] in trail.stopped_by
        case "launch-error" | "log-error":
            is_right = trail.disk_full and names_no_room(dict(result))
        case "dependency":
            needs = plan.needs_of(member)
            is_right = any(_may_fail(kind, results[on]) for on, kind in needs)
        case _:
            is_right = False
    if not is_right:
        raise DifferenceError(f"attempt {which[1]} of job {member} ended so: {dict(result)}")


def _may_fail(kind: str, attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a job may not have become that, by any of its attempts."""
    if kind == "ok":
        return not all(map(_is_ok, attempts))
    if kind == "fail":
        return any(map(_is_ok, attempts))
    return kind == "started" and any(each["reason"] in _NOT_RUN for each in attempts)


def check_unchanged(trail: GroupTrail, results: Results) -> None:
    """What was told once is so still. Raises DifferenceError."""
    now = short(results)
    if trail.told is not None and trail.told != now:
        raise DifferenceError(f"told {trail.told}, now {now}")


def short(results: Results) -> dict[int, list[tuple[str, int | None]]]:
    """As much of results as the ledger keeps."""
    return {
        member: [(result["reason"], result["exit_code"]) for result in attempts]
        for member, attempts in results.items()
    }


# Starts


def check_starts(plan: GroupPlan, trail: GroupTrail, counts: Mapping[tuple[int, int], int]) -> None:
    """How often each attempt of each job began: once, or never. `counts` by member and attempt."""
    if often := {which: count for which, count in counts.items() if count > 1}:
        raise DifferenceError(f"attempts that ran more than once: {often}")
    if trail.told is None:
        return
    for member, attempts in trail.told.items():
        for number, (reason, _) in enumerate(attempts, 1):
            if reason not in _NOT_RUN and (member, number) not in counts:
                raise DifferenceError(f"attempt {number} of job {member} ended without having run")
    known = {(m, n) for m, attempts in trail.told.items() for n in range(1, len(attempts) + 1)}
    if strange := counts.keys() - known:
        raise DifferenceError(f"attempts of {plan.token} that nobody told of ran: {strange}")


# Order


class Member(NamedTuple):
    """A job of a group: whose, and which."""

    plan: GroupPlan
    member: int


class Order:
    """Follows the events of all groups: never more than the cap, and never before its turn."""

    def __init__(
        self, members: Mapping[str, Member], caps: Mapping[int, Sequence[int | None]]
    ) -> None:
        self._members = members
        self._caps = caps
        self._going: dict[int, set[int]] = {}
        self._ended: dict[int, set[int]] = {}
        self._begun: dict[int, set[int]] = {}

    def follow(self, events: Iterable[Event]) -> list[str]:
        """A sentence for each thing that is not in order."""
        found = []
        for event in events:
            whose = self._members.get(event.job)
            if whose is not None and (wrong := self._take(event, *whose)):
                found.append(f"event {event.seq}: {whose.plan.token} {wrong}")
        return found

    def _take(self, event: Event, plan: GroupPlan, member: int) -> str | None:
        number = plan.number
        going = self._going.setdefault(number, set())
        ended = self._ended.setdefault(number, set())
        if event.kind == "launch":
            going.add(member)
            ended.discard(member)
            self._begun.setdefault(number, set()).add(member)
            return self._crowd(number, going) or self._early(plan, member, ended)
        if event.kind in ("requeue", "finish", "retry"):
            going.discard(member)
        if event.kind == "finish":
            ended.add(member)
        elif event.kind == "retry":
            ended.discard(member)
        return None

    def _crowd(self, number: int, going: set[int]) -> str | None:
        caps = self._caps[number]
        most = max((cap for cap in caps if cap is not None), default=0)
        if None in caps or len(going) <= most:
            return None
        return f"has {sorted(going)} going, of at most {most}"

    def _early(self, plan: GroupPlan, member: int, ended: set[int]) -> str | None:
        begun = self._begun[plan.number]
        for on, kind in plan.needs_of(member):
            if on not in (begun if kind == "started" else ended):
                return f"began {member} before {on} had come to be {kind}"
        return None


# Hooks


class HookJob(NamedTuple):
    """A job that a hook was run as; `results` are those of its attempts."""

    job: str
    name: str
    results: list[dict[str, Any]]


def check_hooks(
    due: Mapping[str, int], jobs: Sequence[HookJob], lines: Sequence[str], *, disk_full: bool
) -> list[str]:
    """A sentence for each hook that was not run once for each change. `due` by the job's name."""
    run = Counter(job.name for job in jobs)
    found = [
        f"hook {name} was due {due.get(name, 0)} times, and run {run[name]} times"
        for name in sorted({*due, *run})
        if due.get(name, 0) != run[name]
    ]
    said = Counter(lines)
    found += [f"hook line {line!r}: {count} times" for line, count in said.items() if count > 1]
    known: set[str] = set()
    for job in jobs:
        _, name, event = _parts(job.name)
        own = [f"{name} {event} {job.job} {n}" for n in range(1, len(job.results) + 1)]
        known.update(own)
        last = job.results[-1]
        excused = disk_full and last["reason"] in ("launch-error", "log-error")
        if not _is_ok(last) and not excused:
            found.append(f"hook {job.name} ended so: {last}")
        if _is_ok(last) and own[-1] not in said:
            found.append(f"hook {job.name} ended well and did not say {own[-1]!r}")
    return found + [f"hook line {line!r} of no hook" for line in said if line not in known]


def _parts(name: str) -> tuple[str, str, str]:
    first, _, rest = name.partition(".")
    owner, _, event = rest.rpartition(".")
    return first, owner, event
