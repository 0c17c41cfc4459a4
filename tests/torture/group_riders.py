"""Riders of groups: each submits arrays and flows, one after the other, and has them end well.

What failed of a group is tried again as one thing, until nothing of it fails. What may have
happened is for `group_checks` to say; what was asked and told is in `group_ledger`.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused
from tests.torture import group_checks, group_plans
from tests.torture.group_ledger import GroupLedger
from tests.torture.riders import results_of
from tests.torture.submitting import NOT_NOW
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.torture.group_plans import GroupPlan
    from tests.torture.session import Session

# Each is a failure that was planned, or harm.
_MOST_ROUNDS: Final = 25
_AGAIN_SECONDS: Final = 0.3


class Groups:
    """The groups of one session. For all threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.ledger = GroupLedger(f"{session.out}/group-ledger")
        self.plan_of = lru_cache(maxsize=4096)(
            lambda number: group_plans.group_plan(session.seed, number)
        )
        self._lock = threading.Lock()
        self._next = self.ledger.story.next_number
        self._open: dict[int, GroupPlan] = {}

    # Which

    def next_plan(self) -> GroupPlan | None:
        """The group that a rider takes next; none when it is over."""
        if self._session.over.is_set():
            return None
        with self._lock:
            self._next += 1
            return self.plan_of(self._next - 1)

    def any_open(self, dice: Random) -> GroupPlan | None:
        """One that a rider has at hand."""
        with self._lock:
            return dice.choice(list(self._open.values())) if self._open else None

    def id_of(self, plan: GroupPlan) -> str:
        """The id under which it was taken."""
        found = self.ledger.trail(plan.number).group
        assert found is not None
        return found

    # Their lives

    def submit(self, plan: GroupPlan) -> bool:
        """Have it taken, once, however many ask; False when it was refused."""
        session = self._session
        self.ledger.note("submit", plan.number, cap=plan.max_running)
        session.counts.add("groups")
        with ThreadPoolExecutor(plan.twins) as pool:
            asked = [pool.submit(self._submit_once, plan) for _ in range(plan.twins)]
            answers = [answer for each in asked if (answer := each.result()) is not None]
        if not answers:
            found = self.find(plan)
            if found is None:
                self.ledger.note("refused", plan.number)
                session.counts.add("groups refused")
                return False
            answers = [{"group": found, "existing": True, "jobs": len(plan.members)}]
        if len({answer["group"] for answer in answers}) > 1:
            raise DifferenceError(f"one key, and several groups: {answers}")
        if sum(not answer["existing"] for answer in answers) > 1:
            raise DifferenceError(f"one key, and it was new more than once: {answers}")
        if {answer["jobs"] for answer in answers} != {len(plan.members)}:
            raise DifferenceError(f"of {len(plan.members)} jobs: {answers}")
        self.accept(plan, str(answers[0]["group"]))
        return True

    def accept(self, plan: GroupPlan, group: str) -> None:
        """The daemon has taken it."""
        self.ledger.note("accepted", plan.number, group=group)
        self._session.counts.add("groups accepted")

    def _submit_once(self, plan: GroupPlan) -> dict[str, Any] | None:
        """Over restarts: the client sends it again with its key."""
        session = self._session
        client = session.client(plan.user)
        try:
            if plan.is_flow:
                flow = group_plans.flow(plan, session.share)
                return dict(session.patiently(lambda: client.submit_flow(**flow)))
            array = group_plans.array(plan, session.share)
            return dict(session.patiently(lambda: client.submit_array(**array)))
        except RequestRefused as refusal:
            if refusal.code not in (*NOT_NOW, "cancelled"):
                raise
            return None

    def find(self, plan: GroupPlan) -> str | None:
        """The id of a group of that name, once runnerd answers again."""
        session = self._session
        try:
            found = session.patiently(lambda: session.client("root").group(plan.token, limit=0))
        except RequestRefused as refusal:
            if refusal.code != "no-such-job":
                raise
            return None
        return str(found["group"])

    def finish(self, plan: GroupPlan) -> None:
        """Wait for its end and try it again, until nothing of it fails. Raises DifferenceError."""
        session, group = self._session, self.id_of(plan)
        with self._kept(plan):
            for _ in range(_MOST_ROUNDS):
                ended = session.patiently(lambda: session.client(plan.user).wait_group(group))
                if self._told(plan, dict(ended)):
                    return
                self._retry(plan, group)
        raise DifferenceError(f"it does not end well: {self.ledger.trail(plan.number)}")

    @contextmanager
    def _kept(self, plan: GroupPlan) -> Iterator[None]:
        with self._lock:
            self._open[plan.number] = plan
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(plan.number, None)

    def _told(self, plan: GroupPlan, ended: dict[str, Any]) -> bool:
        """Its end was told; whether it ended well."""
        trail = self.ledger.trail(plan.number)
        jobs, results = self.results(plan)
        group_checks.check_end(plan, trail, ended, results)
        told = group_checks.short(results)
        self.ledger.note("told", plan.number, ok=ended["ok"], members=told, jobs=jobs)
        self._session.counts.add("ends of groups")
        return bool(ended["ok"])

    def results(self, plan: GroupPlan) -> tuple[dict[int, str], group_checks.Results]:
        """The jobs of a group that has ended, and how each attempt of them ended, by member."""
        session = self._session
        root, group = session.client("root"), self.id_of(plan)
        jobs: dict[int, str] = {
            each["member"]: each["job"]
            for each in session.patiently(lambda: list(root.members(group, page=3)))
        }
        return jobs, {member: self._results_of(job) for member, job in jobs.items()}

    def _results_of(self, job: str) -> list[dict[str, Any]]:
        root = self._session.client("root")
        return results_of(self._session.patiently(lambda: root.status(job)))

    def _retry(self, plan: GroupPlan, group: str) -> None:
        session = self._session
        self.ledger.note("again", plan.number)
        while True:
            try:
                again = session.patiently(lambda: session.client(plan.user).retry_group(group))
            except RequestRefused as refusal:
                # Asked before, and the answer never came.
                if refusal.code == "not-now":
                    return
                if refusal.code not in (*NOT_NOW, "cancelled"):
                    raise
                time.sleep(_AGAIN_SECONDS)
            else:
                session.counts.add("retries of groups")
                session.counts.add("jobs tried again with their group", again["jobs"])
                return

    def remove(self, plan: GroupPlan) -> None:
        """Remove it with its jobs; afterwards nobody finds it. Raises DifferenceError."""
        session, group = self._session, self.id_of(plan)
        self.ledger.note("removing", plan.number)
        ask = session.client(plan.user).remove_group
        session.until_done(lambda: ask(group), done="no-such-job")
        self.ledger.note("removed", plan.number)
        session.counts.add("groups removed")
        if self.find(plan) is not None:
            raise DifferenceError("it is there after its removal")

    def compare_logs(self, plan: GroupPlan) -> None:
        """What the last attempt of each job printed. Raises DifferenceError."""
        session, trail = self._session, self.ledger.trail(plan.number)
        for member, job in trail.jobs.items():
            reason, code = (trail.told or {})[member][-1]
            if reason == "exit":
                data = session.patiently(partial(self._log, plan.user, job))
                if data != group_plans.output(plan, member, code or 0):
                    raise DifferenceError(f"the log of job {member} is {data!r}")
                session.counts.add("logs")

    def _log(self, user: str, job: str) -> bytes:
        with self._session.client(user).logs(job) as stream:
            return b"".join(getattr(item, "data", b"(gap)") for item in stream)


class GroupRider(threading.Thread):
    """One of those who ride groups until the session has no more."""

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._session = session

    def run(self) -> None:
        """One after the other."""
        groups = self._session.groups
        while plan := groups.next_plan():
            with self._session.looking_after(plan):
                if not groups.submit(plan):
                    self._session.over.wait(_AGAIN_SECONDS)
                    continue
                groups.finish(plan)
                groups.compare_logs(plan)
                if plan.remove:
                    groups.remove(plan)
