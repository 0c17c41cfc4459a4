"""What the queue knows of a job, a line a fact: its place, what it comes after, its attempts.

Pure text. What it waits for is `client.cli.waiting`'s; whatever a daemon leaves out is left out
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from client.cli.common import short
from client.cli.facts import user_name
from client.cli.shown_times import shown_ahead
from client.text import printable
from client.units import format_cpus, format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from client.records import Attempt, GroupStatus, JobStatus, Retry, RetryRule

_SECOND_NS: Final = 1_000_000_000
Facts = list[tuple[str, str]]


def place(job: JobStatus, now_ns: int) -> Facts:
    """Where and when it waits or waited, and what is kept for it."""
    facts: Facts = []
    if (queue := job.get("queue")) is not None:
        facts.append(("queue", f"{printable(queue)}, priority {job.get('priority', 0)}"))
    if (uid := job.get("held_by_uid")) is not None:
        facts.append(("held", f"by {user_name(uid)}"))
    facts += [("label", _label(item)) for item in sorted(job.get("labels", {}).items())]
    facts += [("after", _after(item, job)) for item in job.get("after", [])]
    begin, is_queued = job.get("not_before_ns"), job["state"] == "queued"
    if begin is not None and is_queued and job.get("attempt", 1) == 1:
        facts.append(("not before", shown_ahead(begin, now_ns)))
    if (deadline := job.get("deadline_ns")) is not None:
        is_open = job["state"] != "ended"
        facts.append(("deadline", shown_ahead(deadline, now_ns) if is_open else _moment(deadline)))
    facts += [("reserve", text) for text in [_reserve(job.get("reserve", {}))] if text]
    if (key := job.get("idempotency_key")) is not None:
        facts.append(("key", printable(key)))
    return facts


def _label(item: tuple[str, str]) -> str:
    return f"{printable(item[0])}={printable(item[1])}"


def _after(item: Mapping[str, Any], job: JobStatus) -> str:
    unmet = "not met" if job["state"] == "ended" else "not met yet"
    which, on = short(item["job"]), printable(item["on"])
    step = item.get("step")
    what = f"step {printable(step)} ({which}, {on})" if step else f"{which} ({on})"
    return f"{what}, {'met' if item.get('met') else unmet}"


def _reserve(reserve: Mapping[str, Any]) -> str:
    parts = []
    if cpus := reserve.get("millicpus"):
        parts.append(f"CPUs {format_cpus(cpus)}")
    if memory := reserve.get("memory_bytes"):
        parts.append(f"memory {format_size(memory)}")
    return ", ".join(parts)


def _moment(time_ns: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(time_ns // _SECOND_NS))


def attempts(job: JobStatus, now_ns: int) -> Facts:
    """How earlier attempts ended, which one it is at, and when and why there is another."""
    retry, number = job.get("retry"), job.get("attempt", 1)
    facts = [("retry", text) for text in _retry_lines(retry)] if retry else []
    earlier = job.get("attempts", [])
    facts += [("attempt", attempt_end(job, item)) for item in earlier]
    if number > 1 or earlier:
        facts.append(("attempt", f"{number}{attempt_stage(job, now_ns)}"))
    return facts


def attempt_end(job: JobStatus, item: Attempt) -> str:
    """How an earlier attempt ended, and after how long: "1 ended with exit code 3, after 2 s"."""
    from client.cli.output import how_it_ended

    # The limits that applied then may have been others: without them nothing is said of them.
    then: JobStatus = {**job, "result": item["result"], "limits": {}}
    taken = ""
    if item["started_ns"] is not None:
        seconds = (item["ended_ns"] - item["started_ns"]) / _SECOND_NS
        taken = f", after {format_duration(round(seconds, 1))}"
    return f"{item['attempt']} {how_it_ended(then)}{taken}"


def attempt_stage(job: JobStatus, now_ns: int) -> str:
    """What the newest attempt does: " begins at 14:00:05 (in 5s)", " is running"."""
    begin = job.get("not_before_ns")
    if job["state"] == "queued" and begin is not None and begin > now_ns:
        return f" begins at {shown_ahead(begin, now_ns)}"
    return " has ended" if job["state"] == "ended" else f" is {printable(job['state'])}"


def _retry_lines(retry: Retry) -> list[str]:
    """How often, after which waits, for which reasons; then a line a rule."""
    line = f"at most {_times(retry['limit'])}"
    if wait := retry.get("backoff_seconds"):
        most = retry.get("backoff_max_seconds")
        line += f", after {format_duration(wait)} and then longer"
        line += f", at most {format_duration(most)}" if most is not None else ""
    reasons = retry.get("on") or []
    line += f", on {', '.join(printable(reason) for reason in reasons)}" if reasons else ""
    return [line, *(_rule_line(rule) for rule in retry.get("rules") or [])]


def _rule_line(rule: RetryRule) -> str:
    parts = []
    for factor, most, word, show in _GROWING:
        by = rule.get(factor)
        if by is not None:
            bound = rule.get(most)
            up_to = "" if bound is None else f" up to {show(bound)}"
            parts.append(f"{word} \u00d7{by:g}{up_to}")
    if (limit := rule.get("limit")) is not None:
        parts.append(f"at most {_times(limit)}")
    return f"after {printable(rule['reason'])}: {', '.join(parts) or 'as before'}"


_GROWING: Final[tuple[tuple[str, str, str, Callable[[Any], str]], ...]] = (
    ("memory_factor", "memory_max_bytes", "memory", format_size),
    ("timeout_factor", "timeout_max_seconds", "time limit", format_duration),
)


def hooks(owner: JobStatus | GroupStatus) -> Facts:
    """What is done when its state changes: "ok, fail: runs mail", and how that went last."""
    return [("hook", f"{_hook(item)}{_last(item)}") for item in owner.get("hooks") or []]


def _hook(item: Mapping[str, Any]) -> str:
    events = ", ".join(printable(event) for event in item.get("on") or [])
    if (host := item.get("host")) is not None:
        return f"{events}: tells {printable(host)}"
    return f"{events}: runs {printable(item.get('command') or '?')}"


def _last(item: Mapping[str, Any]) -> str:
    """The job that it was run as: "; job 86eb3596 could not start: nosuchprog: not found"."""
    from client.cli.output import how_it_ended

    last = item.get("last")
    if not last:
        return ""
    # The limits that it met are in its own status.
    job = cast("JobStatus", {"limits": {}, **last})
    return f"; job {short(last['job'])} {how_it_ended(job)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
