"""Compares what is there with the ledger: after a power cut, and when all is over."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused
from tests.kernel.harness import wait_until
from tests.torture import group_verifier, histories, leftovers, plan, verdicts
from tests.torture.riders import ended_of, results_of
from tests.torture.verdicts import DifferenceError
from tests.torture.witness import all_events

if TYPE_CHECKING:
    from tests.torture.ledger import Trail
    from tests.torture.session import Session

_BAD_SIGNS: Final = re.compile(
    r"Traceback|defect|Exception ignored|never (retrieved|awaited)|is given up until"
)
_END_SECONDS: Final = 90.0
_FORGET_SECONDS: Final = 30.0
_END_OF_TIME_SECONDS: Final = 7 * 3600.0
_KEPT: Final = 3


def after_power_cut(session: Session) -> None:
    """Every state that was told before is there; jobs that wait to be stopped are stopped."""
    story = session.ledger.story
    session.open_queues()
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
    elif shown["state"] != "ended":
        session.errands.later(session.plan_of(trail.number))
    if session.plan_of(trail.number).wishes.twins:
        session.submitter.again(session.plan_of(trail.number))


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
    if len(shown["attempts"]) != len(trail.attempts):
        raise DifferenceError(f"it had {trail.attempts} before, now {shown['attempts']}")
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
    session.open_queues()
    # Later than any time that was waited for by a clock that went wrong.
    session.set_clock(_END_OF_TIME_SECONDS)
    _settle_doubts(session)
    _let_go_on(session)
    for trail in session.ledger.story.acknowledged():
        with session.looking_after(session.plan_of(trail.number)):
            _verify(session, trail)
    group_verifier.finish_all(session)
    with session.looking_after(None):
        group_verifier.settle_hooks(session)
    session.set_clock(0)
    _check_starts(session)
    group_verifier.check_starts(session)
    with session.looking_after(None):
        _check_list(session)
    for witness in session.witnesses:
        with session.looking_after(None):
            witness.finish()
    with session.looking_after(None):
        _check_histories(session)
    with session.looking_after(None):
        _check_descriptors(session)
    _check_daemon_log(session)


def _let_go_on(session: Session) -> None:
    """What is paused or held; but for those that wait for their deadlines so."""
    late = {
        trail.job
        for trail in session.ledger.story.acknowledged()
        if session.plan_of(trail.number).ending == plan.DEADLINE
    }
    root = session.client("root")
    for job in list(root.jobs()):
        if job["state"] == "paused":
            session.resume("root", job["job"])
        if job["held_by_uid"] is not None and job["job"] not in late:
            session.until_done(partial(root.release, job["job"]), done="job-state")


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
    ended = ended_of(shown)
    if trail.result is None:
        session.told(job, ended)
    verdicts.check_end(job, trail, trail.attempts, results_of(ended)[-1])
    session.compare_logs(job, job_id, ended)


def _check_starts(session: Session) -> None:
    """The list of starts has each token once; see `verdicts.check_starts`."""
    with open(f"{session.share}/starts", encoding="utf-8") as file:
        counts = Counter(file.read().splitlines())
    starts: dict[str, dict[int, int]] = {}
    for line, count in counts.items():
        token, attempt = line.split()
        starts.setdefault(token, {})[int(attempt)] = count
    for trail in list(session.ledger.story.trails.values()):
        job = session.plan_of(trail.number)
        own = starts.pop(job.token, {})
        with session.looking_after(job):
            verdicts.check_starts(job, trail, own)
            if trail.job is None and own:
                raise DifferenceError("nobody has taken it, and it ran")
    if starts:
        session.counts.differ("starts", f"of no job: {starts}")


def _check_histories(session: Session) -> None:
    """The events say what was told, and that jobs came after those that they were to."""
    events = list(all_events(session.witnesses))
    found = histories.histories(events)
    trails = {
        trail.number: histories.Target(trail, found[trail.job])
        for trail in session.ledger.story.trails.values()
        if trail.job in found and trail.result is not None
    }
    for trail in session.ledger.story.trails.values():
        if trail.job is None:
            continue
        with session.looking_after(session.plan_of(trail.number)):
            if trail.job not in found:
                raise DifferenceError("there is no event of it")
            histories.check_told(found[trail.job], trail)
            histories.check_after(trail, found[trail.job], trails)
            session.counts.add("came after", len(trail.after))
    session.counts.add("histories", len(found))
    group_verifier.check_order(session, events)
    group_verifier.check_hooks(session, events)


def _check_list(session: Session) -> None:
    """The daemon's jobs are those of the ledger; its directories are those of its jobs."""
    story = session.ledger.story
    known = {trail.job for trail in story.acknowledged()}
    # The power was cut while they were being removed: there or not, both are right.
    either = {trail.job for trail in story.trails.values() if trail.removing and not trail.removed}
    jobs = [dict(job) for job in session.client("root").jobs(ended=True)]
    listed: set[str] = {str(job["job"]) for job in jobs}
    others = group_verifier.known_jobs(session, jobs)
    if listed - either - others != known:
        unknown = listed - either - others - known
        raise DifferenceError(f"listed, not known: {unknown}; missing: {known - listed}")
    for text in leftovers.check_state_dir(session.victim, listed):
        session.counts.differ("left over", text)


def _check_descriptors(session: Session) -> None:
    """An idle runnerd holds what a new one holds: after all jobs are removed, in vain or not."""
    deadline = time.monotonic() + _FORGET_SECONDS
    with session.looking_after(None):
        _prune(session)
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


def _prune(session: Session) -> None:
    """All but the newest of each user, at once."""
    root = session.client("root")
    before = [job["submitted_by_uid"] for job in root.jobs(ended=True)]
    pruned = root.prune(everybody=True, keep=_KEPT)
    session.counts.add("pruned", pruned["jobs"])
    left = Counter(job["submitted_by_uid"] for job in root.jobs(ended=True))
    wanted = {uid: min(_KEPT, count) for uid, count in Counter(before).items()}
    if left != wanted:
        raise DifferenceError(f"{len(before)} jobs, pruned {pruned['jobs']}, left {dict(left)}")


def _warmed_up(session: Session) -> tuple[str, ...]:
    """A new one after a job of each network and launcher, whose making opens what stays open."""
    root = session.client("root")
    for network, tree in (("none", "host"), ("none", "readonly"), ("private", "host")):
        sandbox = {"filesystem": tree}
        args = {"argv": ["true"], "cwd": "/", "network": network, "sandbox": sandbox}
        job = str(root.request("submit", args)["job"])
        root.wait(job)
        root.remove(job)
    session.hang_up()
    leftovers.wait_for_networks(session.victim)
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
