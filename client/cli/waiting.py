"""What a queued job waits for, as words and sentences. Pure text.

Why a job waits is the daemon's to say, in the causes of docs/PROTOCOL.md; nothing is added to it
here. How one ended is `client.cli.output`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import short
from client.cli.shown_times import shown_ahead, shown_time
from client.text import printable
from client.units import format_cpus, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from client.records import Because, JobSummary, Queues, Why

_JOBS_SHOWN: Final = 8
_QUOTAS: Final = ("quota-running", "quota-cpus", "quota-memory")

# In a table: one word. A job that is only behind others is queued, and that is all.
_WORDS: Final = {
    "dependency": "after",
    "no-queue": "no queue",
    "queue-paused": "queue paused",
    "queue-cap": "queue full",
    "group-cap": "group full",
    "quota-running": "quota",
    "quota-cpus": "quota: CPUs",
    "quota-memory": "quota: memory",
    "cpus": "CPUs",
    "behind": "",
}


class Known(NamedTuple):
    """What was asked for besides, where a cause needs it: None and nothing where it was not.

    `states` are those of jobs that are waited for, `groups` what arrays and flows among these are,
    `steps` what those of the same flow are called in it; `queues` is the answer to that question
    when the quota is the reader's own.
    """

    held_by: str | None = None
    states: Mapping[str, str] = {}
    queues: Queues | None = None
    groups: Mapping[str, str] = {}
    steps: Mapping[str, str] = {}


def waits_word(job: JobSummary, now_ns: int) -> str:
    """What a queued job waits for, as a word for a table; "" when there is nothing to say."""
    cause = job.get("waits_for")
    if cause is None:
        return ""
    begin = job.get("not_before_ns")
    if cause == "time" and begin is not None:
        return f"until {shown_time(begin, now_ns)}"
    return _WORDS.get(cause, printable(cause))


def waits_lines(why: Why, known: Known, now_ns: int) -> list[str]:
    """Each thing that a queued job waits for, as the rest of a sentence about it.

    The last line is when it starts, where that can be told.
    """
    lines = []
    for because in why["because"]:
        lines += _lines(because, known, now_ns)
    ahead = why["ahead"] or 0
    if ahead:
        lines.append(f"waits behind {ahead} {'job' if ahead == 1 else 'jobs'}")
    if why["start_ns"] is not None:
        lines.append(f"is expected to start by {shown_ahead(why['start_ns'], now_ns)}")
    return lines or ["is about to start"]


def waits_for(because: Because, known: Known, now_ns: int) -> str:
    """One cause in short: for somebody whose job does not start."""
    return next(iter(_lines(because, known, now_ns)), "waits for its turn")


def _lines(because: Because, known: Known, now_ns: int) -> list[str]:
    cause = because["cause"]
    if cause == "behind":
        return []
    if cause == "held":
        return [f"is held{f' by {known.held_by}' if known.held_by else ''}"]
    if cause == "dependency":
        return _dependencies(because, known)
    if cause == "time":
        until = because["until_ns"]
        return ["waits for its time" + (f": {shown_ahead(until, now_ns)}" if until else "")]
    if cause in _QUOTAS:
        return [f"waits for {_quota(because, known.queues)}"]
    text = _group_cap(because) or _SENTENCES.get(cause, f"waits for {printable(cause)}")
    return [f"{text}{_figures(because)}{_until(because, now_ns)}"]


_SENTENCES: Final = {
    "no-queue": "waits in a queue that is not configured any more",
    "queue-paused": "waits in a queue that is paused",
    "queue-cap": "waits for its queue, in which as many jobs run as may",
    "group-cap": "waits for its group, of which as many jobs run as may",
    "slots": "waits for a slot: as many jobs run as may at once",
    "cpus": "waits for CPUs",
    "memory": "waits for memory",
    "reserved": "waits for what is kept",
    "draining": "waits because runnerd starts no jobs now (`runctl doctor` says why)",
}


def _group_cap(because: Because) -> str:
    group = because.get("group")
    if not group:
        return ""
    which = f"{printable(group['kind'])} {short(group['group'])}"
    run = "1 job runs" if group["running"] == 1 else f"{group['running']} jobs run"
    return f"waits for its {which}: {run}, {group['max_running']} may at once"


def _dependencies(because: Because, known: Known) -> list[str]:
    kinds = because["kinds"] or ["ok"] * len(because["on"])
    lines = []
    for job, kind in list(zip(because["on"], kinds, strict=False))[:_JOBS_SHOWN]:
        state = known.states.get(job)
        which = f", which is {printable(state)}" if state else ""
        on, what = printable(kind), f"{short(job)} ({printable(kind)})"
        if step := known.steps.get(job):
            lines.append(f"waits for step {printable(step)} ({short(job)}, {on}){which}")
        elif group := known.groups.get(job):
            lines.append(f"waits for {what}, {printable(group)}")
        else:
            lines.append(f"waits for job {what}{which}")
    more = len(because["on"]) - len(lines)
    return [*lines, f"waits for {more} more jobs"] if more > 0 else lines


def _until(because: Because, now_ns: int) -> str:
    """Whose end goes before it, and when that is at the latest."""
    cause, jobs, until = because["cause"], because["on"], because["until_ns"]
    if cause == "reserved":
        text = _kept_for(because)
    elif jobs:
        several = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        text = f" until job {short(jobs[0])}{several} {'end' if several else 'ends'}"
    elif until is not None:
        return f" until {shown_time(until, now_ns)} at the latest"
    else:
        return ""
    return text if until is None else f"{text} (at the latest {shown_time(until, now_ns)})"


def _kept_for(because: Because) -> str:
    """The job that comes first, by its id or as somebody's, and what it needs."""
    kept, jobs = because.get("kept"), because["on"]
    if kept is None:
        return f" for job {short(jobs[0])}" if jobs else " for another job"
    needs = [f"{format_cpus(kept['millicpus'])} CPUs"] if kept["millicpus"] else []
    needs += [f"{format_size(kept['memory_bytes'])} of memory"] if kept["memory_bytes"] else []
    whose = f"job {short(jobs[0])}" if jobs else "another user's job"
    return f" for {whose}, which needs {' and '.join(needs) or 'a slot'}"


