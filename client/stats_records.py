"""What `stats` answers, as types: the shape of docs/PROTOCOL.md, nothing computed.

Programs find these names in `client.records`, with the rest of what the daemon answers.
"""

from __future__ import annotations

from typing import TypedDict

from client.queue_records import (  # noqa: TC001  typing.get_type_hints looks for it
    Capacity,
    Promised,
)


class Histogram(TypedDict):
    """How long something took: of each of `bounds` (seconds) how many took at most so long.

    `count` has also what took longer than the last of them.
    """

    bounds: list[float]
    buckets: list[int]
    sum_seconds: float
    count: int


class StoreStats(TypedDict):
    """What the daemon's database holds: rows of jobs, and bytes of its files."""

    rows: int
    bytes: int


class Stats(TypedDict):
    """Totals of the daemon. What counts up counts since `started_ns`, so it begins at 0 again.

    `waiting` has a number for each cause (`client.records.Cause`) for which any job waits.
    """

    started_ns: int
    uptime_seconds: float
    draining: bool
    jobs: dict[str, int]
    waiting: dict[str, int]
    capacity: Capacity
    promised: Promised
    submitted: int
    starts: int
    requeued: int
    retries: int
    ends: dict[str, int]
    queue_wait: Histogram
    launch: Histogram
    cpu_usec: int
    memory_bytes: int
    log_bytes: int
    refusals: dict[str, int]
    connections: int
    problems: int
    store: StoreStats
