"""What happened to jobs since the daemon began, in numbers: counts, histograms, what was used.

Pure: it adds up what it is told, and looks at no clock. The store tells it of each change that it
has committed, `runner.ending` what an attempt used. Nothing is kept of a job but while it is being
launched, and nothing over a restart. Who is shown them is `runner.server.handlers.stats`' business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from runner.outcome import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable

_NS: Final = 1_000_000_000
# Upper bounds of buckets in seconds; what is longer is in the count alone. They are part of what
# somebody stores: a changed bound makes two series that cannot be compared.
WAIT_SECONDS: Final = (0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
LAUNCH_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Histogram:
    """How long something took, by bounds in seconds."""

    __slots__ = ("_bounds", "_bounds_ns", "_found", "_sum_ns")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._bounds_ns = tuple(round(bound * _NS) for bound in bounds)
        # One more than bounds: what is longer than the last.
        self._found = [0] * (len(bounds) + 1)
        self._sum_ns = 0

    def add(self, ns: int) -> None:
        """It took so long once; less than nothing, by a clock that was set, is nothing."""
        ns = max(ns, 0)
        self._found[bisect_left(self._bounds_ns, ns)] += 1
        self._sum_ns += ns

    def shown(self) -> dict[str, Any]:
        """As docs/PROTOCOL.md has it. `buckets`: for each bound how many took at most so long."""
        totals = list(accumulate(self._found))
        return {
            "bounds": [float(bound) for bound in self._bounds],
            "buckets": totals[:-1],
            "sum_seconds": self._sum_ns / _NS,
            "count": totals[-1],
        }


class Stats:
    """What is counted of the jobs of one daemon. `since_ns` (Unix time): from then on."""

    def __init__(self, since_ns: int, since_monotonic_ns: int) -> None:
        self.since_ns = since_ns
        self.submitted = 0
        self.starts = 0
        self.requeued = 0
        self.retries = 0
        self.ends: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        # Of attempts that are over.
        self.cpu_usec = 0
        self.log_bytes = 0
        # From the submission to the first start; from a start until it runs.
        self.waits = Histogram(WAIT_SECONDS)
        self.launches = Histogram(LAUNCH_SECONDS)
        self._since_monotonic_ns = since_monotonic_ns
        self._cpu_usec_told = 0
        # When those were started that are being launched (Unix time).
        self._starting: dict[str, int] = {}

    def start(self, job_id: str, now_ns: int, submitted_ns: int | None) -> None:
        """A job starts; `submitted_ns` is there when it does so for the first time."""
        self.starts += 1
        self._starting[job_id] = now_ns
        if submitted_ns is not None:
            self.waits.add(now_ns - submitted_ns)

    def run(self, job_id: str, now_ns: int) -> None:
        """It runs. Of one that an earlier daemon started nobody knows how long that took."""
        begun_ns = self._starting.pop(job_id, None)
        if begun_ns is not None:
            self.launches.add(now_ns - begun_ns)

    def leave(self, job_id: str) -> None:
        """It is neither starting nor running any more."""
        self._starting.pop(job_id, None)

    def end(self, reason: str) -> None:
        """A job has ended for good."""
        self.ends[reason] += 1

    def end_all(self, reasons: Iterable[str]) -> None:
        """So have several."""
        self.ends.update(reasons)

    def use(self, cpu_usec: int | None, log_bytes: int | None) -> None:
        """What an attempt has used that is over; None: nobody knows."""
        self.cpu_usec += cpu_usec or 0
        self.log_bytes += log_bytes or 0

    def never_less(self, cpu_usec: int) -> int:
        """The CPU time of all attempts, those that run included, or what was told before.

        It would be less while a job's cgroup is gone and its end not committed.
        """
        self._cpu_usec_told = max(self._cpu_usec_told, cpu_usec)
        return self._cpu_usec_told

    def uptime_seconds(self, now_monotonic_ns: int) -> float:
        """For how long it has been counted, however the clock was set meanwhile."""
        return (now_monotonic_ns - self._since_monotonic_ns) / _NS
