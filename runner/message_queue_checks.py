"""What contradicts itself in what a request asks of the queue.

Pure, without a clock: whether a time is past or a job exists is asked in
`runner.submission_queue`. Raises Refusal with the field named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from runner import hook_checks
from runner.message_checks import invalid
from runner.message_groups import SubmitFlow
from runner.message_queue import Move, SetQueue, StopMany
from runner.messages import Submit
from runner.refusal import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.message_kinds import Closed
    from runner.message_queue import RetryRequest, RetryRule

# Reasons of `runner.outcome` that a job is tried again for when it does not say.
USUAL_REASONS: Final = ("exit", "signal", "oom", "timeout", "lost")
_ONCE: Final = "each reason once"


def check(message: Closed) -> None:
    """Raise Refusal for what contradicts itself or asks for nothing."""
    if isinstance(message, Submit):
        _check_times(message)
        _check_after(message)
        _check_retry(message.retry)
        hook_checks.check(message.hooks, message.env)
    elif isinstance(message, SubmitFlow):
        hook_checks.check(message.hooks, message.env)
        hook_checks.check_of_group(message.hooks)
    elif isinstance(message, Move):
        _check_move(message)
    elif isinstance(message, SetQueue) and message.paused is message.max_running is UNSET:
        raise invalid("paused", "nothing", "paused or max_running to change")
    elif isinstance(message, StopMany) and "ended" in (message.select.states or ()):
        raise invalid("select.states", "'ended'", "states of jobs that have not ended")


def _check_times(message: Submit) -> None:
    for time, span in (("not_before_ns", "delay_seconds"), ("deadline_ns", "deadline_seconds")):
        given = getattr(message, span)
        if given is not None and getattr(message, time) is not None:
            raise invalid(span, str(given), f"nothing, with {time}")


def _check_after(message: Submit) -> None:
    seen = set()
    for index, entry in enumerate(message.after):
        if entry.job in seen:
            raise invalid(f"after[{index}].job", shown(entry.job), "each job once")
        seen.add(entry.job)


def _check_retry(retry: RetryRequest | None) -> None:
    if retry is None:
        return
    most = retry.backoff_max_seconds
    if most is not None and most < retry.backoff_seconds:
        allowed = f"at least backoff_seconds, {retry.backoff_seconds:g}"
        raise invalid("retry.backoff_max_seconds", f"{most:g}", allowed)
    for index, reason in enumerate(retry.on or ()):
        _check_once(f"retry.on[{index}]", reason, (retry.on or ())[:index])
    reasons: list[str] = []
    for index, rule in enumerate(retry.rules):
        field = f"retry.rules[{index}]"
        _check_once(f"{field}.reason", rule.reason, reasons)
        _check_rule(field, rule, retry.on or USUAL_REASONS)
        reasons.append(rule.reason)


def _check_once(field: str, reason: str, earlier: Sequence[str]) -> None:
    if reason in earlier:
        raise invalid(field, shown(reason), _ONCE)


def _check_rule(field: str, rule: RetryRule, reasons: Sequence[str]) -> None:
    if rule.reason not in reasons:
        allowed = f"a reason that is in retry.on: {', '.join(reasons)}"
        raise invalid(f"{field}.reason", shown(rule.reason), allowed)
    said = (getattr(rule, name) for name in rule.__struct_fields__ if name != "reason")
    if all(value is None for value in said):
        raise invalid(field, "only a reason", "limit, memory_factor or timeout_factor with it")
    for factor, bound in (
        ("memory_factor", "memory_max_bytes"),
        ("timeout_factor", "timeout_max_seconds"),
    ):
        given = getattr(rule, bound)
        if given is not None and getattr(rule, factor) is None:
            raise invalid(f"{field}.{bound}", str(given), f"{factor} with it")


def _check_move(message: Move) -> None:
    """Exactly one of the three, or a queue and its top."""
    if message.before is not None:
        other = "top" if message.top else "queue" if message.queue is not None else None
        if other is not None:
            raise invalid("before", shown(message.before), f"nothing, with {other}")
    elif not message.top and message.queue is None:
        raise invalid("top", "nothing", "one of: top, before, queue")
