"""Whether very many jobs came to what they had to: each once, in its order, none besides.

It reads what the daemon tells everybody, its lists and its events; nothing is measured here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from client.api import Client

# What happens to a job that runs to its end at once, in this order.
LIFE: Final = ("submit", "launch", "started", "finish")
# So many are named where something is wrong.
_NAMED: Final = 5


class AccountError(AssertionError):
    """Something is not as it has to be; the text says which jobs."""


def all_ran_once(client: Client, ids: Iterable[str]) -> None:
    """Each of the jobs ran to exit 0 in its first attempt, and there is no other job or event.

    Raises AccountError.
    """
    wanted = Counter(ids)
    _agree("was acknowledged twice", {job for job, times in wanted.items() if times > 1})
    ends = {
        summary["job"]: (summary["state"], summary["attempt"], _result(summary.get("result")))
        for summary in client.jobs(ended=True, page=1000)
    }
    _agree("is not there", wanted.keys() - ends.keys())
    _agree("was submitted by nobody", ends.keys() - wanted.keys())
    right = ("ended", 1, ("exit", 0))
    wrong = {f"{job} {end}" for job, end in ends.items() if end != right}
    _agree(f"did not come to {right}", wrong)
    _lived(client, wanted)


def _result(result: object) -> tuple[object, object] | None:
    if not isinstance(result, dict):
        return None
    return result["reason"], result["exit_code"]


def _lived(client: Client, wanted: Counter[str]) -> None:
    """Every event of the jobs, once and in order."""
    lives: dict[str, list[str]] = {job: [] for job in wanted}
    with client.events(since=0) as events:
        for event in events:
            if "gap" in event:
                raise AccountError(f"events were removed already: {event}")
            lives.setdefault(event["job"], []).append(event["kind"])
    wrong = {f"{job}: {', '.join(life)}" for job, life in lives.items() if tuple(life) != LIFE}
    _agree(f"lived otherwise than {', '.join(LIFE)}", wrong)


def all_stopped_unrun(client: Client, ids: Iterable[str]) -> None:
    """Each of the jobs ended as stopped before it ran, and there is no other job. AccountError."""
    wanted = set(ids)
    ends = {
        summary["job"]: (summary["state"], summary["started_ns"], _result(summary.get("result")))
        for summary in client.jobs(ended=True, page=1000)
    }
    _agree("is not there", wanted - ends.keys())
    _agree("was submitted by nobody", ends.keys() - wanted)
    right = ("ended", None, ("stopped", None))
    _agree(f"did not come to {right}", {f"{job} {e}" for job, e in ends.items() if e != right})


def _agree(what: str, jobs: Iterable[str]) -> None:
    named = sorted(jobs)
    if named:
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        raise AccountError(f"{what}: {'; '.join(named[:_NAMED])}{more}")
