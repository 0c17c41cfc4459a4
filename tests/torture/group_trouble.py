"""The troublemaker of groups: holds, caps and stops them, kills monitors of their jobs, asks.

None of it may change what the group comes to in the end: what was held is released, what was
stopped is tried again by its rider.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

from client.errors import ClientError, RequestRefused
from tests.torture import group_plans, wishes
from tests.torture.harm import Trouble
from tests.torture.verdicts import DifferenceError
from tests.torture.victim import send

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.group_plans import GroupPlan

# It may have ended, or be removed meanwhile.
_REFUSALS: Final = (
    "job-state", "not-now", "no-such-job", "not-permitted", "store-error", "shutting-down",
    "cancelled",
)  # fmt: skip


class GroupTrouble(Trouble):
    """Meddles with one group that a rider has at hand."""

    name_of_it = "group"

    def act(self) -> None:
        """One thing."""
        plan = self.session.groups.any_open(self.dice)
        if plan is None:
            return
        kinds: dict[Callable[[GroupPlan, str, str], None], int] = {
            self._hold: 3, self._cap: 3, self._priority: 2, self._end_it: 1, self._kill: 2,
            self._ask: 3,
        }  # fmt: skip
        user, group = self.dice.choice((plan.user, "root")), self.session.groups.id_of(plan)
        try:
            wishes.weighted(self.dice, kinds)(plan, user, group)
        except RequestRefused as refusal:
            if refusal.code not in _REFUSALS:
                raise
        except ClientError:
            # Whether it was done or not: both are right.
            pass

    def _hold(self, _plan: GroupPlan, user: str, group: str) -> None:
        try:
            self.session.client(user).hold_group(group)
            self.session.counts.add("holds of groups")
            self.pause(1.0)
        finally:
            root = self.session.client("root")
            self.session.until_done(lambda: root.release_group(group), done="not-now")

    def _cap(self, plan: GroupPlan, user: str, group: str) -> None:
        cap = self.dice.choice((1, 2, 3, None))
        self.session.groups.ledger.note("cap", plan.number, cap=cap)
        self.session.client(user).update_group(group, max_running=cap)
        self.session.counts.add("caps of groups")

    def _priority(self, _plan: GroupPlan, user: str, group: str) -> None:
        priority = self.dice.randint(-10, wishes.TOP_PRIORITY)
        self.session.client(user).update_group(group, priority=priority)
        self.session.counts.add("priorities of groups")

    def _end_it(self, plan: GroupPlan, user: str, group: str) -> None:
        self.session.groups.ledger.note("stop", plan.number, uid=self.session.uid_of(user))
        self.session.client(user).stop_group(group, kill=self.dice.random() < 0.5)
        self.session.counts.add("stops of groups")

    def _kill(self, plan: GroupPlan, _user: str, group: str) -> None:
        """The monitor of one of its jobs."""
        job = self._any_going(group)
        if job is None:
            return
        self.session.groups.ledger.note("killed", plan.number)
        found = send(signal.SIGKILL, lambda: self.session.victim.monitor_pids(job))
        self.session.counts.add("kill monitor", len(found))

    def _any_going(self, group: str) -> str | None:
        members = list(self.session.client("root").members(group))
        going = [each["job"] for each in members if each["state"] in ("starting", "running")]
        return self.dice.choice(going) if going else None

    def _ask(self, plan: GroupPlan, user: str, group: str) -> None:
        """About one of its jobs, by the name that people write."""
        client = self.session.client(user)
        member: Any = self.dice.choice(plan.members)
        name = group_plans.step_name(member) if plan.is_flow else str(member)
        shown = client.status(f"{group}.{name}")
        if (shown["group"], shown["member"]) != (group, member):
            raise DifferenceError(f"{group}.{name} is {shown}")
        client.why(shown["job"])
        self.session.counts.add("whys")
