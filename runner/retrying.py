"""Whether a job that failed gets another attempt, when, and with which limits. Pure.

The job's policy, what became of its attempts and the time go in; the next attempt or none comes
out. It never sees a stop that did not end the job: that is `runner.ending`'s to ask first, which
also commits what is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runner.message_kinds import PIB
from runner.outcome import DEADLINE, DEPENDENCY, EXIT, STOPPED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.outcome import Outcome

# Whatever a policy says: somebody wants no more of the job.
_NEVER: Final = frozenset({STOPPED, DEADLINE, DEPENDENCY})
# Ten years: the longest wait and time limit that a request may name, and so of what they become.
_LONGEST_SECONDS: Final = 315_360_000.0
_SECOND_NS: Final = 1_000_000_000
# Of one job, by hand and of itself: each keeps a log and a result.
MOST_ATTEMPTS: Final = 1000


class Again(NamedTuple):
    """Another attempt. `not_before_ns` is Unix time, None: at once. `limits` are all of them."""

    not_before_ns: int | None
    limits: dict[str, Any]


def is_failure(verdict: Outcome) -> bool:
    """Whether an end is one after which a policy may ask for another attempt."""
    if verdict.reason == EXIT:
        return verdict.exit_code != 0
    return verdict.reason not in _NEVER


def next_attempt(
    retry: Mapping[str, Any] | None,
    attempts_made: int,
    reasons_so_far: Sequence[str],
    verdict: Outcome,
    limits: Mapping[str, Any],
    now_ns: int,
    *,
    deadline_ns: int | None = None,
) -> Again | None:
    """Decide after an attempt that ended as `verdict` says; None: the job has ended for good.

    `retry` is the policy of a spec (`runner.spec`). `attempts_made` counts the attempts of this
    round, this one included; `reasons_so_far` are those of the earlier ones. A wait that lasts to
    the job's deadline is none: it could only expire.
    """
    if retry is None or not is_failure(verdict) or verdict.reason not in retry["on"]:
        return None
    rule = _rule(retry, verdict.reason)
    most = rule.get("limit")
    if attempts_made > retry["limit"]:
        return None
    if most is not None and reasons_so_far.count(verdict.reason) >= most:
        return None
    wait_ns = round(backoff_seconds(retry, attempts_made) * _SECOND_NS)
    if deadline_ns is not None and now_ns + wait_ns >= deadline_ns:
        return None
    return Again(now_ns + wait_ns if wait_ns else None, with_more(limits, rule))


def backoff_seconds(retry: Mapping[str, Any], number: int) -> float:
    """The wait before retry `number`, which counts from 1: doubled each time, up to the bound."""
    bound = retry.get("backoff_max_seconds")
    most = _LONGEST_SECONDS if bound is None else min(bound, _LONGEST_SECONDS)
    # No exponent is needed beyond the one with which a nanosecond becomes more than the bound.
    return float(min(retry["backoff_seconds"] * 2.0 ** min(number - 1, 128), most))


def with_more(limits: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    """The limits multiplied as a rule says, up to its bounds; none becomes smaller.

    What memory.high is set to grows in proportion: else the job would be throttled where it was
    before. Swap is another resource, and stays.
    """
    return {**limits, **_more_memory(limits, rule), **_more_time(limits, rule)}


def with_its_limits(
    reserved_memory: int,
    time_limit_ms: int | None,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    most_memory: int | None = None,
) -> dict[str, Any]:
    """The columns of a job's row that followed its old limits, as they are with the new ones.

    What was reserved on its own stays. `most_memory`: more can never be promised to it.
    """
    changed: dict[str, Any] = {}
    had, gets = (
        memory if most_memory is None else min(memory, most_memory)
        for memory in (limits.get("memory_max_bytes") or 0 for limits in (old, new))
    )
    if reserved_memory == had != gets:
        changed["reserved_memory_bytes"] = gets
    seconds = [limits.get("timeout_seconds") or 0.0 for limits in (old, new)]
    if time_limit_ms is not None and seconds[0] != seconds[1]:
        changed["time_limit_ms"] = time_limit_ms + round((seconds[1] - seconds[0]) * 1000)
    return changed


def _more_memory(limits: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    factor, old = rule.get("memory_factor"), limits.get("memory_max_bytes")
    if factor is None or old is None:
        return {}
    new = max(old, min(round(old * factor), rule.get("memory_max_bytes") or PIB, PIB))
    high = limits.get("memory_high_bytes")
    scaled = {} if high is None else {"memory_high_bytes": max(high, min(high * new // old, new))}
    return {"memory_max_bytes": new, **scaled}


def _more_time(limits: Mapping[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    factor, old = rule.get("timeout_factor"), limits.get("timeout_seconds")
    if factor is None or old is None:
        return {}
    bound = rule.get("timeout_max_seconds")
    most = _LONGEST_SECONDS if bound is None else min(bound, _LONGEST_SECONDS)
    return {"timeout_seconds": max(old, min(old * factor, most))}


def _rule(retry: Mapping[str, Any], reason: str) -> Mapping[str, Any]:
    found = (rule for rule in retry["rules"] if rule["reason"] == reason)
    return next(found, {})
