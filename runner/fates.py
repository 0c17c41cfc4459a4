"""What became of a job or a group, for those to come after it; how a job ends that never ran.

Pure: rows in, ends and outcomes out. When to ask is `runner.queueing`'s, what a reason means
`runner.outcome`'s.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from runner import outcome, records, stored
from runner.group_rows import OK
from runner.lifecycle import GOING, State
from runner.scheduling.kinds import Abandon, End

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.group_rows import Group
    from runner.outcome import Outcome
    from runner.rows import Fate, Job
    from runner.scheduling.kinds import Expire, Met

    # A job or a group, and what it was waited for to become.
    Meeting = tuple[str, Met]

NEVER_RAN: Final = End(ok=False, has_started=False)


def end_of(job: Job | Fate) -> End:
    """The end of a job, or of a group, that has ended for good."""
    if job.fate is not None:
        is_good = job.fate == OK
    else:
        # An older runnerd has not said.
        is_good = job.reason == outcome.EXIT and _status(job) == 0
    return End(ok=is_good, has_started=job.started_ns is not None)


def end_of_group(group: Group) -> End:
    """The end of a group of which every job has ended. Nobody may wait for its start alone."""
    return End(ok=group.is_ok, has_started=True)


def met_by(end: End) -> list[Met]:
    """What a job was waited for to become, and has by this end."""
    met: list[Met] = ["any", "ok" if end.ok else "fail"]
    return [*met, "started"] if end.has_started else met


def judged(
    ids: Iterable[str], known: Mapping[str, Fate]
) -> tuple[dict[str, End | None], list[Meeting]]:
    """What became of those jobs and groups that have ended, and what all have become so far.

    `known`: those that are there. One that is nowhere any more has an end that nobody knows.
    """
    ended: dict[str, End | None] = {job_id: None for job_id in ids if job_id not in known}
    meetings: list[Meeting] = []
    for job_id, fate in known.items():
        if fate.state is State.ENDED:
            ended[job_id] = end = end_of(fate)
            meetings += [(job_id, kind) for kind in met_by(end)]
        elif fate.state in GOING:
            meetings.append((job_id, "started"))
    return ended, meetings


def verdicts(
    actions: Sequence[Abandon | Expire],
    known: Mapping[str, Fate],
    steps: Mapping[str, str] = MappingProxyType({}),
) -> list[tuple[str, Outcome]]:
    """How jobs end that can never start. `known`: the jobs that some were to come after.

    `steps`: what those of them are called that are steps of the same flow.
    """
    # In the same chain: these end in the same moment.
    together = {action.id: _reason(action) for action in actions}
    return [(action.id, _verdict(action, known, together, steps)) for action in actions]


def result_of(verdict: Outcome) -> bytes:
    """The result of a job that never ran, as it is stored."""
    return records.pack({**dict.fromkeys(stored.RESULT_FIELDS), **verdict._asdict()})


def _verdict(
    action: Abandon | Expire,
    known: Mapping[str, Fate],
    together: Mapping[str, str],
    steps: Mapping[str, str],
) -> Outcome:
    if not isinstance(action, Abandon):
        return outcome.past_deadline()
    fate = known.get(action.on_id)
    before = f"it was to come after {_called(action, steps)}, which"
    if fate is None:
        return outcome.unmet(f"{before} was removed")
    if fate.reason is None and fate.fate is not None:
        failed = "none" if fate.fate == OK else "some"
        group = f"it was to come after group {action.on_id[:8]} ({action.kind}), of which"
        return outcome.unmet(f"{group} {failed} failed")
    if fate.reason is None:
        return outcome.unmet(f"{before} ended: {together.get(action.on_id, 'before it started')}")
    return outcome.unmet(f"{before} ended: {fate.reason}, status {_status(fate)}")


def _called(action: Abandon, steps: Mapping[str, str]) -> str:
    step, short = steps.get(action.on_id), action.on_id[:8]
    return (
        f"job {short} ({action.kind})" if step is None else f"step {step} ({short}, {action.kind})"
    )


def _status(job: Job | Fate) -> int | None:
    status: int | None = None if job.result is None else stored.result(job.result)["exit_status"]
    return status


def _reason(action: Abandon | Expire) -> str:
    return outcome.DEPENDENCY if isinstance(action, Abandon) else outcome.DEADLINE
