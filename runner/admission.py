"""Which queued jobs may start now: first come, first served, below one cap.

Pure: it is given the queue and a count and answers with ids. Reading the queue is the
store's work, starting the jobs the launcher's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class QueuedJob(Protocol):
    """What admission has to know of a job. `runner.store.Job` is one."""

    @property
    def id(self) -> str:
        """The job's full id."""


def admit(queued: Sequence[QueuedJob], running: int, max_running: int) -> list[str]:
    """Ids of the jobs to start now, in the order to start them in.

    `queued` is in the order of submission; its first `max_running - running` jobs are
    enough. `running` counts every job that has been launched and has not ended, so those
    that are starting too. It may be above the cap, when the cap was lowered meanwhile.
    """
    free = max(0, max_running - running)
    return [job.id for job in queued[:free]]
