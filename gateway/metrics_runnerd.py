"""What runnerd says of itself (`stats` of docs/PROTOCOL.md) as families of Prometheus. Pure.

Names and labels are an interface: docs/METRICS.md has them all, and a label's values are always few
(states, reasons, codes), never a job, a user or a certificate. Asking runnerd, and what the gateway
counts of its own, is `gateway.metrics`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from client.protocol import Message

_NS: Final = 1_000_000_000
_USEC: Final = 1_000_000
_MILLI: Final = 1000


class _Durations(msgspec.Struct, frozen=True):
    bounds: list[float]
    buckets: list[int]
    sum_seconds: float
    count: int


class _Room(msgspec.Struct, frozen=True):
    """What is promised (`jobs`), or can be (`slots`)."""

    millicpus: int
    memory_bytes: int
    slots: int = 0
    jobs: int = 0


class _Stored(msgspec.Struct, frozen=True):
    rows: int
    bytes: int


class RunnerdStats(msgspec.Struct, frozen=True):
    """The answer of `stats`; what a newer runnerd says beyond it is left aside."""

    started_ns: int
    draining: bool
    jobs: dict[str, int]
    waiting: dict[str, int]
    capacity: _Room
    promised: _Room
    submitted: int
    starts: int
    requeued: int
    retries: int
    ends: dict[str, int]
    refusals: dict[str, int]
    queue_wait: _Durations
    launch: _Durations
    cpu_usec: int
    memory_bytes: int
    log_bytes: int
    connections: int
    problems: int
    store: _Stored


class _One(NamedTuple):
    """A metric without labels: its name, what it says, and its value."""

    name: str
    about: str
    value: float


def read_stats(answer: Message) -> RunnerdStats:
    """Raises msgspec.ValidationError for what is no such answer."""
    return msgspec.convert(answer, RunnerdStats)


def families(stats: RunnerdStats | None, *, is_up: bool) -> Iterator[Metric]:
    """Everything there is to show; without stats only whether runnerd is up."""
    yield GaugeMetricFamily("runnerd_up", "Whether runnerd answered the gateway", float(is_up))
    if stats is None:
        return
    for gauge in _gauges(stats):
        yield GaugeMetricFamily(*gauge)
    for counter in _counters(stats):
        yield CounterMetricFamily(*counter)
    yield from _by_label(stats)
    yield _histogram("runnerd_queue_wait_seconds", "From a job's submission to its first start",
                     stats.queue_wait)  # fmt: skip
    yield _histogram("runnerd_launch_seconds", "From a start of a job until it runs", stats.launch)


def _gauges(stats: RunnerdStats) -> Iterator[_One]:
    most, promised = stats.capacity, stats.promised
    yield _One(
        "runnerd_start_time_seconds", "When runnerd began, Unix time", stats.started_ns / _NS
    )
    yield _One("runnerd_draining", "Whether no jobs are taken and started", float(stats.draining))
    yield _One("runnerd_memory_bytes", "Memory of the jobs that run", stats.memory_bytes)
    yield _One("runnerd_capacity_slots", "Jobs that may run at once", most.slots)
    yield _One("runnerd_capacity_cpus", "CPUs to be promised", most.millicpus / _MILLI)
    yield _One("runnerd_capacity_memory_bytes", "Memory to be promised", most.memory_bytes)
    yield _One("runnerd_promised_slots", "Jobs that are under way", promised.jobs)
    yield _One("runnerd_promised_cpus", "CPUs promised to them", promised.millicpus / _MILLI)
    yield _One("runnerd_promised_memory_bytes", "Memory promised to them", promised.memory_bytes)
    yield _One("runnerd_connections", "Clients that are connected", stats.connections)
    yield _One("runnerd_problems", "What `runctl doctor` tells an admin of", stats.problems)
    yield _One("runnerd_store_jobs", "Jobs in the database", stats.store.rows)
    yield _One("runnerd_store_bytes", "Size of the database", stats.store.bytes)


def _counters(stats: RunnerdStats) -> Iterator[_One]:
    yield _One("runnerd_jobs_submitted", "Jobs that were taken", stats.submitted)
    yield _One("runnerd_job_starts", "Attempts that were started", stats.starts)
    yield _One("runnerd_job_requeues", "Starts that came to nothing", stats.requeued)
    yield _One("runnerd_job_retries", "Jobs queued for another attempt", stats.retries)
    yield _One("runnerd_cpu_seconds", "CPU time of all attempts", stats.cpu_usec / _USEC)
    yield _One("runnerd_log_bytes", "Output of attempts that are over", stats.log_bytes)


def _by_label(stats: RunnerdStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("runnerd_jobs", "Jobs by state", labels=["state"])
    waiting = GaugeMetricFamily(
        "runnerd_jobs_waiting", "Queued jobs by the first reason to wait", labels=["reason"]
    )
    ends = CounterMetricFamily("runnerd_job_ends", "Ends of jobs by reason", labels=["reason"])
    refusals = CounterMetricFamily("runnerd_refusals", "Refused requests", labels=["code"])
    yield _filled(jobs, stats.jobs)
    yield _filled(waiting, stats.waiting)
    yield _filled(ends, stats.ends)
    yield _filled(refusals, stats.refusals)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, int]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in sorted(values.items()):
        family.add_metric([label], value)
    return family


def _histogram(name: str, about: str, took: _Durations) -> HistogramMetricFamily:
    bounded = [
        (str(bound), float(count)) for bound, count in zip(took.bounds, took.buckets, strict=False)
    ]
    buckets = [*bounded, ("+Inf", float(took.count))]
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=took.sum_seconds)
