"""Prose and tables about jobs: how one ended, its state, its record. Pure text.

Everything that comes from a job's submitter goes through `client.text.printable`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from client.cli.common import short
from client.cli.facts import (
    SECOND_NS,
    denied,
    dropped,
    figures,
    limit_lines,
    log_lines,
    signal_name,
    surroundings,
    user_name,
)
from client.cli.group_words import as_job, command_of, counted, group_of, place_in_group
from client.cli.hook_jobs import shown_command
from client.text import cut, printable, width
from client.units import format_age, format_duration, format_size, in_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from client.records import GroupEntry, JobResult, JobStatus, JobSummary, Limits

_NAME_COLUMNS: Final = 16
_USER_COLUMNS: Final = 10
_LEAST_COMMAND_COLUMNS: Final = 10
_LEAST_STATE_COLUMNS: Final = 24


def last_words(job: JobStatus, uid: int | None = None) -> list[str]:
    """What `run` says on stderr at the end: nothing after a plain exit.

    `uid` is the reader's: who stopped the job is said when it was somebody else.
    """
    result = job["result"]
    if result is None:
        return []
    lines = []
    if end := unusual_end(job, uid):
        lines.append(end)
    elif result.get("oom_kills"):
        lines.append(f"job {short(job['job'])}: {_memory(job)}")
    if hits := result.get("pids_max_hits"):
        lines.append(f"job {short(job['job'])}: {_refused_forks(job['limits'], hits)}")
    # Known only where --report-denied was asked for.
    if refused := denied(result):
        lines.append(f"job {short(job['job'])}: refused system calls: {refused}")
    # The end for that reason says it in its own line.
    if result["reason"] != "log-error" and (lost := dropped(result)):
        lines.append(f"job {short(job['job'])}: {lost}")
    return lines


def unusual_end(job: JobStatus, uid: int | None = None) -> str:
    """The end of a job as a sentence, when it did not end by itself; else ""."""
    result = job["result"]
    if result is None or result["reason"] == "exit":
        return ""
    return f"job {short(job['job'])} {how_it_ended(job, uid)}"


def how_it_ended(job: JobStatus, uid: int | None = None) -> str:
    """The end of an ended job as the rest of a sentence: "was killed by signal 9 (SIGKILL)"."""
    result = job["result"]
    if result is None:
        return f"is {job['state']}"
    if result["reason"] == "stopped":
        return f"was stopped{_by(result, uid)}"
    prose = _PROSE.get(result["reason"])
    if prose is None:
        # A reason that a later daemon may know.
        return f"ended ({printable(result['reason'])}){_detail(result)}"
    return prose(job, result)


def _detail(result: JobResult) -> str:
    return f": {in_units(printable(result['detail']))}" if result.get("detail") else ""


def _memory(job: JobStatus) -> str:
    result = job["result"]
    parts = []
    if (allowed := job["limits"].get("memory_max_bytes")) is not None:
        parts.append(f"{format_size(allowed)} allowed")
    if result and result.get("memory_peak_bytes") is not None:
        parts.append(f"peak {format_size(result['memory_peak_bytes'] or 0)}")
    if result and result.get("oom_kills"):
        parts.append(f"{_count(result['oom_kills'] or 0, 'process', 'processes')} killed")
    return ", ".join(parts) or "no figures"


def _of(limit: float | None, show: Callable[[float], str]) -> str:
    return "" if limit is None else f" of {show(limit)}"


def _time_limit(limits: Limits) -> str:
    return _of(limits.get("timeout_seconds"), format_duration)


def _cpu_time_limit(limits: Limits) -> str:
    return _of(limits.get("cpu_time_seconds"), format_duration)


def _output_limit(limits: Limits) -> str:
    return _of(limits.get("output_max_bytes"), lambda size: format_size(int(size)))


def _by(result: JobResult, uid: int | None) -> str:
    who = result.get("stopped_by_uid")
    return "" if who is None or who == uid else f" by {user_name(who)}"


def _refused_forks(limits: Limits, hits: int) -> str:
    allowed = limits.get("pids_max")
    size = "" if allowed is None else f" of {_count(allowed, 'process', 'processes')}"
    return f"its limit{size} refused {_count(hits, 'fork', 'forks')}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


_PROSE: Final[Mapping[str, Callable[[JobStatus, JobResult], str]]] = {
    "exit": lambda _job, result: f"ended with exit code {result['exit_code']}",
    "signal": lambda _job, result: f"was killed by signal {signal_name(result['signal'])}",
    "oom": lambda job, result: (
        f"was killed because {result['detail']}"
        if result["detail"]
        else f"was killed at its memory limit: {_memory(job)}"
    ),
    "timeout": lambda job, _result: f"ended at its time limit{_time_limit(job['limits'])}",
    "cpu-time": lambda job, _result: f"ended at its CPU time limit{_cpu_time_limit(job['limits'])}",
    "output-limit": lambda job, _result: f"ended at its output limit{_output_limit(job['limits'])}",
    "launch-error": lambda _job, result: f"could not start{_detail(result)}",
    "log-error": lambda _job, result: f"ended{_detail(result) or ' with a log error'}",
    "deadline": lambda _job, result: f"ended at its deadline{_detail(result)}",
    "dependency": lambda _job, result: f"never started{_detail(result)}",
    "lost": lambda _job, result: f"was lost{_detail(result)}",
}


def state_word(job: JobSummary, now_ns: int) -> str:
    """The state in a table: "running", "queued (memory)", "exit 0", "signal 11", "oom"."""
    result = job["result"]
    if result is None:
        word = _waits_word(job, now_ns)
        if not word and job.get("attempt", 1) > 1:
            word = f"attempt {job['attempt']}"
        return printable(job["state"]) + (f" ({word})" if word else "")
    if result["reason"] == "exit":
        return f"exit {result['exit_code']}"
    if result["reason"] == "signal":
        return f"signal {result['signal']}"
    return printable(result["reason"])


def _waits_word(job: JobSummary, now_ns: int) -> str:
    if job.get("waits_for") is None:
        return ""
    from client.cli.waiting import waits_word

    return waits_word(job, now_ns)


def age(job: JobSummary, now_ns: int) -> str:
    """How long the job waits, runs, or took."""
    begin = job["started_ns"] or job["submitted_ns"]
    end = job["ended_ns"] or now_ns
    result = job["result"]
    taken = result.get("wall_ns") if result else None
    return format_age((end - begin if taken is None else taken) / SECOND_NS)


def job_table(jobs: Iterable[JobSummary | GroupEntry], now_ns: int, columns: int | None) -> str:
    """A table of jobs and groups with a heading; cut to `columns` (a terminal), else whole."""
    listed = list(jobs)
    cells = [_queue_cells(job) for job in listed]
    # A column in which every job has the same, which is also what everybody has, says nothing.
    usual = (("default", "-"), ("0", "-"))
    shown = [i for i in range(len(usual)) if any(cell[i] not in usual[i] for cell in cells)]
    heading = ["JOB", "NAME", "USER", *(_QUEUE_HEADING[i] for i in shown), "STATE", "TIME"]
    rows = [
        _row(job, [cell[i] for i in shown], now_ns) for job, cell in zip(listed, cells, strict=True)
    ]
    if columns is not None:
        rows = _fitted([_cut_row(row) for row in rows], heading, columns)
    return table([*heading, "COMMAND"], rows, columns)


_QUEUE_HEADING: Final = ("QUEUE", "PRIO")


def _queue_cells(entry: JobSummary | GroupEntry) -> tuple[str, str]:
    if (group := group_of(entry)) is not None:
        # Each of its jobs has a priority of its own.
        return printable(group["queue"] or "-"), "-"
    job = cast("JobSummary", entry)
    return printable(job.get("queue", "default")), str(job.get("priority", 0))


def _row(entry: JobSummary | GroupEntry, cells: Sequence[str], now_ns: int) -> list[str]:
    group = group_of(entry)
    if group is None:
        job = cast("JobSummary", entry)
        state, command = state_word(job, now_ns), shown_command(job)
    else:
        job = as_job(group)
        state, command = counted(group["counts"]), command_of(group)
    name, user = printable(job["name"] or "-"), printable(job["user"])
    return [short(job["job"]), name, user, *cells, state, age(job, now_ns), command]


def _fitted(rows: list[list[str]], heading: Sequence[str], columns: int) -> list[list[str]]:
    """The rows with states, of which a group's may be long, cut to what others leave of a line."""
    others = [i for i, word in enumerate(heading) if word != "STATE"]
    taken = sum(max(width(row[i]) for row in [heading, *rows]) + 2 for i in others)
    room = max(columns - taken - 2 - _LEAST_COMMAND_COLUMNS, _LEAST_STATE_COLUMNS)
    state = heading.index("STATE")
    return [[*row[:state], cut(row[state], room), *row[state + 1 :]] for row in rows]


