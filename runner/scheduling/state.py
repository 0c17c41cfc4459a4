"""All that the scheduler knows, and the changes that keep it of one piece.

Entering, leaving, starting: whoever calls need not know which counts, lanes and groups that
touches. Which job is next is `selection`'s, why one is not `reasons`'.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runner.scheduling.dependencies import Dependencies
from runner.scheduling.groups import Group
from runner.scheduling.kinds import Going, Needs
from runner.scheduling.lanes import Lines
from runner.scheduling.ledger import Account, Ledger, over_promise, over_quota
from runner.scheduling.reservation import Patience, Reservation
from runner.scheduling.timetable import Timetable
from runner.scheduling.users import Hold, User

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.scheduling.kinds import Capacity, Cause, Queue, Quota, Waiting
    from runner.scheduling.lanes import Item, Lane, Line

_NOTHING = Account()


class Entry:
    """A job that waits."""

    __slots__ = ("barred", "job", "lane", "needs", "user")

    def __init__(self, job: Waiting, needs: Needs, user: User) -> None:
        self.job = job
        self.needs = needs  # at most the capacity
        self.user = user
        self.lane: Lane | None = None  # where it is while it could start
        self.barred: Cause | None = None  # why it could not

    @property
    def item(self) -> Item:
        """Its place in its lane."""
        return self.job.rank, self.job.id


class State:
    """`is_stirred`: something may start that could not at the last look.

    `is_cut`: the last look ended because it had started enough.
    """

    def __init__(self, capacity: Capacity, quota_of: Callable[[int], Quota]) -> None:
        self.ledger = Ledger(capacity)
        self.lines = Lines()
        self.times = Timetable()
        self.dependencies = Dependencies()
        self.waiting: dict[str, Entry] = {}
        self.waiting_in: Counter[str] = Counter()
        self.barred: Counter[Cause] = Counter()  # of those that are in no lane
        self.users: dict[int, User] = {}
        self.groups: dict[str, Group] = {}
        self.reservation: Reservation | None = None
        self.patience = Patience()
        self.is_stirred = True
        self.is_cut = False
        self.quota_of = quota_of
        self._served = 0

    # Jobs that wait

    def enter(self, job: Waiting) -> Entry:
        """It waits; `place` it when its dependencies are known."""
        entry = Entry(job, self._needs(job), self._user(job.uid))
        self.waiting[job.id] = entry
        self.waiting_in[job.queue] += 1
        entry.user.waits(1, is_apart=self.is_apart(entry))
        self.times.add(job)
        return entry

    def leave(self, entry: Entry) -> None:
        """It waits no more."""
        self._unlist(entry)
        self._forget(entry.user)

    def _unlist(self, entry: Entry) -> None:
        self._out_of_lane(entry)
        self._bar(entry, None)
        job = entry.job
        self.times.remove(job)
        del self.waiting[job.id]
        self.waiting_in[job.queue] -= 1
        if not self.waiting_in[job.queue]:
            del self.waiting_in[job.queue]
        entry.user.waits(-1, is_apart=self.is_apart(entry))

    def place(self, entry: Entry) -> None:
        """Into its lane if it could start now, else out of it."""
        cause = self._barring(entry)
        self._bar(entry, cause)
        if cause is None and entry.lane is None:
            self._into_lane(entry)
        elif cause is not None and entry.lane is not None:
            self._out_of_lane(entry)

    def beyond_quota(self, entry: Entry) -> Cause | None:
        """The quota that it alone would pass: it waits until that is changed."""
        return over_promise(entry.user.quota, _NOTHING, entry.needs)

    # Jobs that go

    def start(self, entry: Entry, now_ns: int) -> None:
        """It goes from now on."""
        self._unlist(entry)
        self.go(Going.of(entry.job, now_ns))

    def go(self, job: Going) -> None:
        """A job goes, whether it waited here or not."""
        user = self._user(job.uid)
        self._served += 1
        user.served = self._served
        self.ledger.enter(job)
        self._usage_changed(user, job.group)
        line = self.lines.by_name.get(job.queue)
        if line is not None and line.holding and not self.is_open(line):
            # Its jobs are held back alone from now on: nobody else waits for one of them.
            for uid in list(line.holding):
                self.users[uid].unhold()
            self.is_stirred = True

    def stop(self, job_id: str) -> Going | None:
        """It goes no more; None: it did not."""
        job = self.ledger.leave(job_id)
        if job is not None:
            self.is_stirred = True
            if self.reservation is not None:
                self.reservation.leave(job_id)
            user = self.users[job.uid]
            self._usage_changed(user, job.group)
            self._let_in(user, job.queue)
            self._forget(user)
        return job

    def promise(self, job: Going) -> None:
        """A job that goes is promised something else."""
        self.ledger.leave(job.id)
        self.ledger.enter(job)
        if self.reservation is not None:
            self.reservation.resize(job.id, self.ledger.clamped(job.needs))
        self._usage_changed(self.users[job.uid], job.group)
        self.is_stirred = True

    # Everything

    def set_queue(self, queue: Queue) -> None:
        """A queue is new, or another (as apart as before)."""
        if queue.apart:
            self.ledger.apart.add(queue.name)
        self.lines.set(queue)
        self.look_again()

    def look_again(self) -> None:
        """Nobody is held back, and nothing is kept for anybody, by what was."""
        self.reservation = None
        for user in self.users.values():
            user.unhold()
        self.is_stirred = True

    def cap_group(self, name: str, cap: int | None) -> list[Waiting]:
        """So many of a group may go at once, None: as many as there is room for. Who waits then."""
        found = [entry for entry in self.waiting.values() if entry.job.group == name]
        for entry in found:
            capped = entry.job._replace(group_cap=cap)
            if (entry.job.group_cap is None) == (cap is None):
                entry.job = capped
                continue
            # Hidden or shown by a group from now on, or by none any more.
            self._out_of_lane(entry)
            entry.job = capped
            self.place(entry)
        group = self.groups.get(name)
        if group is not None and cap is not None:
            group.set(cap, group.going)
        self.is_stirred = True
        return [entry.job for entry in found]

    def is_open(self, line: Line) -> bool:
        """Whether a queue starts jobs."""
        return self.closed(line) is None

    def closed(self, line: Line) -> Cause | None:
        """Why a queue starts no job now."""
        queue = line.queue
        if queue is None:
            return "no-queue"
        if queue.paused:
            return "queue-paused"
        most = queue.max_running
        if most is not None and self.ledger.queues[line.name] >= most:
            return "queue-cap"
        return None

    def over_quota(self, entry: Entry) -> Cause | None:
        """The quota of its user that it would pass now."""
        if self.is_apart(entry):
            return None
        return over_quota(entry.user.quota, self.ledger.used_by(entry.job.uid), entry.needs)

    def holds_back(self, entry: Entry) -> bool:
        """Whether its user's quota lets it wait; the later ones of that user wait with it."""
        user, lane = entry.user, entry.lane
        if self.is_apart(entry):
            return self._is_full(entry)
        if user.hold is None and not user.is_bounded:
            return False
        if lane is None or not self.is_open(lane.strand.line):
            return True
        if not user.is_held_at(lane.position(entry.item)):
            cause = self.over_quota(entry)
            if cause is None:
                return False
            at = () if cause == "quota-running" else lane.position(entry.item)
            user.hold_from(Hold(at, entry.job.id, lane))
        lane.park()
        return True

    def is_apart(self, entry: Entry) -> bool:
        """Whether its queue is."""
        return entry.job.queue in self.ledger.apart

    def is_user_full(self, entry: Entry) -> bool:
        """Whether as many of its user go as its queue, which is apart, lets."""
        queue = self.lines.line(entry.job.queue).queue
        most = None if queue is None else queue.user_cap
        return most is not None and self.ledger.beside[entry.job.uid] >= most

    def _is_full(self, entry: Entry) -> bool:
        """The same; then its lane waits until one of them has ended."""
        is_full = self.is_user_full(entry)
        if is_full and entry.lane is not None:
            entry.lane.is_full = True
            entry.lane.refresh()
        return is_full

    def _let_in(self, user: User, queue: str) -> None:
        """One of the user's jobs of a queue has ended, so that another may start."""
        if queue in self.ledger.apart:
            for lane in [each for each in user.lanes if each.is_full]:
                lane.is_full = False
                lane.refresh()

    def _needs(self, job: Waiting) -> Needs:
        """At most the capacity; nothing in a queue that is apart."""
        return Needs() if job.queue in self.ledger.apart else self.ledger.clamped(job.needs)

    def _barring(self, entry: Entry) -> Cause | None:
        job = entry.job
        if job.is_held:
            return "held"
        if not self.dependencies.is_clear(job.id):
            return "dependency"
        return self.beyond_quota(entry) if self.times.is_due(job) else "time"

    def _bar(self, entry: Entry, cause: Cause | None) -> None:
        if cause == entry.barred:
            return
        for each, count in ((entry.barred, -1), (cause, 1)):
            if each is not None:
                self.barred[each] += count
        entry.barred = cause

    def _into_lane(self, entry: Entry) -> None:
        job = entry.job
        lane = self.lines.line(job.queue).strand(job.priority).lane(entry.user)
        entry.lane = lane
        group = self._group(job)
        lane.add(entry.item, group)
        if group is not None and group.cap != job.group_cap:
            group.set(job.group_cap or 0, group.going)
        lane.refresh()
        self.is_stirred = self.is_stirred or self._may_matter(entry, lane)

    def _out_of_lane(self, entry: Entry) -> None:
        lane, entry.lane = entry.lane, None
        if lane is None:
            return
        job = entry.job
        lane.remove(entry.item, self._group(job))
        if job.group is not None and job.group_cap is not None:
            self._forget_group(job.group)
            self.is_stirred = True
        if self.reservation is not None and self.reservation.job_id == job.id:
            self.reservation = None
            self.is_stirred = True
        hold = entry.user.hold
        if hold is not None and hold.job_id == job.id:
            entry.user.unhold()
            self.is_stirred = True
        lane.refresh()
        self._forget_line(lane.strand.line)

    def _may_matter(self, entry: Entry, lane: Lane) -> bool:
        """Whether a new job could start, or has to be kept room for: else nothing has changed."""
        if self.is_apart(entry):
            return True
        if self.ledger.free_slots <= 0:
            return False
        kept = self.reservation
        if kept is None or lane.strand.level < kept.level:
            return True
        return self.ledger.fits(entry.needs)

    def _usage_changed(self, user: User, group: str | None) -> None:
        user.share = self.ledger.share(user.uid)
        user.changed()
        user.unhold()
        if group is not None and group in self.groups:
            self.groups[group].set(self.groups[group].cap, self.ledger.groups[group])

    def _group(self, job: Waiting) -> Group | None:
        if job.group is None or job.group_cap is None:
            return None
        group = self.groups.get(job.group)
        if group is None:
            group = Group(job.group, job.group_cap, self.ledger.groups[job.group])
            self.groups[job.group] = group
        return group

    def _forget_group(self, name: str) -> None:
        group = self.groups.get(name)
        if group is not None and not group.lanes:
            del self.groups[name]

    def _forget_line(self, line: Line) -> None:
        if line.queue is None and not line.strands:
            self.lines.forget(line.name)

    def _user(self, uid: int) -> User:
        user = self.users.get(uid)
        if user is None:
            user = self.users[uid] = User(uid, self.quota_of(uid))
        return user

    def _forget(self, user: User) -> None:
        ledger = self.ledger
        if not (user.waiting or ledger.used_by(user.uid).jobs or ledger.beside[user.uid]):
            self.users.pop(user.uid, None)
