"""Compares the groups that are there with their ledger, and what hooks did with what was due.

After a power cut, and when all is over. Jobs of their own are `verifier`'s.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.kernel.harness import wait_until
from tests.torture import group_checks
from tests.torture.group_checks import HookJob, Member
from tests.torture.riders import results_of
from tests.torture.verdicts import DifferenceError
from tests.torture.wishes import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.torture.group_ledger import GroupTrail
    from tests.torture.histories import Event
    from tests.torture.session import Session

_SECONDS: Final = 120.0
# Of which event of a job a hook is told by which name.
_EVENTS: Final = {"started": "started", "retry": "retry", "finish": "ended"}


def after_power_cut(session: Session) -> None:
    """What was acknowledged is there as a whole, what was told is so still."""
    settle_doubts(session)
    groups = session.groups
    for trail in list(groups.ledger.story.trails.values()):
        plan = groups.plan_of(trail.number)
        with session.looking_after(plan):
            if trail.group is not None:
                _recheck(session, trail)


def _recheck(session: Session, trail: GroupTrail) -> None:
    session.counts.add("groups rechecked")
    plan = session.groups.plan_of(trail.number)
    found = session.groups.find(plan)
    if found is None and not trail.removing:
        raise DifferenceError("it was acknowledged, and is gone after a power cut")
    if found is not None and trail.removed:
        raise DifferenceError("it was removed, and is there after a power cut")
    if found is None or trail.removing:
        return
    if found != trail.group:
        raise DifferenceError(f"it was {trail.group}, and is {found}")
    root = session.client("root")
    members = tuple(each["member"] for each in session.patiently(lambda: list(root.members(found))))
    if members != plan.members:
        raise DifferenceError(f"its jobs are {members}, not {plan.members}")
    if trail.told is not None:
        group_checks.check_unchanged(trail, session.groups.results(plan)[1])


def settle_doubts(session: Session) -> None:
    """Submissions whose answer never came: there or not, and if so like every other group."""
    groups = session.groups
    for trail in list(groups.ledger.story.trails.values()):
        plan = groups.plan_of(trail.number)
        if trail.group is None and (found := groups.find(plan)) is not None:
            if trail.refused:
                session.counts.differ(plan.token, "it was refused, and is there")
            else:
                groups.accept(plan, found)


def finish_all(session: Session) -> None:
    """Every group that is there comes to its good end, also those of earlier lives."""
    settle_doubts(session)
    groups = session.groups
    for trail in groups.ledger.story.acknowledged():
        plan = groups.plan_of(trail.number)
        with session.looking_after(plan):
            if trail.told is None or not trail.is_done:
                groups.finish(plan)
            group_checks.check_unchanged(trail, groups.results(plan)[1])
            groups.compare_logs(plan)


def settle_hooks(session: Session) -> None:
    """Every hook that was due has been run, and has ended. Raises DifferenceError."""
    root = session.client("root")

    def is_settled() -> bool:
        going = root.jobs(select={"queue": HOOKS})
        return _calls(session) == 0 and next(going, None) is None

    try:
        wait_until(lambda: bool(session.patiently(is_settled)), _SECONDS)
    except AssertionError:
        waiting = [dict(job) for job in root.jobs(select={"queue": HOOKS})]
        raise DifferenceError(
            f"{_calls(session)} hooks are due, {waiting} have not ended"
        ) from None


def _calls(session: Session) -> int:
    path = f"{session.victim.state_dir}/runnerd.sqlite3"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (count,) = database.execute("SELECT count(*) FROM hook_calls").fetchone()
        return int(count)
    finally:
        database.close()


def known_jobs(session: Session, listed: Sequence[dict[str, Any]]) -> set[str]:
    """Of the jobs that are listed those of groups and of hooks. Differences are counted."""
    groups = session.groups
    wanted = {trail.group: trail for trail in groups.ledger.story.acknowledged()}
    either = {trail.group for trail in groups.ledger.story.trails.values() if trail.removing}
    sizes = Counter(job["group"] for job in listed if job["group"] is not None)
    for group, trail in wanted.items():
        plan = groups.plan_of(trail.number)
        if sizes[group] != len(plan.members):
            session.counts.differ(plan.token, f"{sizes[group]} of {len(plan.members)} jobs listed")
    if strange := sizes.keys() - wanted.keys() - either:
        session.counts.differ("groups", f"listed, not known: {strange}")
    _check_collapsed(session, set(sizes))
    return {job["job"] for job in listed if job["group"] is not None or job["queue"] == HOOKS}


def _check_collapsed(session: Session, groups: set[str]) -> None:
    """A list of groups as one line each has each of them once."""
    entries: Iterator[Mapping[str, Any]] = session.client("root").entries(ended=True, page=7)
    found = Counter(
        entry["group_summary"]["group"] for entry in entries if "group_summary" in entry
    )
    if found != Counter(groups):
        session.counts.differ("groups", f"as one line each: {found}, not {groups}")


def check_starts(session: Session) -> None:
    """The list of starts of groups has each attempt once."""
    starts: dict[str, Counter[tuple[int, int]]] = {}
    for line in _lines(session, "group-starts"):
        token, member, attempt = line.split()
        starts.setdefault(token, Counter())[int(member), int(attempt)] += 1
    groups = session.groups
    for trail in list(groups.ledger.story.trails.values()):
        plan = groups.plan_of(trail.number)
        own = starts.pop(plan.token, Counter())
        with session.looking_after(plan):
            if trail.group is None and own:
                raise DifferenceError("nobody has taken it, and it ran")
            group_checks.check_starts(plan, trail, own)
    if starts:
        session.counts.differ("group starts", f"of no group: {starts}")


def check_order(session: Session, events: Sequence[Event]) -> None:
    """Never more of a group went than may, and no step before its turn."""
    groups = session.groups
    trails = groups.ledger.story.trails.values()
    members = {
        job: Member(groups.plan_of(trail.number), member)
        for trail in trails
        for member, job in trail.jobs.items()
    }
    order = group_checks.Order(members, {trail.number: trail.caps for trail in trails})
    for wrong in order.follow(events):
        session.counts.differ("groups", wrong)
    session.counts.add("histories of groups", len({plan.number for plan, _ in members.values()}))


def check_hooks(session: Session, events: Sequence[Event]) -> None:
    """Each change that somebody is told of was told once."""
    root = session.client("root")
    jobs = []
    for job in root.jobs(ended=True, select={"queue": HOOKS}):
        results = results_of(root.status(job["job"]))
        jobs.append(HookJob(job["job"], job["name"] or "", results))
    due = _due(session, events)
    trails = session.ledger.story.trails.values()
    disk_full = any(trail.disk_full for trail in trails)
    lines = _lines(session, "hook-lines")
    for wrong in group_checks.check_hooks(due, jobs, lines, disk_full=disk_full):
        session.counts.differ("hooks", wrong)
    session.counts.add("hooks run", len(jobs))


def _due(session: Session, events: Sequence[Event]) -> Counter[str]:
    """How often each hook was to be run, by the name of its job."""
    jobs = {
        trail.job: session.plan_of(trail.number)
        for trail in session.ledger.story.trails.values()
        if trail.job is not None
    }
    hooked = {
        trail.group: session.groups.plan_of(trail.number)
        for trail in session.groups.ledger.story.trails.values()
        if trail.group is not None and session.groups.plan_of(trail.number).has_hook
    }
    due: Counter[str] = Counter()
    for event in events:
        if event.kind == "group-ended" and event.job in hooked:
            due[f"hook.{hooked[event.job].token}.ended"] += 1
        name = _EVENTS.get(event.kind)
        if event.job in jobs and name in jobs[event.job].wishes.hooks:
            due[f"hook.{jobs[event.job].token}.{name}"] += 1
    return due


def _lines(session: Session, name: str) -> list[str]:
    with open(f"{session.share}/{name}", encoding="utf-8") as file:
        return file.read().splitlines()
