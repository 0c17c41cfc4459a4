"""Small parts of a session: who stops the jobs that are to be stopped, and which runctls run."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

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


class Stopper(threading.Thread):
    """Stops each job whose plan is to be stopped, some time after its submission."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="stopper", daemon=True)
        self._session = session
        self._due: list[tuple[float, int, JobPlan]] = []
        self._changed = threading.Condition()
        self._order = itertools.count()

    def later(self, plan: JobPlan) -> None:
        """That job, at the time that its plan says."""
        due = time.monotonic() + plan.dice("stop").uniform(0, 3)
        with self._changed:
            heapq.heappush(self._due, (due, next(self._order), plan))
            self._changed.notify()

    def run(self) -> None:
        """For ever: the session ends before it."""
        while True:
            plan = self._next()
            with self._session.looking_after(plan):
                self._carry_out(plan)

    def _next(self) -> JobPlan:
        with self._changed:
            while not self._due or self._due[0][0] > time.monotonic():
                self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
            return heapq.heappop(self._due)[2]

    def _carry_out(self, plan: JobPlan) -> None:
        session, dice = self._session, plan.dice("stopping")
        user = dice.choice((plan.user, "root"))
        client = session.client(user)
        grace, kill = dice.choice((None, 0.0, 0.3)), dice.random() < 0.2
        session.ledger.note("stop", plan.number, uid=session.uid_of(user))
        session.counts.add("stops")
        job = session.job_of(plan)
        session.until_done(lambda: client.stop(job, grace_seconds=grace, kill=kill), "job-state")
