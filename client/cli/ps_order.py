"""The order in which `ps` shows jobs: by fields that a list has. Pure.

A figure that a job has not got (yet) comes last, whichever way the others are sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from client.cli.group_words import as_job, group_of
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from client.records import GroupEntry, JobSummary

    Entry = JobSummary | GroupEntry

Order = tuple[str, bool]


def _of_result(job: JobSummary, name: str) -> int | None:
    result: Any = job["result"]
    value = result.get(name) if result else None
    return value if isinstance(value, int) else None


def _time(job: JobSummary, now_ns: int) -> int:
    taken = _of_result(job, "wall_ns")
    begin = job["started_ns"] or job["submitted_ns"]
    return (job["ended_ns"] or now_ns) - begin if taken is None else taken


FIELDS: Final[dict[str, Callable[[JobSummary, int], int | str | None]]] = {
    "submitted": lambda job, _now: job["submitted_ns"],
    "started": lambda job, _now: job["started_ns"],
    "ended": lambda job, _now: job["ended_ns"],
    "name": lambda job, _now: None if job["name"] is None else printable(job["name"]),
    "state": lambda job, _now: job["state"],
    "priority": lambda job, _now: job.get("priority", 0),
    "queue": lambda job, _now: printable(job.get("queue", "")),
    "user": lambda job, _now: printable(job["user"]),
    "mem": lambda job, _now: _of_result(job, "memory_peak_bytes"),
    "cpu": lambda job, _now: _of_result(job, "cpu_usec"),
    "time": _time,
    "member": lambda job, _now: job.get("member"),
}


def parse_order(text: str) -> list[Order]:
    """Fields by commas, and whether each is descending: "-time,name". Raises ValueError."""
    order = [(item.strip().removeprefix("-"), item.strip()[:1] == "-") for item in text.split(",")]
    for field, _ in order:
        if field not in FIELDS:
            raise ValueError(
                f"{field[:40]!a} given; fields are allowed, with - before one for descending: "
                f"{', '.join(FIELDS)}"
            )
    return order


def ordered(jobs: Iterable[Entry], order: Sequence[Order], now_ns: int) -> list[Entry]:
    """The jobs and groups by the fields; of equal ones the order stays."""
    result = list(jobs)
    for field, descending in reversed(order):
        keyed = [(FIELDS[field](_seen(job), now_ns), job) for job in result]
        known = [(key, job) for key, job in keyed if key is not None]
        known.sort(key=lambda pair: _comparable(pair[0]), reverse=descending)
        result = [job for _, job in known] + [job for key, job in keyed if key is None]
    return result


def _seen(entry: Entry) -> JobSummary:
    group = group_of(entry)
    return cast("JobSummary", entry) if group is None else as_job(group)


def _comparable(key: float | str) -> Any:  # noqa: ANN401  of one field all are of one type
    return key.casefold() if isinstance(key, str) else key
