"""The places of queued jobs among those of the same submitter, queue and priority: a lane.

Pure: ranks in, ranks out. A lower rank comes first, of equal ones the lower id. A move changes
ranks within one lane and nobody else's turn; which lane comes next is `runner.scheduling`'s to
decide. The store keeps the ranks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

from runner.rows import RANK_STEP

if TYPE_CHECKING:
    from runner.scheduling.kinds import Waiting

    Lane = tuple[int, str, int]

# Whoever comes directly before another takes this part of the room that is there, next to the one
# before it: most often the next job is to come directly before the same one.
_PART: Final = 16
# So many jobs may share the 2**n ranks before a place: at most _DENSITY**n. Half of them would
# be few and used up soon, nearly 2**n spread again and again; in between a move changes a number of
# ranks that grows with the logarithm of the lane, taken over many moves (Bender and others,
# "Two Simplified Algorithms for Maintaining Order in a List", 2002).
_DENSITY: Final = 4 / 3


def lane_of(job: Waiting) -> Lane:
    """Whose turn it shares."""
    return (job.uid, job.queue, job.priority)


class Ranks:
    """The jobs that wait, as they were last told of, but for what they come after."""

    def __init__(self) -> None:
        self._jobs: dict[str, Waiting] = {}
        # In their order.
        self._lanes: dict[Lane, list[tuple[int, str]]] = {}

    def get(self, job_id: str) -> Waiting | None:
        """The job, if it waits."""
        return self._jobs.get(job_id)

    def put(self, job: Waiting) -> None:
        """It waits, or waits elsewhere."""
        self.drop(job.id)
        self._jobs[job.id] = job._replace(after=()) if job.after else job
        insort(self._lanes.setdefault(lane_of(job), []), (job.rank, job.id))

    def drop(self, job_id: str) -> None:
        """It does not wait any more. Again is harmless."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            lane = self._lanes[lane_of(job)]
            del lane[bisect_left(lane, (job.rank, job_id))]
            if not lane:
                del self._lanes[lane_of(job)]

    def top(self, lane: Lane, job: Waiting) -> int:
        """The rank with which a job comes first in a lane, which need not be its own."""
        others = (rank for rank, job_id in self._lanes.get(lane, []) if job_id != job.id)
        first = next(others, job.rank + 1)
        return job.rank if job.rank < first else first - RANK_STEP

    def before(self, other: Waiting, job_id: str) -> dict[str, int]:
        """New ranks, with which a job comes directly before another, in its lane.

        To be changed all at once. More than the job's own where the ranks between two neighbours
        are used up: those before move away, and the rest keeps its place.
        """
        lane, place = self._lanes[lane_of(other)], (other.rank, other.id)
        end = bisect_left(lane, place)
        near = next((lane[at] for at in range(end - 1, -1, -1) if lane[at][1] != job_id), None)
        if near is None:
            return {job_id: other.rank - RANK_STEP}
        rank = near[0] + max((other.rank - near[0]) // _PART, 1)
        if rank < other.rank:
            return {job_id: rank}
        return _spread(lane, end, other.rank, job_id)


def _spread(lane: list[tuple[int, str]], end: int, rank: int, job_id: str) -> dict[str, int]:
    """Ranks below one, evenly, for as few as possible of those before it, and the job.

    There are ranks enough below the lowest: each move takes 2**44 of them at most, for a lane of
    300,000 jobs, and seldom any.
    """
    size, start = 1, end
    while end - start + 1 > _DENSITY**size or start == end:
        size += 1
        start = bisect_left(lane, (rank - (1 << size),))
    names = [name for _, name in lane[start:end] if name != job_id]
    names.append(job_id)
    low, room = rank - (1 << size), 1 << size
    return {
        name: low + number * room // (len(names) + 1) for number, name in enumerate(names, start=1)
    }
