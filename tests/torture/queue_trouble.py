"""Troublemakers of the queue: jobs moved and held, queues paused, keys used again; and a watch.

None of it may change how a job ends. What was held is released and what was paused goes on,
whatever happens.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from client.errors import ClientError, RequestRefused
from tests.torture import wishes
from tests.torture.harm import Trouble
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.torture.plan import JobPlan
    from tests.torture.session import Session

# It may have started or ended, be removed, or be in a queue where that is not allowed.
_REFUSALS: Final = (
    "job-state", "no-such-job", "not-permitted", "store-error", "invalid-argument",
    "shutting-down", "cancelled",
)  # fmt: skip
_STATES: Final = ("starting", "running", "paused")


class MoveTrouble(Trouble):
    """Moves, holds and asks about a job that waits."""

    name_of_it = "move"

    def act(self) -> None:
        """One thing with one that was not told to have ended."""
        plan = self.session.any_running(self.dice)
        if plan is None or plan.wishes.queue == wishes.LATE:
            return
        kinds: dict[Callable[[JobPlan], None], int] = {
            self._top: 2, self._before: 2, self._elsewhere: 2, self._priority: 2,
            self._hold: 0 if plan.wishes.held else 3, self._why: 3,
        }  # fmt: skip
        try:
            wishes.weighted(self.dice, kinds)(plan)
        except RequestRefused as refusal:
            if refusal.code not in _REFUSALS:
                raise
        except ClientError:
            # Whether it was moved or not makes no difference.
            pass

    def _asked(self, plan: JobPlan) -> tuple[Any, str]:
        user = self.dice.choice((plan.user, "root"))
        return self.session.client(user), self.session.job_of(plan)

    def _top(self, plan: JobPlan) -> None:
        client, job = self._asked(plan)
        client.move(job, top=True)
        self.session.counts.add("moves")

    def _before(self, plan: JobPlan) -> None:
        other = self.session.any_running(self.dice)
        if other is None or other.wishes.queue == wishes.LATE or other == plan:
            return
        client, job = self._asked(plan)
        client.move(job, before=self.session.job_of(other))
        self.session.counts.add("moves")

    def _elsewhere(self, plan: JobPlan) -> None:
        client, job = self._asked(plan)
        client.move(job, queue=self.dice.choice(wishes.QUEUES))
        self.session.counts.add("moves")

    def _priority(self, plan: JobPlan) -> None:
        client, job = self._asked(plan)
        client.update(job, priority=self.dice.randint(-10, wishes.TOP_PRIORITY))
        self.session.counts.add("priorities")

    def _hold(self, plan: JobPlan) -> None:
        client, job = self._asked(plan)
        try:
            client.hold(job)
            self.session.counts.add("holds")
            self.pause(1.0)
        finally:
            # Also when nobody said whether it is held.
            root = self.session.client("root")
            self.session.until_done(lambda: root.release(job), done="job-state")

    def _why(self, plan: JobPlan) -> None:
        client, job = self._asked(plan)
        answer = client.why(job)
        self.session.counts.add("whys")
        if answer["state"] != "queued" and answer["because"]:
            raise DifferenceError(f"{plan.token} does not wait, and does: {answer}")


class QueueTrouble(Trouble):
    """Pauses a queue, or lets no more of its jobs run, for a while."""

    name_of_it = "queue"

    def act(self) -> None:
        """One of them."""
        name = self.dice.choice((*wishes.QUEUES, wishes.LATE))
        most = self.dice.choice((0, 1, 3, None))
        try:
            self._set(name, paused=self.dice.random() < 0.6, most=most)
            self.session.counts.add("queue changes")
            self.pause(1.0)
        finally:
            self._set(name, paused=False, most=None)

    def _set(self, name: str, *, paused: bool, most: int | None) -> None:
        root = self.session.client("root")
        self.session.queue_changes += 1
        self.session.until_done(
            lambda: root.set_queue(name, paused=paused, max_running=most), done="unknown-op"
        )
        self.session.queue_changes += 1


class RepeatTrouble(Trouble):
    """Submits a job with a key once more: it is the same job, however it goes."""

    name_of_it = "repeat"

    def act(self) -> None:
        """One of those with a key."""
        plan = self.session.any_keyed(self.dice)
        if plan is None:
            return
        with self.session.looking_after(plan):
            self.session.submitter.again(plan)


class WatchTrouble(Trouble):
    """No trouble: sees that no more runs, and no more is promised, than may be."""

    name_of_it = "watch"

    def __init__(self, session: Session, seconds: float, dice: Random) -> None:
        super().__init__(session, seconds, dice)
        self._before: dict[str, int] = {}
        self._changes = -1

    def act(self) -> None:
        """One look."""
        changes = self.session.queue_changes
        with suppress(ClientError):
            seen = self.session.client("root").queues()
            self.session.counts.add("looks at the queue")
            self._check_promises(dict(seen))
            # While somebody changes a queue nobody can tell which cap applies.
            is_same = changes == self._changes == self.session.queue_changes and changes % 2 == 0
            for queue in seen["queues"]:
                self._check_cap(dict(queue), is_same=is_same)
            self._changes = changes
            self._check_user()
            if self.dice.random() < 0.1:
                self._check_list(seen["capacity"]["slots"])

    def _check_promises(self, seen: dict[str, Any]) -> None:
        capacity, promised = seen["capacity"], seen["promised"]
        pairs = (("slots", "jobs"), ("millicpus", "millicpus"), ("memory_bytes", "memory_bytes"))
        for most, name in pairs:
            if promised[name] > capacity[most]:
                raise DifferenceError(f"promised beyond the capacity: {promised}, {capacity}")
        counted = [queue for queue in seen["queues"] if queue["name"] != wishes.HOOKS]
        if sum(queue["running"] for queue in counted) != promised["jobs"]:
            raise DifferenceError(f"the queues have another sum: {seen}")

    def _check_cap(self, queue: dict[str, Any], *, is_same: bool) -> None:
        """More than the cap may run from before it was lowered, but no new one."""
        name, now, most = queue["name"], queue["running"], queue["max_running"]
        before = self._before.get(name, 0)
        self._before[name] = now
        if most is not None and now > most and is_same and now > before:
            raise DifferenceError(f"queue {name}: {before} ran, then {now}, of {most}")

    def _check_user(self) -> None:
        seen = self.session.client("bob").queues()
        own, quota = seen["own"], seen["quota"]
        if own["running"] > (quota["max_running"] or own["running"]):
            raise DifferenceError(f"bob has more than may be: {own}, {quota}")
        if own["millicpus"] > (quota["max_millicpus"] or own["millicpus"]):
            raise DifferenceError(f"bob has more than may be: {own}, {quota}")

    def _check_list(self, slots: int) -> None:
        """As the list says it: pages are of different moments, so one page has to do."""
        args = {"limit": 1000, "select": {"states": list(_STATES)}}
        listed = self.session.client("root").request("list", args)["jobs"]
        jobs = [job for job in listed if job["queue"] != wishes.HOOKS]
        if len(jobs) > slots:
            raise DifferenceError(f"{len(jobs)} jobs run, of {slots}")