def _figures(because: Because) -> str:
    """What it needs and what is free, where that is CPUs or memory."""
    show = _UNITS.get(because["cause"])
    needs, free = because["needs"], because["free"]
    if show is None or needs is None or free is None:
        return ""
    return f": needs {show(needs)}, {show(max(free, 0))} free"


_UNITS: Final[Mapping[str, Callable[[int], str]]] = {
    "cpus": format_cpus,
    "memory": format_size,
    "quota-cpus": format_cpus,
    "quota-memory": format_size,
}


def _quota(because: Because, queues: Queues | None) -> str:
    """The quota, with its figures when it is the reader's own."""
    whose = "the quota of its user" if queues is None else "your quota"
    if because["cause"] == "quota-running":
        if queues is None or queues["quota"]["max_running"] is None:
            return f"{whose}: as many jobs run as may"
        return f"{whose}: {queues['own']['running']} of your jobs run, {_may(queues)} may"
    what = {"quota-cpus": " of CPUs", "quota-memory": " of memory"}[because["cause"]]
    return f"{whose}{what}{_figures(because)}"


def _may(queues: Queues) -> int:
    return queues["quota"]["max_running"] or 0


def needed(causes: Sequence[Because]) -> set[str]:
    """What `Known` should hold for these: of "held", "states" and "queues"."""
    wanted = {"held": "held", "dependency": "states", **dict.fromkeys(_QUOTAS, "queues")}
    return {wanted[because["cause"]] for because in causes if because["cause"] in wanted}
