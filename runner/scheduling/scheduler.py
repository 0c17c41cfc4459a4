"""The scheduler: what happens goes in, what to do comes out. The one way into this package.

For the event loop's thread only. It keeps everything in memory and nothing on disk: whoever
starts makes one anew, `adopt`s what goes and `add`s what waits. Nothing here waits, writes or
looks at a clock; carrying actions out is `runner.queueing`'s.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from runner.scheduling.explain import explain
from runner.scheduling.kinds import End, Expire, Going, Needs, Quota
from runner.scheduling.ledger import over_promise
from runner.scheduling.newcomers import may_go_at_once
from runner.scheduling.reasons import causes
from runner.scheduling.selection import select
from runner.scheduling.state import State
from runner.scheduling.tally import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runner.scheduling.kinds import (
        Abandon,
        Action,
        Capacity,
        Cause,
        Explanation,
        Queue,
        Waiting,
    )

# What one decision ends at most, of each kind: whoever carries it out has other work too.
MOST_ENDS: Final = 500
MOST_STARTS: Final = 32

_NEVER_RAN: Final = End(ok=False, has_started=False)
_NONE_ENDED: Mapping[str, End | None] = MappingProxyType({})


def _without_after(job: Waiting) -> Waiting:
    return job._replace(after=()) if job.after else job


def _no_quota(_uid: int) -> Quota:
    return Quota()


class Scheduler:
    """Jobs that wait and jobs that go. A job is never both.

    `quota_of` is asked once for as long as a user has jobs here.
    """

    def __init__(
        self,
        capacity: Capacity,
        queues: Iterable[Queue] = (),
        quota_of: Callable[[int], Quota] = _no_quota,
    ) -> None:
        self._state = State(capacity, quota_of)
        self._queues: dict[str, Queue] = {}
        self._may_start = True
        for queue in queues:
            self.set_queue(queue)

    # What happens to jobs

    def add(self, job: Waiting, ended: Mapping[str, End | None] = _NONE_ENDED) -> None:
        """It waits (newly, after a restart, or for another attempt). An id that waits is changed.

        `ended` is what became of those jobs in `job.after` that have ended for good already:
        id -> End, or None where the job was removed and nobody knows (never met). A target that
        is not in it has not ended yet, whether this scheduler knows it or not: somebody will
        call `settle` for it. A `started` dependency on a job that goes here and runs is met.
        What can never be met comes out as Abandon at the next `decide`.
        Which are met at once: `met_at_once = set(job.after) - set(scheduler.get(job.id).after)`.
        """
        if job.id in self._state.waiting:
            self.change(job)
            return
        dependencies = self._state.dependencies
        dependencies.add(job.id, job.after, ended)
        for on_id in {on_id for on_id, kind in job.after if kind == "started"} - set(ended):
            going = self._state.ledger.going.get(on_id)
            if going is not None and going.has_started:
                dependencies.started(on_id)
        self._state.place(self._state.enter(_without_after(job)))

    def start(self, job: Waiting, now_ns: int) -> bool:
        """Whether a job that has just come starts at once: it goes then. Else it is to be added."""
        if may_go_at_once(self._state, job, now_ns):
            self._state.go(Going.of(job, now_ns))
            return True
        return False

    def change(self, job: Waiting) -> None:
        """The same waiting job with other fields: hold, queue, priority, rank, needs, times.

        `after` is not looked at: dependencies stay as they are. KeyError: it does not wait.
        Use `get(id)._replace(…)`.
        """
        state = self._state
        entry = state.waiting[job.id]
        state.leave(entry)
        state.place(state.enter(_without_after(job)))

    def drop(self, job_id: str) -> tuple[str, ...]:
        """It ended or was removed while it waited: `settle(job_id, End(False, False))`."""
        return self.settle(job_id, _NEVER_RAN)

    def adopt(self, job: Going) -> None:
        """A job that goes already, at the start of the daemon: best in the order of their starts.

        Going jobs are counted whatever the capacity is.
        """
        self._forget(job.id)
        self._state.stop(job.id)
        self._state.go(job)

    def unstart(self, job: Waiting) -> None:
        """A Start that was not carried out, or a requeue: its slot is free and it waits again.

        `job.after` is not looked at: everything was met. To wait before it is tried again give
        it a `not_before_ns`. Works for a job that is not known too (then it is `add`).
        """
        self._state.stop(job.id)
        self.add(job._replace(after=()))

    def has_started(self, job_id: str) -> tuple[str, ...]:
        """Its command runs: ids of waiting jobs whose `started` dependency on it is met now."""
        job = self._state.ledger.going.get(job_id)
        if job is None or job.has_started:
            return ()
        self._state.ledger.going[job_id] = job._replace(has_started=True)
        return self._met_of(self._state.dependencies.started(job_id))

    def release(self, job_id: str) -> None:
        """An attempt has ended: slot and promise are free. The job itself is not settled.

        `add` it again for another attempt, or `settle` it. Unknown ids are nothing.
        """
        self._state.stop(job_id)

    def settle(self, job_id: str, end: End) -> tuple[str, ...]:
        """It has ended for good, waiting, going or neither: it is forgotten, its slot is free.

        Answers the ids of waiting jobs whose dependency on it is met by this (to be written
        down). Those whose dependency never will be come out as Abandon at the next `decide`.
        To be called for every end, also those of Expire and Abandon, once it is written down;
        a second time it answers nothing and changes nothing.
        """
        self._forget(job_id)
        self._state.stop(job_id)
        return self._met_of(self._state.dependencies.ended(job_id, end))

    def resize(self, job_id: str, needs: Needs) -> bool:
        """Promise a going job something else. False: `lacks` says what; nothing is changed.

        What does not grow is always possible. KeyError: it does not go.
        """
        if self.lacks(job_id, needs) is not None:
            return False
        self._state.promise(self._state.ledger.going[job_id]._replace(needs=needs))
        return True

    def lacks(self, job_id: str, needs: Needs) -> Cause | None:
        """Why a going job cannot be promised that: cpus, memory, quota-cpus, quota-memory."""
        ledger = self._state.ledger
        job = ledger.going[job_id]
        old, new = ledger.clamped(job.needs), ledger.clamped(needs)
        more = Needs(
            max(new.millicpus - old.millicpus, 0), max(new.memory_bytes - old.memory_bytes, 0)
        )
        user = self._state.users[job.uid]
        short = ledger.short_of(more)
        return short[0] if short else over_promise(user.quota, ledger.used_by(job.uid), more)

    def retime(self, job_id: str, time_limit_ms: int | None) -> None:
        """A going job may run for so long, counted from its start. KeyError: it does not go."""
        going = self._state.ledger.going
        going[job_id] = going[job_id]._replace(time_limit_ms=time_limit_ms)
        self._state.is_stirred = True

    # What there is for them

    def set_queue(self, queue: Queue) -> None:
        """A queue is new or has changed (priority, cap, paused)."""
        self._queues[queue.name] = queue
        self._state.set_queue(queue)

    def cap_group(self, name: str, cap: int | None) -> list[Waiting]:
        """At most so many jobs of a group go from now on, None: no bound. Its waiting jobs then.

        `after` is not in them. Those that go stay, also beyond it.
        """
        return self._state.cap_group(name, cap)

    # Questions

    def decide(self, now_ns: int, *, may_start: bool = True) -> list[Action]:
        """What is to be done now: each Expire and Abandon (each id once), then Starts in order.

        Expired and abandoned jobs do not wait any more, and have ended for those after them once
        they are settled; Starts count as going. At most MOST_ENDS of each end and MOST_STARTS come
        at once: while there are more, `wake_ns` says now. Else a second call without an event in
        between answers nothing.
        """
        self._may_start = may_start
        self._advance(now_ns)
        actions: list[Action] = [*self._expire(), *self._abandon()]
        if may_start:
            actions += select(self._state, now_ns, MOST_STARTS)
        return actions

    def wake_ns(self, now_ns: int) -> int | None:
        """When `decide` has to be asked again though nothing happens: a time or a deadline."""
        if self._state.dependencies.doomed or self._has_more():
            return now_ns
        times = (self._state.times.next_ns(now_ns), self._state.patience.wake_ns(now_ns))
        return min((time for time in times if time is not None), default=None)

    def explain(self, job_id: str, now_ns: int, *, may_start: bool = True) -> Explanation:
        """Why it waits. KeyError: it does not wait."""
        entry = self._state.waiting[job_id]
        self._advance(now_ns)
        return explain(self._state, entry, may_start=may_start)

    def cause(self, job_id: str) -> Cause | None:
        """The first reason, as of the last decision, quickly: for lists. None: it starts soon.

        Also None for a job that does not wait.
        """
        entry = self._state.waiting.get(job_id)
        if entry is None:
            return None
        return next(causes(self._state, entry, may_start=self._may_start), None)

    def causes(self) -> dict[Cause, int]:
        """How many wait for which first reason, without a look at each: see `tally`."""
        return tally(self._state, may_start=self._may_start)

    def get(self, job_id: str) -> Waiting | None:
        """The waiting job, `after` holding what is not met yet; None: it does not wait."""
        entry = self._state.waiting.get(job_id)
        if entry is None:
            return None
        unmet = self._state.dependencies.unmet(job_id)
        return entry.job._replace(after=unmet) if unmet else entry.job

    def going(self, job_id: str) -> Going | None:
        """The job that goes, None if it does not."""
        return self._state.ledger.going.get(job_id)

    @property
    def has_doomed(self) -> bool:
        """Whether jobs are known that can never start, which the next decision gives up."""
        return self._state.dependencies.doomed is not None

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues that are known."""
        return MappingProxyType(self._queues)

    @property
    def capacity(self) -> Capacity:
        """What may be promised."""
        return self._state.ledger.capacity

    def waiting_count(self, queue: str | None = None) -> int:
        """How many jobs wait, in all or in a queue."""
        return len(self._state.waiting) if queue is None else self._state.waiting_in[queue]

    def going_count(self, queue: str | None = None) -> int:
        """How many jobs go, in all or of a queue."""
        ledger = self._state.ledger
        return ledger.all.jobs if queue is None else ledger.queues[queue]

    def going_of(self, group: str) -> int:
        """How many jobs of a group go."""
        return self._state.ledger.groups[group]

    def waiting_of(self, uid: int) -> int:
        """How many jobs of a user wait."""
        user = self._state.users.get(uid)
        return 0 if user is None else user.waiting

    def waiting_apart(self, uid: int) -> int:
        """How many jobs of a user wait in queues that are apart."""
        user = self._state.users.get(uid)
        return 0 if user is None else user.waiting_apart

    def usage(self, uid: int) -> tuple[int, Needs]:
        """How many jobs of a user go, and what they are promised."""
        used = self._state.ledger.used_by(uid)
        return used.jobs, used.needs

    def promised(self) -> Needs:
        """What all jobs that go are promised."""
        return self._state.ledger.all.needs

    # Ends

    def _has_more(self) -> bool:
        """Whether the last decision left jobs for the next."""
        return self._may_start and self._state.is_cut

    def _advance(self, now_ns: int) -> None:
        if self._state.patience.is_other(now_ns):
            self._state.is_stirred = True
        for job_id in self._state.times.advance(now_ns):
            self._state.place(self._state.waiting[job_id])

    def _expire(self) -> Iterator[Expire]:
        for job_id in self._state.times.overdue(MOST_ENDS):
            self._give_up(job_id)
            yield Expire(job_id)

    def _abandon(self) -> Iterator[Abandon]:
        """Those that can never start, and then those that this is the end of, and so on."""
        for _ in range(MOST_ENDS):
            action = self._state.dependencies.doomed
            if action is None:
                return
            self._give_up(action.id)
            yield action

    def _give_up(self, job_id: str) -> None:
        """It is to end without having started. Who was to come after that waits until it has."""
        self._forget(job_id)
        self._state.dependencies.will_end(job_id, _NEVER_RAN)

    def _met_of(self, job_ids: tuple[str, ...]) -> tuple[str, ...]:
        for job_id in job_ids:
            self._state.place(self._state.waiting[job_id])
        return job_ids

    def _forget(self, job_id: str) -> None:
        """It waits no more, if it did."""
        entry = self._state.waiting.get(job_id)
        if entry is not None:
            self._state.leave(entry)
            self._state.dependencies.forget(job_id)
