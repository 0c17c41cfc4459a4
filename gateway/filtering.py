"""What a caller with a scope is shown of an answer: the rest is left out.

Pure; the fields are those of docs/PROTOCOL.md. A page may be shorter than was asked for, or empty,
while more follow: `next` stays, as the protocol has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.protocol import Message
    from gateway.scope import Scope

# What a job itself said that it comes after.
_OWN_CAUSES: Final = frozenset({"dependency"})


def shown(scope: Scope, op: str, answer: Message) -> Message:
    """The answer without what is outside of the scope; the same where it has nothing of that."""
    if scope.is_everything or op not in _FILTERS:
        return answer
    return {**answer, **_FILTERS[op](scope, answer)}


def _list(scope: Scope, answer: Message) -> Message:
    return {"jobs": scope.shown_jobs(answer.get("jobs"))}


def _group(scope: Scope, answer: Message) -> Message:
    members = _maps(answer, "members")
    return {"members": [each for each in members if scope.has_queue(each.get("queue"))]}


def _queues(scope: Scope, answer: Message) -> Message:
    found = _maps(answer, "queues")
    return {"queues": [each for each in found if scope.has_queue(each.get("name"))]}


def _schedules(scope: Scope, answer: Message) -> Message:
    found = _maps(answer, "schedules")
    return {"schedules": [each for each in found if scope.has_schedule(each)]}


def _why(_scope: Scope, answer: Message) -> Message:
    """Other jobs that are in its way are counted, not named."""
    because = [
        each if each.get("cause") in _OWN_CAUSES else {**each, "on": [], "kinds": []}
        for each in _maps(answer, "because")
    ]
    return {"because": because}


def _doctor(_scope: Scope, answer: Message) -> Message:
    problems = [each for each in _maps(answer, "problems") if each.get("job") is None]
    disk = answer.get("disk")
    return {"problems": problems, "disk": {**disk, "users": []} if isinstance(disk, dict) else None}


def _maps(answer: Message, key: str) -> list[dict[str, Any]]:
    entries = answer.get(key)
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


_FILTERS: Final[dict[str, Callable[[Scope, Message], Message]]] = {
    "list": _list,
    "group": _group,
    "queues": _queues,
    "schedules": _schedules,
    "why": _why,
    "doctor": _doctor,
}
