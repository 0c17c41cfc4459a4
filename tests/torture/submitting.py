"""How a job is submitted: once, or by several clients at once with a key, whatever breaks.

Without a key nobody can tell after a broken connection whether the job was taken: its name does.
With a key the same is asked again. What becomes of the job then is `riders`'s.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from tests.torture import group_plans, wishes
from tests.torture import plan as plans
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.torture.plan import JobPlan
    from tests.torture.session import Session

# Refused, and surely not accepted.
NOT_NOW: Final = (
    "shutting-down", "draining", "store-error", "too-many-jobs", "not-permitted", "quota-exceeded",
)  # fmt: skip
_MOST_AT_ONCE: Final = 4


class Submitter:
    """Submits the jobs of one session. For all threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._twins = ThreadPoolExecutor(_MOST_AT_ONCE, "twin")

    def accepted(self, plan: JobPlan, after: list[tuple[int, str]]) -> str | None:
        """The id; None when it was refused, or when nobody can tell yet. Raises what differs."""
        request = self.request(plan, after)
        if not plan.wishes.twins:
            return self._once(plan, request)
        asked = [
            self._twins.submit(self._with_key, plan, request) for _ in range(plan.wishes.twins)
        ]
        answers = [answer for each in asked if (answer := each.result()) is not None]
        if len({answer["job"] for answer in answers}) > 1:
            raise DifferenceError(f"one key, and several jobs: {answers}")
        if sum(not answer["existing"] for answer in answers) > 1:
            raise DifferenceError(f"one key, and it was new more than once: {answers}")
        self._session.counts.add("same key", max(0, len(answers) - 1))
        return str(answers[0]["job"]) if answers else self._refused(plan)

    def again(self, plan: JobPlan) -> None:
        """The same key once more: the same job. Raises DifferenceError."""
        session = self._session
        request = self.request(plan, session.ledger.trail(plan.number).after)
        answer = session.patiently(lambda: session.client(plan.user).request("submit", request))
        if answer["job"] != session.job_of(plan) or not answer["existing"]:
            raise DifferenceError(f"another job has its key: {answer}")
        session.counts.add("same key")

    def request(self, plan: JobPlan, after: list[tuple[int, str]]) -> dict[str, Any]:
        """The arguments of its `submit`."""
        numbers = [number for number, _ in after]
        return submission(plan, self._session.share, self._session.ids_of(numbers))

    def _once(self, plan: JobPlan, request: dict[str, Any]) -> str | None:
        session = self._session
        try:
            return str(session.client(plan.user).request("submit", request)["job"])
        except RequestRefused as refusal:
            if refusal.code == "cancelled":
                return self._in_doubt(plan)
            if refusal.code not in NOT_NOW:
                raise
        except DaemonUnavailable:
            # Nobody was reached: surely nothing was taken.
            pass
        except ConnectionLost:
            return self._in_doubt(plan)
        return self._refused(plan)

    def _with_key(self, plan: JobPlan, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, asked for until there is one; None for a refusal."""
        session = self._session
        try:
            answer: dict[str, Any] = session.patiently(
                lambda: session.client(plan.user).request("submit", request)
            )
        except RequestRefused as refusal:
            if refusal.code not in NOT_NOW:
                raise
            return None
        return answer

    def _in_doubt(self, plan: JobPlan) -> str | None:
        """As its text says, the job may have been accepted: its name tells."""
        self._session.counts.add("in doubt")
        return self._session.find(plan)

    def _refused(self, plan: JobPlan) -> str | None:
        """Nothing was taken, unless it was by a try whose answer never came."""
        if plan.wishes.twins and (job := self._session.find(plan)) is not None:
            return job
        self._session.ledger.note("refused", plan.number)
        self._session.counts.add("refused")
        return None


def submission(plan: JobPlan, share: str, ids: dict[int, str]) -> dict[str, Any]:
    """The arguments of a job's `submit`. In `share` are the blob and the list of starts.

    `ids` are those of the jobs that it can come after.
    """
    argv = plans.command(plan, f"{share}/blob", f"{share}/starts")
    args = {
        "argv": argv, "cwd": "/", "env": {"PATH": group_plans.PATH}, "name": plan.token,
        "limits": plan.limits, "logs": plan.logs, "network": plan.network,
        "sandbox": dict(_sandbox(plan, share)), **wishes.request(plan.wishes, plan.token, ids),
    }  # fmt: skip
    if plan.wishes.hooks:
        args["hooks"] = [group_plans.hook(share, plan.wishes.hooks)]
    if plan.ending == plans.STOP:
        args["labels"] = {**args["labels"], **plan.group}
    if plan.surroundings == "readonly":
        # Where the job stands it may write.
        args["cwd"] = share
    return args


def _sandbox(plan: JobPlan, share: str) -> Iterator[tuple[str, Any]]:
    if plan.surroundings == "overlay":
        yield "filesystem", "overlay"
        yield "binds", [{"source": share, "target": share}]
    elif plan.surroundings == "readonly":
        yield "filesystem", "readonly"
    elif plan.surroundings == "denials":
        yield "report_denied", True
