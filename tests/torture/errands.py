"""Small parts of a session: who stops and releases jobs in time, and which runctls run."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from client.errors import RequestRefused
from tests.torture import plan as plans
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from client.records import Selection
    from tests.torture.plan import JobPlan
    from tests.torture.session import Session


class Clients:
    """The runctl processes that run now. For all threads."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def kept(self, pid: int) -> Iterator[None]:
        """It runs meanwhile, or is a zombie: its number belongs to nobody else."""
        with self._lock:
            self._pids.add(pid)
        try:
            yield
        finally:
            with self._lock:
                self._pids.discard(pid)

    def any(self, dice: Random) -> int | None:
        """One of them."""
        with self._lock:
            return dice.choice(sorted(self._pids)) if self._pids else None


class Errands(threading.Thread):
    """Stops each job whose plan is to be stopped, and releases those that are held."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="errands", daemon=True)
        self._session = session
        self._due: list[tuple[float, int, JobPlan, Callable[[JobPlan], None]]] = []
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._root_holds: set[int] = set()

    def later(self, plan: JobPlan) -> None:
        """What that job needs, at the time that its plan says."""
        if plan.ending == plans.STOP:
            self._at(plan.dice("stop").uniform(0, 3), plan, self._end_it)
        if plan.wishes.root_holds:
            self._at(0, plan, self._hold)
        if plan.wishes.held and plan.ending != plans.DEADLINE:
            self._at(plan.dice("release").uniform(0.2, 3), plan, self._let_go)

    def _at(self, seconds: float, plan: JobPlan, what: Callable[[JobPlan], None]) -> None:
        with self._changed:
            due = time.monotonic() + seconds
            heapq.heappush(self._due, (due, next(self._order), plan, what))
            self._changed.notify()

    def run(self) -> None:
        """For ever: the session ends before it."""
        while True:
            plan, what = self._next()
            with self._session.looking_after(plan):
                what(plan)

    def _next(self) -> tuple[JobPlan, Callable[[JobPlan], None]]:
        with self._changed:
            while not self._due or self._due[0][0] > time.monotonic():
                self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
            return heapq.heappop(self._due)[2:]

    def _end_it(self, plan: JobPlan) -> None:
        session, dice = self._session, plan.dice("stopping")
        user = dice.choice((plan.user, "root"))
        client = session.client(user)
        grace, kill = dice.choice((None, 0.0, 0.3)), dice.random() < 0.2
        session.ledger.note("stop", plan.number, uid=session.uid_of(user))
        session.counts.add("stops")
        if dice.random() < 0.4:
            session.ledger.note("stop-group", plan.number, uid=session.uid_of(user))
            select: Selection = {"labels": dict(plan.group)}
            session.until_done(
                lambda: client.stop_many(select, grace_seconds=grace, kill=kill), done=""
            )
            session.counts.add("stops of many")
            return
        job = session.job_of(plan)
        session.until_done(lambda: client.stop(job, grace_seconds=grace, kill=kill), "job-state")

    def _hold(self, plan: JobPlan) -> None:
        job = self._session.job_of(plan)

        def hold() -> None:
            self._session.client("root").hold(job)
            self._root_holds.add(plan.number)

        self._session.until_done(hold, "job-state")

    def _let_go(self, plan: JobPlan) -> None:
        """By its user; where root holds it that is refused, and root does it."""
        session, job = self._session, self._session.job_of(plan)
        session.counts.add("releases")
        try:
            state = session.patiently(lambda: session.client(plan.user).release(job))
        except RequestRefused as refusal:
            if refusal.code not in ("not-permitted", "job-state", "no-such-job", "store-error"):
                raise
        else:
            if plan.number in self._root_holds and plan.user != "root" and state == "queued":
                raise DifferenceError("root held it, and its user released it")
        session.until_done(lambda: session.client("root").release(job), "job-state")
