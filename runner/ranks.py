"""The places of queued jobs among those of the same submitter, queue and priority: a lane.

Pure: ranks in, ranks out. A lower rank comes first, of equal ones the lower id. A move changes
ranks within one lane and nobody else's turn; which lane comes next is `runner.scheduling`'s to
decide. The store keeps the ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.rows import RANK_STEP

if TYPE_CHECKING:
    from runner.scheduling.kinds import Waiting

    Lane = tuple[int, str, int]

# Between jobs that had to make room: for ten more moves each.
_GAP: Final = 1024


def lane_of(job: Waiting) -> Lane:
    """Whose turn it shares."""
    return (job.uid, job.queue, job.priority)


class Ranks:
    """The jobs that wait, as they were last told of."""

    def __init__(self) -> None:
        self._jobs: dict[str, Waiting] = {}
        self._lanes: dict[Lane, dict[str, int]] = {}

    def get(self, job_id: str) -> Waiting | None:
        """The job, if it waits."""
        return self._jobs.get(job_id)

    def put(self, job: Waiting) -> None:
        """It waits, or waits elsewhere."""
        self.drop(job.id)
        self._jobs[job.id] = job
        self._lanes.setdefault(lane_of(job), {})[job.id] = job.rank

    def drop(self, job_id: str) -> None:
        """It does not wait any more. Again is harmless."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            lane = self._lanes[lane_of(job)]
            del lane[job_id]
            if not lane:
                del self._lanes[lane_of(job)]

    def top(self, lane: Lane, job: Waiting) -> int:
        """The rank with which a job comes first in a lane, which need not be its own."""
        others = [rank for job_id, rank in self._lanes.get(lane, {}).items() if job_id != job.id]
        first = min(others, default=job.rank + 1)
        return job.rank if job.rank < first else first - RANK_STEP

    def before(self, other: Waiting, job_id: str) -> list[tuple[str, int]]:
        """Jobs and their new ranks, with which a job comes directly before another, in its lane.

        To be changed one after the other: the rest keeps its order at every step. More than one
        where the ranks between two neighbours are used up: those before give way.
        """
        place = (other.rank, other.id)
        earlier = [
            (rank, each)
            for each, rank in self._lanes[lane_of(other)].items()
            if each != job_id and (rank, each) < place
        ]
        nearest, _ = max(earlier, default=(other.rank - 2 * RANK_STEP, ""))
        middle = (nearest + other.rank) // 2
        if middle > nearest:
            return [(job_id, middle)]
        return _giving_way(earlier, other.rank - _GAP, job_id)


def _giving_way(earlier: list[tuple[int, str]], rank: int, job_id: str) -> list[tuple[str, int]]:
    """Every one of them lower, until there is room; the first in the order is the first to go."""
    moves = [(job_id, rank)]
    for present, each in sorted(earlier, reverse=True):
        rank -= _GAP
        if present <= rank:
            break
        moves.append((each, rank))
    return moves[::-1]