def _cut_row(row: list[str]) -> list[str]:
    queue = [cut(cell, _NAME_COLUMNS) for cell in row[3:-3]]
    return [row[0], cut(row[1], _NAME_COLUMNS), cut(row[2], _USER_COLUMNS), *queue, *row[-3:]]


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None) -> str:
    """Columns two spaces apart; the last one is cut to what is left of `columns`."""
    everything = [heading, *rows]
    widths = [max(width(row[i]) for row in everything) for i in range(len(heading) - 1)]
    left = None
    if columns is not None:
        left = max(columns - sum(widths) - 2 * len(widths), _LEAST_COMMAND_COLUMNS)
    return "".join(_line(row, widths, left) for row in everything)


def _line(row: Sequence[str], widths: Sequence[int], left: int | None) -> str:
    cells = [cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=False)]
    last = row[-1] if left is None else cut(row[-1], left)
    return "  ".join([*cells, last]).rstrip() + "\n"


def job_record(job: JobStatus) -> str:
    """Everything about a job, a line a fact."""
    from client.cli.queue_facts import attempts, hooks, place

    now_ns = time.time_ns()
    facts = [*_identity(job), *_times(job), *place(job, now_ns)]
    facts += [*attempts(job, now_ns), *hooks(job)]
    facts += [("limit", text) for text in limit_lines(job["limits"])] or [("limit", "none")]
    facts += [("log", text) for text in log_lines(job.get("logs") or {}, job["limits"])]
    facts += surroundings(job)
    if job.get("usage"):
        facts += [("usage", text) for text in figures(job["usage"] or {})]
    if job["result"]:
        lines = [*_exit_lines(job["result"]), *figures(job["result"])]
        facts += [("result", text) for text in lines]
    return record(facts)


