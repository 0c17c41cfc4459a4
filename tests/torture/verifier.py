"""Compares what is there with the ledger: after a power cut, and when all is over."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused
from tests.kernel.harness import wait_until
from tests.torture import leftovers, plan, verdicts
from tests.torture.riders import result_of
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from tests.torture.ledger import Trail
    from tests.torture.session import Session

_BAD_SIGNS: Final = re.compile(r"Traceback|defect|Exception ignored|never (retrieved|awaited)")
_END_SECONDS: Final = 90.0
_FORGET_SECONDS: Final = 30.0


def after_power_cut(session: Session) -> None:
    """Every state that was told before is there; jobs that wait to be stopped are stopped."""
    story = session.ledger.story
    for trail in list(story.trails.values()):
        with session.looking_after(session.plan_of(trail.number)):
            if trail.job is not None:
                _recheck(session, trail)


def _recheck(session: Session, trail: Trail) -> None:
    session.counts.add("rechecked")
    shown = _status(session, trail)
    if shown is None and not trail.removing:
        raise DifferenceError("it was acknowledged, and is gone after a power cut")
    if shown is not None and trail.removed:
        raise DifferenceError("it was removed, and is there after a power cut")
    if shown is None:
        return
    if trail.result is not None:
        _compare_results(trail, shown)
    elif session.plan_of(trail.number).ending == plan.STOP and shown["state"] != "ended":
        session.stopper.later(session.plan_of(trail.number))


def _status(session: Session, trail: Trail) -> dict[str, Any] | None:
    job = trail.job
    assert job is not None
    try:
        return dict(session.patiently(lambda: session.client("root").status(job)))
    except RequestRefused as refusal:
        if refusal.code != "no-such-job":
            raise
        return None


def _compare_results(trail: Trail, shown: dict[str, Any]) -> None:
    """What was told once may not be taken back. A field that is new may be added."""
    now = shown["result"]
    if shown["state"] != "ended" or now is None:
        raise DifferenceError(f"it was told to have ended, and is {shown['state']}")
    told = trail.result or {}
    changed = {name: (value, now.get(name)) for name, value in told.items() if now[name] != value}
    if changed:
        raise DifferenceError(f"its result was another one: {changed}")


def at_the_end(session: Session) -> None:
    """Every job, its log, its start; the list of jobs; the daemon's log; what it leaves."""
    session.call_off_drain()
    _resume_all(session)
    _settle_doubts(session)
    for trail in session.ledger.story.acknowledged():
        with session.looking_after(session.plan_of(trail.number)):
            _verify(session, trail)
    _check_starts(session)
    with session.looking_after(None):
        _check_list(session)
    with session.looking_after(None):
        _check_descriptors(session)
    _check_daemon_log(session)


def _resume_all(session: Session) -> None:
    for job in list(session.client("root").jobs()):
        if job["state"] == "paused":
            session.resume("root", job["job"])


def _settle_doubts(session: Session) -> None:
    """Submissions whose answer never came: there or not, and if so like every other job."""
    names = {job["name"]: job["job"] for job in session.client("root").jobs(ended=True)}
    for trail in list(session.ledger.story.trails.values()):
        job = session.plan_of(trail.number)
        if trail.job is not None or job.token not in names:
            continue
        if trail.refused:
            session.counts.differ(job.token, "it was refused, and is there")
        else:
            session.accept(job, names[job.token])


def _verify(session: Session, trail: Trail) -> None:
    job, job_id = session.plan_of(trail.number), trail.job
    assert job_id is not None
    root = session.client("root")
    shown = session.patiently(lambda: root.wait(job_id, timeout_seconds=_END_SECONDS))
    if shown["state"] != "ended":
        raise DifferenceError(f"it does not end: {shown['state']}")
    if trail.result is not None:
        _compare_results(trail, dict(shown))
    result = result_of(shown)
    if trail.result is None:
        session.told(job, result)
    verdicts.check_result(job, trail, dict(result))
    session.compare_log(job, job_id, result)


def _check_starts(session: Session) -> None:
    """The list of starts has each token once; see `verdicts.check_starts`."""
    with open(f"{session.share}/starts", encoding="utf-8") as file:
        counts = Counter(file.read().split())
    for trail in list(session.ledger.story.trails.values()):
        job = session.plan_of(trail.number)
        count = counts.pop(job.token, 0)
        with session.looking_after(job):
            verdicts.check_starts(job, trail.result, count)
            if trail.job is None and count:
                raise DifferenceError("nobody has taken it, and it ran")
    if counts:
        session.counts.differ("starts", f"of no job: {dict(counts)}")


def _check_list(session: Session) -> None:
    """The daemon's jobs are those of the ledger; its directories are those of its jobs."""
    story = session.ledger.story
    known = {trail.job for trail in story.acknowledged()}
    # The power was cut while they were being removed: there or not, both are right.
    either = {trail.job for trail in story.trails.values() if trail.removing and not trail.removed}
    listed = {job["job"] for job in session.client("root").jobs(ended=True)}
    if listed - either != known:
        unknown = listed - either - known
        raise DifferenceError(f"listed, not known: {unknown}; missing: {known - listed}")
    for text in leftovers.check_state_dir(session.victim, listed):
        session.counts.differ("left over", text)


def _check_descriptors(session: Session) -> None:
    """An idle runnerd holds what a new one holds: after all jobs are removed, in vain or not."""
    deadline = time.monotonic() + _FORGET_SECONDS
    for trail in session.ledger.story.acknowledged():
        if time.monotonic() < deadline and trail.job:
            session.remove(session.plan_of(trail.number), trail.job)
    session.hang_up()
    used = _idle_descriptors(session)
    session.victim.terminate()
    session.bring_up()
    fresh = _warmed_up(session)
    try:
        wait_until(lambda: _idle_descriptors(session) == fresh, 5)
    except AssertionError:
        raise DifferenceError(f"a new runnerd does not settle: {fresh}") from None
    if len(used) > len(fresh):
        more = Counter(used) - Counter(fresh)
        raise DifferenceError(f"descriptors that a new runnerd does not hold: {dict(more)}")


def _warmed_up(session: Session) -> tuple[str, ...]:
    """A new one after a job of each network, whose making opens what stays open."""
    root = session.client("root")
    for network in ("none", "private"):
        args = {"argv": ["true"], "cwd": "/", "network": network}
        job = str(root.request("submit", args)["job"])
        root.wait(job)
        root.remove(job)
    session.hang_up()
    return _idle_descriptors(session)


def _idle_descriptors(session: Session) -> tuple[str, ...]:
    """Once the connections of this process are gone."""
    seen = leftovers.descriptors(session.victim)
    for _ in range(50):
        time.sleep(0.1)
        again = leftovers.descriptors(session.victim)
        if again == seen:
            return again
        seen = again
    return seen


def _check_daemon_log(session: Session) -> None:
    text = session.victim.log_text()
    if found := _BAD_SIGNS.search(text):
        around = text[max(0, found.start() - 300) : found.start() + 2500]
        session.counts.differ("runnerd's log", around)
