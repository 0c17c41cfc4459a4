"""A user who has jobs here: quota, share, when served last, and what all of his jobs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.scheduling.kinds import Quota

if TYPE_CHECKING:
    from runner.scheduling.lanes import Lane


class Hold:
    """From a place in the user's order on, everything waits: the job there has no quota left.

    What comes after it must not take what it waits for. `at` is () where the number of running
    jobs is what there is no quota left of.
    """

    __slots__ = ("at", "job_id", "lane")

    def __init__(self, at: tuple[int | str, ...], job_id: str, lane: Lane) -> None:
        self.at = at
        self.job_id = job_id
        self.lane = lane


class User:
    """Share and `served` decide who is next; `served` counts starts, 0 is never."""

    __slots__ = (
        "hold", "is_bounded", "lanes", "parked", "quota", "served", "share", "uid", "version",
        "waiting", "waiting_apart",
    )  # fmt: skip

    def __init__(self, uid: int, quota: Quota) -> None:
        self.uid = uid
        self.quota = quota
        self.is_bounded = quota != Quota()
        self.share = 0.0
        self.served = 0
        self.waiting = 0
        self.waiting_apart = 0  # of these, in queues that are apart
        self.lanes: dict[Lane, None] = {}
        self.parked: dict[Lane, None] = {}
        # Counted on with each change of share and service: what a lane's place was made of.
        self.version = 0
        self.hold: Hold | None = None

    def waits(self, count: int, *, is_apart: bool) -> None:
        """So many jobs more."""
        self.waiting += count
        self.waiting_apart += count if is_apart else 0

    def is_held_at(self, position: tuple[int | str, ...]) -> bool:
        """Whether a job at that place of his order has to wait for an earlier one's quota."""
        return self.hold is not None and position >= self.hold.at

    def hold_from(self, hold: Hold) -> None:
        """What comes from there on waits."""
        self.unhold()
        self.hold = hold
        if hold.at:
            hold.lane.strand.line.holding[self.uid] = None

    def unhold(self) -> None:
        """Nothing is held back any more."""
        if self.hold is not None:
            self.hold.lane.strand.line.holding.pop(self.uid, None)
            self.hold = None
            for lane in list(self.parked):
                lane.refresh()

    def changed(self) -> None:
        """Share or service are others: lanes take their new places when they are looked at.

        Not now: a user may have a lane for each priority, and this happens at each start and end.
        """
        self.version += 1