def record(facts: Iterable[tuple[str, str]]) -> str:
    """Labelled lines; a label that repeats is shown once."""
    lines, previous = [], ""
    for label, text in facts:
        lines.append(f"{'' if label == previous else label:<10} {text}\n")
        previous = label
    return "".join(lines)


def _identity(job: JobStatus) -> list[tuple[str, str]]:
    # After "state" the rest of a sentence reads well without its verb.
    state = how_it_ended(job).removeprefix("was ") if job["result"] else job["state"]
    if job.get("pid") is not None:
        state += f", monitor's pid {job['pid']}"
    user = f"{printable(job['user'])} (uid {job['uid']}, gid {job['gid']})"
    if job["submitted_by_uid"] != job["uid"]:
        user += f", submitted by uid {job['submitted_by_uid']}"
    named = [("name", printable(job["name"]))] if job["name"] else []
    if place := place_in_group(job):
        named.append(("group", place))
    return [
        ("job", printable(job["job"])),
        *named,
        ("state", state),
        ("command", shown_command(job)),
        ("directory", printable(job["cwd"])),
        ("user", user),
    ]


def _exit_lines(result: JobResult) -> list[str]:
    """How the first process ended, when it ran, and what `run` and `wait` exit with."""
    lines = []
    if result["exit_code"] is not None:
        lines.append(f"exit code {result['exit_code']}")
    if result["signal"] is not None:
        lines.append(f"signal {signal_name(result['signal'])}")
    return [*lines, f"exit status {result['exit_status']}"]


def _times(job: JobStatus) -> list[tuple[str, str]]:
    moments = (
        ("submitted", job["submitted_ns"]),
        ("started", job["started_ns"]),
        ("ended", job["ended_ns"]),
    )
    return [(label, moment(ns)) for label, ns in moments if ns is not None]


def moment(time_ns: int) -> str:
    """A time in a record: with its day, and how far the zone is from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(time_ns // SECOND_NS))
